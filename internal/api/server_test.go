package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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

// service answers every call about jobs with the same.
type service struct {
	api.Service
	job jobs.Job
	err error
}

func (s service) Create(context.Context, jobs.Principal, jobs.CreateRequest) (jobs.Created, error) {
	return jobs.Created{Job: s.job, New: true}, s.err
}
func (s service) Get(context.Context, jobs.Principal, string) (jobs.Job, error) {
	if s.err == nil && s.job.ID == "" {
		panic("a secret value")
	}
	return s.job, s.err
}
func (s service) List(context.Context, jobs.Principal, jobs.ListQuery) ([]jobs.Job, error) {
	return nil, s.err
}
func (s service) Cancel(context.Context, jobs.Principal, string) (jobs.Job, error) {
	return s.job, s.err
}

// door is the one that a test has hung in.
func door(c *api.Config) *auth.Door { return c.Door.(*auth.Door) }

type anyone struct{}

func (anyone) Authenticate(context.Context, http.Header) (jobs.Principal, error) {
	return jobs.Principal{Email: "a@example.edu"}, nil
}

const id = "01a20a8d-1a86-7c95-82a4-55e769eedfa0"

// handler is the API over a service.
func handler(s api.Service, log io.Writer) http.Handler {
	return api.New(api.Config{
		Service: s, Door: &auth.Door{People: anyone{}}, PublicURL: "https://h/base",
		Probes: http.NotFoundHandler(), Log: slog.New(slog.NewTextHandler(log, nil)),
	})
}

// get calls the API over a service and returns the answer and the log.
func get(t *testing.T, s service) (*http.Response, map[string]any, string) {
	t.Helper()
	var log bytes.Buffer
	h := handler(s, &log)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/exports/"+id, nil))
	var body map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
		t.Fatalf("%d %s: %v", rec.Code, rec.Body, err)
	}
	return rec.Result(), body, log.String()
}

// The one table: every error of the domain, and what is in none.
func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		status int
	}{
		"unauthenticated": {jobs.ErrUnauthenticated, 401},
		"not found":       {jobs.ErrNotFound, 404},
		"key reused":      {jobs.ErrKeyReused, 422},
		"queue full":      {jobs.ErrQueueFull, 429},
		"final":           {jobs.ErrFinal, 409},
		"not ready":       {jobs.ErrNotReady, 409},
		"gone":            {jobs.ErrGone, 410},
		"frozen":          {jobs.ErrFrozen, 403},
		"extended":        {jobs.ErrExtended, 409},
		"not over":        {jobs.ErrNotOver, 409},
		"no original":     {jobs.ErrNoOriginal, 404},
		"too many":        {jobs.ErrTooMany, 429},
		"invalid":         {&jobs.Invalid{Fields: []jobs.FieldError{{Field: "to", Message: "m"}}}, 400},
		"unavailable":     {&jobs.Unavailable{Dependency: "the role store", Err: errors.New("secret")}, 503},
		"classified":      {jobs.Transient("c", "m", &jobs.Unavailable{Dependency: "x", Err: errors.New("secret")}), 503},
		"unknown":         {errors.New("secret"), 500},
	} {
		t.Run(name, func(t *testing.T) {
			res, body, log := get(t, service{err: errors.Join(errors.New("wrapped"), c.err)})
			if res.StatusCode != c.status || body["status"] != float64(c.status) {
				t.Errorf("%d %v, want %d", res.StatusCode, body, c.status)
			}
			if strings.Contains(body["detail"].(string), "secret") {
				t.Errorf("tells what is internal: %v", body)
			}
			if body["instance"] != "/base/v1/exports/"+id {
				t.Errorf("instance %v", body["instance"])
			}
			if logged := strings.Contains(log, "request failed"); logged != (c.status >= 500) {
				t.Errorf("logged as a failure: %v", logged)
			}
		})
	}
}

func TestPanicIsAProblem(t *testing.T) {
	res, body, log := get(t, service{})
	if res.StatusCode != 500 || body["retryable"] != true || strings.Contains(log, "secret value") {
		t.Errorf("%d %v\n%s", res.StatusCode, body, log)
	}
}

// What the document says about a job, field by field.
func TestJob(t *testing.T) {
	at := time.Date(2024, 5, 1, 2, 3, 4, 5000, time.UTC)
	total := int64(3000)
	running := jobs.Job{
		ID: id, State: jobs.Running, Phase: jobs.Streaming, Attempt: 2, RequestedBy: "a@b", CreatedAt: at, StartedAt: &at,
		Spec:     jobs.Spec{Project: "p", Kind: jobs.Documents, From: &at},
		Progress: jobs.Progress{Rows: 1000, RowsTotal: &total, RowsPerSecond: 100, BytesRaw: 7},
		Result:   &jobs.Result{Rows: 1}, Failure: &jobs.Failure{Code: "x"},
	}
	res, body, _ := get(t, service{job: running})
	progress := body["progress"].(map[string]any)
	if progress["percent"] != 33.3 || progress["eta_seconds"] != 20.0 || res.Header.Get("Retry-After") == "" {
		t.Errorf("%v %v", progress, res.Header)
	}
	if body["result"] != nil || body["error"] != nil || body["phase"] != "streaming" || body["from"] != "2024-05-01T02:03:04.000005Z" {
		t.Errorf("%v", body)
	}
	if links := body["links"].(map[string]any); links["download"] != "https://h/base/v1/exports/"+id+"/download" {
		t.Errorf("%v", links)
	}
	for name, value := range map[string]string{"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie", "X-Content-Type-Options": "nosniff"} {
		if got := res.Header.Get(name); got != value {
			t.Errorf("%s: %q", name, got)
		}
	}

	canceling := running
	canceling.CancelRequestedAt = &at
	if _, body, _ = get(t, service{job: canceling}); body["state"] != "canceling" {
		t.Errorf("%v", body["state"])
	}
	done := running
	done.State = jobs.Succeeded
	res, body, _ = get(t, service{job: done})
	if body["result"] == nil || body["phase"] != nil || body["error"] != nil || res.Header.Get("Retry-After") != "" {
		t.Errorf("%v", body)
	}
	failed := running
	failed.State = jobs.Failed
	if _, body, _ = get(t, service{job: failed}); body["result"] != nil || body["error"].(map[string]any)["code"] != "x" {
		t.Errorf("%v", body)
	}
}
