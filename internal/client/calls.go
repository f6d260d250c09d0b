package client

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// CreateRequest is what an export shall hold.
type CreateRequest struct {
	Kind         string   `json:"kind"`           // conversations or documents
	From         string   `json:"from,omitempty"` // a date or RFC 3339
	To           string   `json:"to,omitempty"`
	Notify       []string `json:"notify,omitempty"`
	Fresh        bool     `json:"fresh,omitempty"`         // do not join an identical export
	AllowSkipped bool     `json:"allow_skipped,omitempty"` // however many rows cannot be read
	// IdempotencyKey makes repeating the request harmless; empty: a new one, for
	// the repetitions of this call.
	IdempotencyKey string `json:"-"`
}

// Create asks for an export of a project. started is false where one that was
// there already answers the request.
func (c *Client) Create(ctx context.Context, project string, r CreateRequest) (j Job, started bool, err error) {
	if r.IdempotencyKey == "" {
		r.IdempotencyKey = rand.Text()
	}
	a, err := c.call(ctx, request{
		method: http.MethodPost, path: projectPath(project), body: r,
		header: map[string]string{"Idempotency-Key": r.IdempotencyKey},
	})
	if err != nil {
		return Job{}, false, err
	}
	return j, a.status == http.StatusAccepted, c.decode(a, &j)
}

// Get looks at an export.
func (c *Client) Get(ctx context.Context, id string) (Job, error) {
	return c.job(ctx, http.MethodGet, exportPath(id))
}

// Cancel stops an export, for all who wait for it.
func (c *Client) Cancel(ctx context.Context, id string) (Job, error) {
	return c.job(ctx, http.MethodPost, exportPath(id)+"/cancel")
}

// Extend keeps a finished file for longer.
func (c *Client) Extend(ctx context.Context, id string) (Job, error) {
	return c.job(ctx, http.MethodPost, exportPath(id)+"/extend")
}

// Purge deletes an export's file; its record stays.
func (c *Client) Purge(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{method: http.MethodDelete, path: exportPath(id)})
	return err
}

func (c *Client) job(ctx context.Context, method, path string) (j Job, err error) {
	a, err := c.call(ctx, request{method: method, path: path})
	if err != nil {
		return Job{}, err
	}
	return j, c.decode(a, &j)
}

// pageLimit is the largest page that the API gives.
const pageLimit = 200

// List walks over a project's exports, newest first, until limit of them have
// come; 0 is all. An empty state is any.
func (c *Client) List(ctx context.Context, project, state string, limit int) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		query := url.Values{}
		if state != "" {
			query.Set("state", state)
		}
		for left := limit; limit == 0 || left > 0; {
			size := pageLimit
			if limit > 0 {
				size = min(left, pageLimit)
			}
			query.Set("limit", strconv.Itoa(size))
			page, cursor, err := c.page(ctx, project, query)
			if err != nil {
				yield(Job{}, err)
				return
			}
			for _, j := range page {
				if !yield(j, nil) {
					return
				}
			}
			if left -= len(page); cursor == "" {
				return
			}
			query.Set("cursor", cursor)
		}
	}
}

func (c *Client) page(ctx context.Context, project string, query url.Values) (page []Job, cursor string, err error) {
	a, err := c.call(ctx, request{method: http.MethodGet, path: projectPath(project), query: query})
	if err != nil {
		return nil, "", err
	}
	var list struct{ Exports []Job }
	if err := c.decode(a, &list); err != nil {
		return nil, "", err
	}
	return list.Exports, nextCursor(a.header.Get("Link")), nil
}

// nextCursor takes the cursor out of a Link header. The address before it is the
// API's public one, and need not be the one that we use.
func nextCursor(link string) string {
	address, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(rest, `rel="next"`) {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get("cursor")
}

// The assets of a finished export, by the last word of their addresses.
const (
	fileAsset      = "download"
	manifestAsset  = "manifest"
	checksumsAsset = "checksums"
)

// link opens an asset to whoever holds it, or leads to the API's own stream.
type link struct {
	URL       string     `json:"url"`
	ExpiresAt *time.Time `json:"expires_at"` // nil: the API itself hands the file out
}

func (c *Client) link(ctx context.Context, id, asset string) (l link, err error) {
	got, err := c.call(ctx, request{method: http.MethodGet, path: exportPath(id) + "/" + asset})
	if err != nil {
		return l, err
	}
	if err := c.decode(got, &l); err != nil {
		return l, err
	}
	if l.URL == "" {
		return l, errors.New("the API's answer has no link in it")
	}
	return l, nil
}

// pollDefault is the pause between polls where the API does not say; no answer
// of the API makes it shorter than pollMin or longer than pollMax.
const (
	pollDefault = 2 * time.Second
	pollMin     = time.Second
	pollMax     = time.Minute
)

// Wait polls until the export is over, and gives each answer to show. An API
// that does not answer is waited for, too: five minutes.
func (c *Client) Wait(ctx context.Context, id string, show func(Job)) (Job, error) {
	again := c.retries(c.outage)
	r := request{method: http.MethodGet, path: exportPath(id), header: map[string]string{}}
	var j Job
	for {
		a, err := c.once(ctx, r)
		if err != nil {
			if err := again.wait(ctx, err); err != nil {
				return j, err
			}
			continue
		}
		again.worked()
		if a.status != http.StatusNotModified {
			if err := c.decode(a, &j); err != nil {
				return j, err
			}
			r.header["If-None-Match"] = a.header.Get("ETag")
		}
		show(j)
		if j.Final() {
			return j, nil
		}
		pause := retryAfter(a.header.Get("Retry-After"), time.Now())
		if pause == 0 {
			pause = pollDefault
		}
		if err := sleep(ctx, min(max(pause, pollMin), pollMax)); err != nil {
			return j, err
		}
	}
}

func projectPath(project string) string {
	return "/v1/projects/" + url.PathEscape(project) + "/exports"
}

func exportPath(id string) string { return "/v1/exports/" + url.PathEscape(id) }
