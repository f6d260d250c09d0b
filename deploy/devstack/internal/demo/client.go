package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// job is what the demo looks at in an export.
type job struct {
	ID       string `json:"id"`
	By       string `json:"requested_by"`
	State    string `json:"state"`
	Phase    string `json:"phase"`
	Progress struct {
		Rows      int64  `json:"rows"`
		RowsTotal *int64 `json:"rows_total"`
	} `json:"progress"`
	Result *result `json:"result"`

	text []byte // as it came
}

// result is what a finished export promises of its file.
type result struct {
	Filename string `json:"filename"`
	Rows     int64  `json:"rows"`
	Bytes    int64  `json:"bytes"`
	BytesRaw int64  `json:"bytes_raw"`
	SHA256   string `json:"sha256"`
}

// final tells that the state will not change by itself.
func (j job) final() bool {
	return j.State == "succeeded" || j.State == "failed" || j.State == "canceled"
}

// client calls the API as a person with an API key.
type client struct{ base, key string }

// callTimeout is for one answer of the API; downloads may take longer.
const callTimeout = 30 * time.Second

func (c client) create(ctx context.Context, project string) (job, error) {
	return c.job(ctx, http.MethodPost, "/v1/projects/"+url.PathEscape(project)+"/exports", `{"kind":"conversations"}`)
}

func (c client) get(ctx context.Context, id string) (job, error) {
	return c.job(ctx, http.MethodGet, "/v1/exports/"+url.PathEscape(id), "")
}

func (c client) job(ctx context.Context, method, path, body string) (j job, err error) {
	if j.text, err = c.call(ctx, method, path, body); err != nil {
		return j, err
	}
	if err := json.Unmarshal(j.text, &j); err != nil {
		return j, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return j, nil
}

// link asks for an address of the file that holds for some minutes.
func (c client) link(ctx context.Context, id string) (string, error) {
	path := "/v1/exports/" + url.PathEscape(id) + "/download"
	body, err := c.call(ctx, http.MethodGet, path, "")
	if err != nil {
		return "", err
	}
	var answer struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", fmt.Errorf("GET %s: %w", path, err)
	}
	if answer.URL == "" {
		return "", fmt.Errorf("GET %s: the answer has no url: %s", path, body)
	}
	return answer.URL, nil
}

// call returns the body of a good answer; an error holds the problem document.
func (c client) call(ctx context.Context, method, path, body string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Accept", "application/json")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s %s: %s\n%s", method, path, res.Status, b)
	}
	return b, nil
}

// open begins a download. The key is for the API alone and does not go to the
// object store; the address opens the data by itself and goes into no message.
func open(ctx context.Context, link string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return nil, errors.New("download: the API's url is not one")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("download: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, fmt.Errorf("download: the object store answers %s", res.Status)
	}
	return res.Body, nil
}
