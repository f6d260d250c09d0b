package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"
)

// demo does the main job once, as a person's script would do it over HTTP.
func demo(ctx context.Context, args []string) (err error) {
	began := time.Now()
	f, err := parse("demo", filepath.Join(".data", "demo"), args)
	if err != nil {
		return err
	}
	r, err := start(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.stop()) }()

	broken, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if err := r.wait(broken); err != nil {
			cancel(err)
		}
	}()
	c := &client{ctx: broken, base: r.env["API_URL"], key: r.env["API_KEY_OWNER"]}
	if err := c.show(r.env["DEMO_PROJECT"]); err != nil {
		return errors.Join(err, context.Cause(broken))
	}
	say("\nThe whole demo took %.1f s.", time.Since(began).Seconds())
	return nil
}

// client calls the API as the demo owner.
type client struct {
	ctx  context.Context
	base string
	key  string
}

// export is what the demo looks at in a job.
type export struct {
	ID       string
	State    string
	Phase    string
	Progress struct {
		Rows      int64
		RowsTotal *int64 `json:"rows_total"`
	}
	Result *struct {
		Filename string
		Rows     int64
		Bytes    int64
		BytesRaw int64 `json:"bytes_raw"`
		SHA256   string
	}
	Error *struct{ Code, Message string }
}

// call returns the body of a good answer; an error holds the problem document.
func (c *client) call(method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(c.ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s\n%s", method, path, res.Status, b)
	}
	return b, err
}

// show asks for an export, follows it, and shows what came of it.
func (c *client) show(project string) error {
	asked := time.Now()
	body, err := c.call(http.MethodPost, "/v1/projects/"+url.PathEscape(project)+"/exports", `{"kind":"conversations","fresh":true}`)
	if err != nil {
		return err
	}
	var e export
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	say("\nAsked for all conversations of %s as its owner: export %s.", project, e.ID)
	if body, err = c.follow(&e); err != nil {
		return err
	}
	took := time.Since(asked)
	if e.State != "succeeded" {
		return fmt.Errorf("the export is %s: %s", e.State, body)
	}
	path, err := c.download(e)
	if err != nil {
		return err
	}
	first, rows, err := read(path)
	if err != nil {
		return err
	}
	if rows != e.Result.Rows {
		return fmt.Errorf("the file has %d rows, the job says %d", rows, e.Result.Rows)
	}
	var job bytes.Buffer
	if err := json.Indent(&job, body, "  ", "  "); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	say("\nThe job:\n\n  %s\n\nThe first row:\n\n  %s\n\nThe file:\n\n  %s\n", &job, first, path)
	say("%d rows, %.1f MB of lines in %.1f MB of gzip, rows and sha256 checked. From the click to the file: %.1f s.",
		rows, float64(e.Result.BytesRaw)/1e6, float64(e.Result.Bytes)/1e6, took.Seconds())
	return nil
}

// follow polls until the export is over, drawing its progress.
func (c *client) follow(e *export) ([]byte, error) {
	bar := newProgress()
	for path := "/v1/exports/" + e.ID; ; {
		body, err := c.call(http.MethodGet, path, "")
		if err != nil {
			return nil, err
		}
		*e = export{} // null leaves a field as it was
		if err := json.Unmarshal(body, e); err != nil {
			return nil, fmt.Errorf("poll: %w", err)
		}
		bar.draw(*e)
		switch e.State {
		case "succeeded", "failed", "canceled":
			return body, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-c.ctx.Done():
			return nil, errEnded
		}
	}
}

// download fetches the file through a link of the moment, without the key, and
// compares it with what the job says.
func (c *client) download(e export) (string, error) {
	body, err := c.call(http.MethodGet, "/v1/exports/"+e.ID+"/download", "")
	if err != nil {
		return "", err
	}
	var link struct{ URL string }
	if err := json.Unmarshal(body, &link); err != nil {
		return "", fmt.Errorf("download: %w", err)
	}
	req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, link.URL, nil)
	if err != nil {
		return "", fmt.Errorf("download: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", errors.New("download: the object store did not answer")
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("download: %s", res.Status)
	}
	path := filepath.Join(".data", "downloads", e.Result.Filename)
	n, sum, err := save(path, res.Body)
	if err != nil {
		return "", fmt.Errorf("download: %w", err)
	}
	if n != e.Result.Bytes || sum != e.Result.SHA256 {
		return "", fmt.Errorf("the file has %d bytes, sha256 %s; the job says %d, %s", n, sum, e.Result.Bytes, e.Result.SHA256)
	}
	return path, nil
}

func save(path string, r io.Reader) (n int64, sum string, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, "", err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, "", err
	}
	hash := sha256.New()
	n, err = io.Copy(io.MultiWriter(f, hash), r)
	return n, hex.EncodeToString(hash.Sum(nil)), errors.Join(err, f.Close())
}

// shown is how much of the first row fits a terminal.
const shown = 600

// read counts the rows of a file and returns the beginning of the first.
func read(path string) (first string, rows int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return "", 0, fmt.Errorf("gunzip: %w", err)
	}
	r := bufio.NewReaderSize(z, 1<<20)
	for {
		line, err := r.ReadSlice('\n')
		if rows == 0 && first == "" {
			first = shorten(string(line))
		}
		switch {
		case err == io.EOF:
			return first, rows, nil
		case err == nil:
			rows++
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", 0, fmt.Errorf("gunzip: %w", err)
		}
	}
}

func shorten(s string) string {
	s = strings.TrimSuffix(s, "\n")
	if len(s) <= shown {
		return s
	}
	s = s[:shown]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + " …"
}
