package jobs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"
)

// strict are ports that must not be reached.
type (
	strictRecords  struct{ Records }
	strictOverview struct{ Overview }
	strictFiles    struct{ Files }
	strictSurveyor struct{ Surveyor }
)

// oneJob is a store that has this job, whatever is asked for.
type oneJob struct {
	Records
	job Job
}

func (o oneJob) Get(context.Context, string) (Job, error) { return o.job, nil }

// journal keeps what is recorded.
type journal struct {
	Journal
	mu      sync.Mutex
	entries []AuditEntry
}

func (j *journal) Record(ctx context.Context, e AuditEntry) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, e)
	return nil
}

type noJournal struct{ Journal }

func (noJournal) Record(context.Context, AuditEntry) error { return errors.New("audit is down") }

// everybody has the same role.
type everybody struct {
	role Role
	err  error
}

func (e everybody) Role(context.Context, string, string) (Role, error) { return e.role, e.err }

func quiet() Env { return Env{Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil))} }

// actions are all methods of the Service, by the action that the audit has.
var actions = map[string]func(context.Context, *Service, Principal) error{
	ActionCreate: func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.Create(ctx, p, CreateRequest{Project: "p", Kind: "nonsense"})
		return err
	},
	ActionGet:    func(ctx context.Context, s *Service, p Principal) error { _, err := s.Get(ctx, p, "j"); return err },
	ActionCancel: func(ctx context.Context, s *Service, p Principal) error { _, err := s.Cancel(ctx, p, "j"); return err },
	ActionExtend: func(ctx context.Context, s *Service, p Principal) error { _, err := s.Extend(ctx, p, "j"); return err },
	ActionPurge:  func(ctx context.Context, s *Service, p Principal) error { return s.Purge(ctx, p, "j") },
	ActionResend: func(ctx context.Context, s *Service, p Principal) error { return s.Resend(ctx, p, "j", 1) },
	ActionWatch:  func(ctx context.Context, s *Service, p Principal) error { _, err := s.Watch(ctx, p, "j"); return err },
	ActionList: func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.List(ctx, p, ListQuery{Project: "p"})
		return err
	},
	ActionAudit: func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.Audit(ctx, p, AuditQuery{Project: "p"})
		return err
	},
	ActionPreview: func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.Preview(ctx, p, PreviewRequest{Project: "p", Kind: "nonsense"})
		return err
	},
	ActionPurgeProject: func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.PurgeProject(ctx, p, "p")
		return err
	},
	string(File): func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.Link(ctx, p, Wanted{Job: "j", Asset: File})
		return err
	},
	string(Manifest): func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.Open(ctx, p, Wanted{Job: "j", Asset: Manifest})
		return err
	},
	string(Checksums): func(ctx context.Context, s *Service, p Principal) error {
		return s.Check(ctx, p, Wanted{Job: "j", Asset: Checksums})
	},
	ActionOriginal: func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.Link(ctx, p, Wanted{Project: "p", Document: 1})
		return err
	},
}

// Every method refuses before it does anything, and notes nothing but that.
func TestAuthorisesFirst(t *testing.T) {
	p := Principal{Email: "a@example.edu", Remote: "192.0.2.1"}
	for name, act := range actions {
		for _, c := range []struct {
			who   Principal
			roles everybody
			want  error
		}{
			{p, everybody{}, ErrNotFound},
			{p, everybody{RoleOwner, ErrFrozen}, ErrFrozen},
			{Principal{}, everybody{role: RoleOwner}, ErrUnauthenticated},
			{p, everybody{err: &Unavailable{Dependency: "x", Err: io.EOF}}, io.EOF},
		} {
			j := &journal{}
			s := NewService(ServicePorts{
				Records: oneJob{strictRecords{}, Job{ID: "j", Spec: Spec{Project: "p"}}}, Eraser: &eraser{}, Overview: strictOverview{},
				Files: strictFiles{}, Originals: strictFiles{}, Surveyor: strictSurveyor{}, Journal: j, Roles: c.roles,
			}, quiet(), ServiceOptions{})
			want, lines := c.want, 0
			if name == ActionPurgeProject && c.who == p {
				want = ErrNotFound // it asks who is an operator, and not the platform
			}
			if errors.Is(want, ErrNotFound) || errors.Is(want, ErrFrozen) {
				lines = 1
			}
			if err := act(t.Context(), s, c.who); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			if len(j.entries) != lines {
				t.Errorf("%s, %v: %d lines in the audit", name, want, len(j.entries))
			}
			for _, e := range j.entries {
				e.Job = "" // where the job was named
				if e != (AuditEntry{Actor: p.Email, Action: Refused, Detail: name, Project: "p", Remote: p.Remote}) {
					t.Errorf("%s: %+v", name, e)
				}
			}
		}
	}
}

// Who hangs up early is noted all the same.
func TestRefusalOfWhoHasGone(t *testing.T) {
	j := &journal{}
	s := NewService(ServicePorts{Roles: everybody{}, Journal: j}, quiet(), ServiceOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.List(ctx, Principal{Email: "a"}, ListQuery{Project: "p"}); !errors.Is(err, ErrNotFound) || len(j.entries) != 1 {
		t.Errorf("%v, %d lines in the audit", err, len(j.entries))
	}
}

// A refusal stands, also when nobody can write it down.
func TestRefusedWithoutAudit(t *testing.T) {
	s := NewService(ServicePorts{Roles: everybody{}, Journal: noJournal{}}, quiet(), ServiceOptions{})
	if _, err := s.List(t.Context(), Principal{Email: "a"}, ListQuery{Project: "p"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// Names that no project can have reach neither tables nor the audit.
func TestImpossibleProjects(t *testing.T) {
	j := &journal{}
	s := NewService(ServicePorts{Roles: everybody{role: RoleOwner}, Journal: j}, quiet(), ServiceOptions{})
	long := string(slices.Repeat([]rune{'é'}, 201))
	for _, project := range []string{long, "a\x00b", "\xff"} {
		if _, err := s.List(t.Context(), Principal{Email: "a"}, ListQuery{Project: project}); !errors.Is(err, ErrNotFound) || len(j.entries) != 0 {
			t.Errorf("%q: %v, %v", project, err, j.entries)
		}
	}
}

type eraser struct {
	Eraser
	by Principal
}

func (e *eraser) PurgeProject(_ context.Context, _ string, by Principal, dry bool) ([]string, []Move, error) {
	e.by = by
	if dry {
		return nil, nil, errors.New("a dry run")
	}
	return []string{"j"}, nil, nil
}

// Operators do what is theirs, and get no project's data by it.
func TestOperators(t *testing.T) {
	p := Principal{Email: "op@example.edu"}
	e, j := &eraser{}, &journal{}
	s := NewService(ServicePorts{Eraser: e, Journal: j, Roles: everybody{}, Records: oneJob{strictRecords{}, Job{ID: "j", Spec: Spec{Project: "p"}}}},
		quiet(), ServiceOptions{Operators: []string{" OP@example.edu"}})
	for name, act := range actions {
		err := act(t.Context(), s, p)
		if name == ActionPurgeProject {
			if err != nil || e.by != p {
				t.Errorf("purge: %v by %v", err, e.by)
			}
		} else if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDownloadStates(t *testing.T) {
	now := time.Now()
	past, future := now.Add(-time.Second), now.Add(time.Hour)
	owner := everybody{role: RoleOwner}
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
		s := NewService(ServicePorts{Records: oneJob{job: c.job}, Roles: owner}, quiet(), ServiceOptions{})
		for _, act := range []string{string(File), string(Manifest), string(Checksums)} {
			if err := actions[act](t.Context(), s, Principal{Email: "a"}); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v, want %v", name, act, err, c.want)
			}
		}
	}
	// Nothing leaves without a line about it: there are no Files to ask here.
	ready := Job{State: Succeeded, Result: &Result{}, Upload: &Upload{}, ExpiresAt: &future}
	s := NewService(ServicePorts{Records: oneJob{job: ready}, Roles: owner, Journal: noJournal{}, Files: strictFiles{}}, quiet(), ServiceOptions{})
	for _, act := range []string{string(File), string(Manifest)} {
		if err := actions[act](t.Context(), s, Principal{Email: "a"}); err == nil {
			t.Errorf("%s without an audit line", act)
		}
	}
}
