package api_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkexport/bulkexport/internal/api"
	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// silent is a service whose parts accept everything and answer nothing.
type silent struct{ api.Service }

func wait(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (silent) List(ctx context.Context, _ jobs.Principal, _ jobs.ListQuery) ([]jobs.Job, error) {
	return nil, wait(ctx)
}
func (silent) Get(ctx context.Context, _ jobs.Principal, _ string) (jobs.Job, error) {
	return jobs.Job{}, wait(ctx)
}
func (silent) Link(ctx context.Context, _ jobs.Principal, _ jobs.Wanted) (jobs.Link, error) {
	return jobs.Link{}, wait(ctx)
}
func (silent) Check(ctx context.Context, _ jobs.Principal, _ jobs.Wanted) error { return wait(ctx) }
func (silent) Open(ctx context.Context, _ jobs.Principal, _ jobs.Wanted) (jobs.Object, error) {
	return jobs.Object{}, wait(ctx)
}
func (silent) Watch(ctx context.Context, _ jobs.Principal, _ string) (<-chan jobs.Job, error) {
	return nil, wait(ctx)
}

// mute answers nobody who they are.
type mute struct{}

func (mute) Authenticate(ctx context.Context, _ http.Header) (jobs.Principal, error) {
	return jobs.Principal{}, wait(ctx)
}

// However silent its parts are, a call is answered, and so is a stream that
// cannot begin.
func TestSilence(t *testing.T) {
	for name, c := range map[string]struct {
		path   string
		stream bool
		accept string
		auth   interface {
			Authenticate(context.Context, http.Header) (jobs.Principal, error)
		}
	}{
		"list":              {"/v1/projects/p/exports", false, "", anyone{}},
		"get":               {export, false, "", anyone{}},
		"link":              {export + "/download", false, "", anyone{}},
		"file":              {export + "/download", true, "", anyone{}},
		"address of a file": {export + "/download", true, "application/json", anyone{}},
		"original":          {"/v1/projects/p/documents/1/original", true, "", anyone{}},
		"events":            {export + "/events", false, "", anyone{}},
		"who":               {export, false, "", mute{}},
		"who of events":     {export + "/events", false, "", mute{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEdge(func(cfg *api.Config) { cfg.Service, door(cfg).People, cfg.Stream = silent{}, c.auth, c.stream })
			began := time.Now()
			res := e.call(http.MethodGet, c.path, "Accept", c.accept)
			if took := time.Since(began); res.StatusCode != 503 || took != 10*time.Second || res.Header.Get("Retry-After") == "" {
				t.Errorf("%s: %d after %s %v", name, res.StatusCode, took, res.Header)
			}
			if k := kind(t, res); k != "unavailable" {
				t.Errorf("%s: %s", name, k)
			}
		})
	}
}

// halting is a file whose second half never comes, until its context ends.
type halting struct {
	*strings.Reader
	ctx context.Context
}

func (h halting) Read(p []byte) (int, error) {
	if h.Len() <= len(content)/2 {
		return 0, wait(h.ctx)
	}
	return h.Reader.Read(p[:len(content)/2])
}
func (halting) Close() error { return nil }

type halted struct{ api.Service }

func (halted) Open(ctx context.Context, _ jobs.Principal, _ jobs.Wanted) (jobs.Object, error) {
	return jobs.Object{ReadSeekCloser: halting{strings.NewReader(content), ctx}, Type: "application/gzip", ETag: `"e"`}, nil
}

// A store that falls silent in the middle of a file ends it, a minute later.
func TestSilenceInAFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEdge(func(cfg *api.Config) { cfg.Service, cfg.Stream = halted{}, true })
		began := time.Now()
		res := e.call(http.MethodGet, export+"/download")
		if took := time.Since(began); took != time.Minute || res.StatusCode != 200 || body(t, res) != content[:len(content)/2] {
			t.Errorf("%d after %s", res.StatusCode, took)
		}
	})
}

// slow gives a byte whenever somebody sends one on its channel.
type slow struct {
	*strings.Reader
	next <-chan time.Time
	ctx  context.Context
}

func (s slow) Read(p []byte) (int, error) {
	select {
	case <-s.next:
		return s.Reader.Read(p[:1])
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}
func (slow) Close() error { return nil }

// lasts answers for longer than the server's limits.
type lasts struct {
	api.Service
	every time.Duration
}

func (l lasts) Open(ctx context.Context, _ jobs.Principal, _ jobs.Wanted) (jobs.Object, error) {
	return jobs.Object{ReadSeekCloser: slow{strings.NewReader(content), time.Tick(l.every), ctx}, Type: "application/gzip", ETag: `"e"`}, nil
}

func (l lasts) Watch(ctx context.Context, _ jobs.Principal, _ string) (<-chan jobs.Job, error) {
	changes := make(chan jobs.Job)
	go func() {
		defer close(changes)
		for i := range len(content) {
			select {
			case <-time.After(l.every):
			case <-ctx.Done():
				return
			}
			select {
			case changes <- jobs.Job{ID: id, State: jobs.Running, Version: int64(i)}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return changes, nil
}

// The server's limits for reading a request and writing an answer are not those
// of a stream, whatever stands between; each event comes at once.
func TestStreamsOutliveTheServersLimits(t *testing.T) {
	const limit = 150 * time.Millisecond
	h := api.New(api.Config{
		Service: lasts{every: limit / 5}, Door: &auth.Door{People: anyone{}, Limiter: &counting{9}}, PublicURL: "https://h/base",
		Origins: []string{"https://chat.example.org"}, Stream: true, Probes: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
	})
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = limit, limit
	srv.Start()
	t.Cleanup(srv.Close)
	get := func(path string) (*http.Response, time.Time) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/base"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://chat.example.org")
		began := time.Now()
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res, began
	}

	res, began := get(export + "/download")
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != content || time.Since(began) < 3*limit/2 {
		t.Errorf("the file: %q, %v after %s", got, err, time.Since(began))
	}

	res, began = get(export + "/events")
	lines := bufio.NewScanner(res.Body)
	events := 0
	for lines.Scan() {
		if lines.Text() != "event: job" {
			continue
		}
		if events++; events == 1 && time.Since(began) > limit {
			t.Errorf("the first event came after %s", time.Since(began))
		}
	}
	if events != len(content) || lines.Err() != nil || time.Since(began) < 3*limit/2 {
		t.Errorf("%d events of %d, %v after %s", events, len(content), lines.Err(), time.Since(began))
	}
}

// Nor is the limit of a call that of a stream.
func TestStreamsOutliveCalls(t *testing.T) {
	for path, whole := range map[string]func(string) bool{
		"/download": func(got string) bool { return got == content },
		"/events":   func(got string) bool { return strings.Count(got, "event: job") == len(content) },
	} {
		synctest.Test(t, func(t *testing.T) {
			e := newEdge(func(cfg *api.Config) { cfg.Service, cfg.Stream = lasts{every: 30 * time.Second}, true })
			began := time.Now()
			got := body(t, e.call(http.MethodGet, export+path))
			if took := time.Since(began); took < 5*time.Minute || !whole(got) {
				t.Errorf("%s: %q after %s", path, got, took)
			}
		})
	}
}
