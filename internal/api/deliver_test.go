package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/api"
	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// delivering hands out one file, or changes of one job.
type delivering struct {
	api.Service
	err     error
	job     jobs.Job
	changes chan jobs.Job
	wanted  []jobs.Wanted
	links   int
	opened  int
	closed  int
}

const content = "0123456789"

type file struct {
	*strings.Reader
	d *delivering
}

func (f file) Close() error { f.d.closed++; return nil }

func (d *delivering) Get(context.Context, jobs.Principal, string) (jobs.Job, error) {
	return d.job, d.err
}

func (d *delivering) Link(_ context.Context, _ jobs.Principal, w jobs.Wanted) (jobs.Link, error) {
	d.wanted, d.links = append(d.wanted, w), d.links+1
	return jobs.Link{URL: "https://store/x?signature", ExpiresAt: time.Now()}, d.err
}

func (d *delivering) Check(_ context.Context, _ jobs.Principal, w jobs.Wanted) error {
	d.wanted = append(d.wanted, w)
	return d.err
}

func (d *delivering) Open(context.Context, jobs.Principal, jobs.Wanted) (jobs.Object, error) {
	if d.err != nil {
		return jobs.Object{}, d.err
	}
	d.opened++
	return jobs.Object{
		ReadSeekCloser: file{strings.NewReader(content), d}, Filename: "ü \"x\".gz", Type: "application/gzip",
		ETag: `"e"`, Modified: time.Now(),
	}, nil
}

func (d *delivering) Watch(ctx context.Context, _ jobs.Principal, _ string) (<-chan jobs.Job, error) {
	return d.changes, d.err
}

func (d *delivering) call(stream bool, path string, header ...string) *http.Response {
	h := api.New(api.Config{
		Service: d, Door: &auth.Door{People: anyone{}}, PublicURL: "https://h/base", Stream: stream,
		Probes: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
	})
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const export = "/v1/exports/" + id

func TestLinks(t *testing.T) {
	d := &delivering{}
	res := d.call(false, export+"/download")
	if res.StatusCode != 303 || res.Header.Get("Location") != "https://store/x?signature" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	res = d.call(false, export+"/manifest", "Accept", "application/json")
	var link map[string]string
	if err := json.Unmarshal([]byte(body(t, res)), &link); err != nil || res.StatusCode != 200 || link["url"] == "" || link["expires_at"] == "" ||
		res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %v", res.StatusCode, link, err)
	}
	res = d.call(false, "/v1/projects/a%2Fb/documents/7/original")
	if res.StatusCode != 303 {
		t.Errorf("%d", res.StatusCode)
	}
	want := []jobs.Wanted{{Job: id, Asset: jobs.File}, {Job: id, Asset: jobs.Manifest}, {Project: "a/b", Document: 7}}
	for i, w := range want {
		if d.wanted[i] != w {
			t.Errorf("wanted %+v, want %+v", d.wanted[i], w)
		}
	}
	for _, document := range []string{"0", "-1", "x", "99999999999999999999"} {
		if res := d.call(false, "/v1/projects/p/documents/"+document+"/original"); res.StatusCode != 400 {
			t.Errorf("document %s: %d", document, res.StatusCode)
		}
	}
}

func TestStream(t *testing.T) {
	d := &delivering{}
	for name, c := range map[string]struct {
		header []string
		status int
		body   string
	}{
		"whole":       {nil, 200, content},
		"range":       {[]string{"Range", "bytes=2-4"}, 206, "234"},
		"rest":        {[]string{"Range", "bytes=8-", "If-Range", `"e"`}, 206, "89"},
		"changed":     {[]string{"Range", "bytes=8-", "If-Range", `"f"`}, 200, content},
		"same":        {[]string{"If-Match", `"e"`}, 200, content},
		"another":     {[]string{"If-Match", `"f"`}, 412, ""},
		"beyond":      {[]string{"Range", "bytes=10-"}, 416, ""},
		"known":       {[]string{"If-None-Match", `"e"`}, 304, ""},
		"many ranges": {[]string{"Range", "bytes=0-0,9-9"}, 206, ""},
	} {
		res := d.call(true, export+"/download", c.header...)
		got := body(t, res)
		if res.StatusCode != c.status || c.body != "" && got != c.body {
			t.Errorf("%s: %d %q", name, res.StatusCode, got)
		}
		if res.StatusCode >= 400 {
			if res.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(got, `"detail"`) || res.Header.Get("Content-Disposition") != "" {
				t.Errorf("%s: %v %s", name, res.Header, got)
			}
			continue
		}
		if cd := res.Header.Get("Content-Disposition"); res.StatusCode != 304 && cd != `attachment; filename*=utf-8''%C3%BC%20%22x%22.gz` {
			t.Errorf("%s: %s", name, cd)
		}
		if cc := res.Header.Get("Cache-Control"); cc != "private, no-store" || res.Header.Get("ETag") != `"e"` {
			t.Errorf("%s: %v", name, res.Header)
		}
	}
	if d.opened != d.closed || d.opened != 9 || d.links != 0 {
		t.Errorf("%d opened, %d closed, %d links", d.opened, d.closed, d.links)
	}
	// The address is the service's own, and opens nothing by itself.
	res := d.call(true, export+"/checksums", "Accept", "application/json")
	if got, want := body(t, res), `{"url":"https://h/base`+export+`/checksums","expires_at":null}`; strings.TrimSpace(got) != want || d.opened != 9 {
		t.Errorf("%s, want %s", got, want)
	}
	d.err = jobs.ErrGone
	for _, accept := range []string{"*/*", "application/json"} {
		if res := d.call(true, export+"/download", "Accept", accept); res.StatusCode != 410 || res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	}
}

func TestETag(t *testing.T) {
	place := 3
	d := &delivering{job: jobs.Job{ID: id, State: jobs.Queued, Phase: jobs.Waiting, Version: 7, QueuePosition: &place}}
	res := d.call(false, export)
	tag := res.Header.Get("ETag")
	if res.StatusCode != 200 || tag != `W/"7-3"` {
		t.Fatalf("%d %s", res.StatusCode, tag)
	}
	for _, header := range []string{tag, `"7-3"`, `"x", ` + tag, "*"} {
		res := d.call(false, export, "If-None-Match", header)
		if res.StatusCode != 304 || body(t, res) != "" || res.Header.Get("ETag") != tag || res.Header.Get("Vary") == "" || res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", header, res.StatusCode, res.Header)
		}
	}
	place = 2
	if res := d.call(false, export, "If-None-Match", tag); res.StatusCode != 200 {
		t.Errorf("the place has changed: %d", res.StatusCode)
	}
}

func TestEvents(t *testing.T) {
	d := &delivering{changes: make(chan jobs.Job, 2)}
	d.changes <- jobs.Job{ID: id, State: jobs.Running, Version: 1}
	d.changes <- jobs.Job{ID: id, State: jobs.Failed, Version: 2}
	close(d.changes)
	res := d.call(false, export+"/events")
	got := body(t, res)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || strings.Count(got, "event: job\n") != 2 ||
		!strings.Contains(got, "id: W/\"2-0\"\ndata: {\"id\":\""+id) || !strings.HasSuffix(got, "}\n\n") {
		t.Errorf("%d %v\n%s", res.StatusCode, res.Header, got)
	}
	// Who has seen the end is told not to come back.
	d.changes = make(chan jobs.Job, 1)
	d.changes <- jobs.Job{ID: id, State: jobs.Failed, Version: 2}
	close(d.changes)
	if res := d.call(false, export+"/events", "Last-Event-ID", `W/"2-0"`); res.StatusCode != 204 {
		t.Errorf("%d", res.StatusCode)
	}
	d.err = jobs.ErrNotFound
	if res := d.call(false, export+"/events"); res.StatusCode != 404 || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// What a client would like to have breaks nothing: there is JSON alone.
func TestAnyAccept(t *testing.T) {
	d := &delivering{job: jobs.Job{ID: id, State: jobs.Queued}}
	for _, accept := range []string{"", "*/*", "text/html", "application/cbor", "x;,\u0322", ";q=,;", "application/json;q=0"} {
		if res := d.call(false, export, "Accept", accept); res.StatusCode != 200 || res.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%q: %d %v", accept, res.StatusCode, res.Header)
		}
	}
}

// A parameter that nobody knows is a mistake, and told.
func TestUnknownParameter(t *testing.T) {
	d := &delivering{}
	res := d.call(false, "/v1/projects/p/exports?stat=queued")
	if got := body(t, res); res.StatusCode != 400 || !bytes.Contains([]byte(got), []byte(`"field":"stat"`)) {
		t.Errorf("%d %s", res.StatusCode, got)
	}
}
