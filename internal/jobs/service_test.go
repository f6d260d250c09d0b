package jobs

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseBound(t *testing.T) {
	for _, c := range []struct {
		in    string
		upper bool
		want  string // empty: refused
	}{
		{"2024-02-29", false, "2024-02-29T00:00:00Z"},
		{"2024-02-29", true, "2024-03-01T00:00:00Z"},
		{"2024-12-31", true, "2025-01-01T00:00:00Z"},
		{"2024-02-29T10:00:00+02:00", true, "2024-02-29T08:00:00Z"},
		{"2024-02-29T10:00:00.123456789Z", false, "2024-02-29T10:00:00.123457Z"},
		{"2024-02-29T10:00:00.123456Z", true, "2024-02-29T10:00:00.123456Z"},
		{"2023-02-29", false, ""}, {"2024-02-29T10:00:00", false, ""}, {"yesterday", false, ""},
		{" 2024-02-29", false, ""}, {"2024-02-29T24:00:01Z", false, ""}, {"99999-01-01", false, ""},
	} {
		got, err := parseBound(c.in, c.upper)
		if (err != nil) != (c.want == "") {
			t.Errorf("%q: %v", c.in, err)
		} else if err == nil && got.Format(time.RFC3339Nano) != c.want {
			t.Errorf("%q: %v, want %s", c.in, got, c.want)
		}
	}
	if got, err := parseBound("", true); got != nil || err != nil {
		t.Errorf("empty: %v %v", got, err)
	}
}

func FuzzParseBound(f *testing.F) {
	f.Add("2024-02-29", true)
	f.Add("2024-02-29T10:00:00.9999999+14:00", false)
	f.Fuzz(func(t *testing.T, s string, upper bool) {
		got, err := parseBound(s, upper)
		if err == nil && got != nil && (got.Nanosecond()%1000 != 0 || got.Location() != time.UTC) {
			t.Errorf("%q became %v", s, got)
		}
	})
}

func TestFilename(t *testing.T) {
	for project, want := range map[string]string{
		"myProject":            "myProject-convo_history.jsonl.gz",
		"Курс 2024/25":         "Курс 2024_25-convo_history.jsonl.gz",
		"../../etc/passwd":     "_.._etc_passwd-convo_history.jsonl.gz",
		"a\"\r\nSet-Cookie: x": "a___Set-Cookie_ x-convo_history.jsonl.gz",
		"evil\u202egpj":        "evil_gpj-convo_history.jsonl.gz",
		"...":                  "project-convo_history.jsonl.gz",
		"\xff":                 "_-convo_history.jsonl.gz",
	} {
		if got := Filename(Spec{Project: project, Kind: Conversations}); got != want {
			t.Errorf("%q: %q, want %q", project, got, want)
		}
	}
	long := Filename(Spec{Project: strings.Repeat("é", 500), Kind: Documents})
	if len(long) > 255 || !strings.HasSuffix(long, "é-documents.jsonl.gz") {
		t.Errorf("a long name has %d bytes: %s", len(long), long)
	}
}

// strict is a store that must not be reached.
type strict struct{ Records }

// journal keeps what is recorded.
type journal struct {
	Journal
	entries []AuditEntry
}

func (j *journal) Record(_ context.Context, e AuditEntry) error {
	j.entries = append(j.entries, e)
	return nil
}

type noJournal struct{ Journal }

func (noJournal) Record(context.Context, AuditEntry) error { return errors.New("audit is down") }

type nobody struct{}

func (nobody) Role(context.Context, string, string) (Role, error) { return RoleNone, nil }

// Every method refuses before it does anything.
func TestAuthorisesFirst(t *testing.T) {
	s := NewService(ServicePorts{Records: strict{}, Roles: nobody{}, Journal: &journal{}}, Env{}, ServiceOptions{})
	p := Principal{Email: "a@example.edu"}
	if _, err := s.Create(t.Context(), p, CreateRequest{Project: "p", Kind: "nonsense"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("create: %v", err)
	}
	if _, err := s.List(t.Context(), p, ListQuery{Project: "p"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("list: %v", err)
	}
	if _, err := s.Create(t.Context(), Principal{}, CreateRequest{Project: "p"}); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("nobody: %v", err)
	}
}

type oneJob struct {
	Records
	job Job
}

func (o oneJob) Get(context.Context, string) (Job, error) { return o.job, nil }

type owner struct{}

func (owner) Role(context.Context, string, string) (Role, error) { return RoleOwner, nil }

func TestDownloadStates(t *testing.T) {
	now := time.Now()
	past, future := now.Add(-time.Second), now.Add(time.Hour)
	for name, c := range map[string]struct {
		job  Job
		want error
	}{
		"queued":   {Job{State: Queued}, ErrNotReady},
		"running":  {Job{State: Running, Upload: &Upload{}}, ErrNotReady},
		"failed":   {Job{State: Failed}, ErrNotReady},
		"canceled": {Job{State: Canceled}, ErrNotReady},
		"expired":  {Job{State: Expired}, ErrGone},
		"too late": {Job{State: Succeeded, Result: &Result{}, Upload: &Upload{}, ExpiresAt: &past}, ErrGone},
	} {
		s := NewService(ServicePorts{Records: oneJob{job: c.job}, Roles: owner{}}, Env{Now: time.Now}, ServiceOptions{})
		if _, err := s.Link(t.Context(), Principal{Email: "a"}, Wanted{Job: "j", Asset: File}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	// No link leaves without a line about it: there are no Links to ask here.
	ready := Job{State: Succeeded, Result: &Result{}, Upload: &Upload{}, ExpiresAt: &future}
	s := NewService(ServicePorts{Records: oneJob{job: ready}, Roles: owner{}, Journal: noJournal{}}, Env{Now: time.Now}, ServiceOptions{})
	if _, err := s.Link(t.Context(), Principal{Email: "a"}, Wanted{Job: "j", Asset: File}); err == nil {
		t.Error("a link without an audit line")
	}
}
