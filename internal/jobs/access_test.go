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
	strictDesk     struct{ Desk }
	strictControl  struct{ Control }
	strictBells    struct{ Bells }
)

// operators are the actions that are theirs alone.
var operators = []string{ActionPurgeProject, ActionOps, ActionStop, ActionRetry, ActionMoveAhead, ActionPause, ActionResume, ActionQueue, ActionTask}

// order is an action of an operator's on a job, or on the queue.
func order(o JobOrder) func(context.Context, *Service, Principal) error {
	return func(ctx context.Context, s *Service, p Principal) error { _, err := s.Order(ctx, p, o); return err }
}

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
	ActionOps: func(ctx context.Context, s *Service, p Principal) error {
		_, situation := s.Situation(ctx, p)
		if situation != nil {
			return situation
		}
		_, search := s.Search(ctx, p, SearchQuery{})
		_, story := s.Story(ctx, p, "j")
		return errors.Join(search, story)
	},
	ActionStop:      order(JobOrder{Action: ActionStop, Job: "j"}),
	ActionRetry:     order(JobOrder{Action: ActionRetry, Job: "j"}),
	ActionMoveAhead: order(JobOrder{Action: ActionMoveAhead, Job: "j"}),
	ActionPause:     order(JobOrder{Action: ActionPause, Project: "p"}),
	ActionResume:    order(JobOrder{Action: ActionResume, Project: "p"}),
	ActionQueue: func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.RawQueues(ctx, p)
		return err
	},
	ActionTask: func(ctx context.Context, s *Service, p Principal) error {
		_, err := s.OrderTasks(ctx, p, TaskOrder{Do: "delete", Queue: "q", Task: "t"})
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
				Desk: strictDesk{}, Control: strictControl{}, Bells: strictBells{},
			}, quiet(), ServiceOptions{})
			want, lines := c.want, 0
			if slices.Contains(operators, name) && c.who == p {
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
				if slices.Contains(operators, name) {
					e.Project = "p" // where it was named
				}
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

// office does what operators want, and notes it.
type office struct {
	strictDesk
	strictControl
	strictBells
	did  []string
	down error // of Redis
	used int64
}

func (o *office) note(what string, p Principal) error {
	o.did = append(o.did, what+" by "+p.Email)
	return nil
}
func (o *office) Findings(context.Context, Limits) ([]Finding, error) {
	return []Finding{{Kind: Paused}, {Kind: NoProgress}, {Kind: NoWorker}}, nil
}
func (o *office) Flow(context.Context) (Flow, error)                       { return Flow{}, nil }
func (o *office) Search(context.Context, SearchQuery) ([]Job, error)       { return nil, nil }
func (o *office) Story(context.Context, string) (Story, error)             { return Story{}, nil }
func (o *office) Hasten(_ context.Context, _ string, p Principal) error    { return o.note("hasten", p) }
func (o *office) MoveAhead(_ context.Context, _ string, p Principal) error { return o.note("ahead", p) }
func (o *office) Pause(_ context.Context, _ string, p Principal) error     { return o.note("pause", p) }
func (o *office) Resume(_ context.Context, _ string, p Principal) error    { return o.note("resume", p) }
func (o *office) Rerun(_ context.Context, _, fresh string, p Principal) (string, error) {
	return fresh, o.note("rerun", p)
}
func (o *office) RequestCancel(_ context.Context, _ string, p Principal) (Job, error) {
	return Job{}, o.note("cancel", p)
}
func (o *office) Memory(context.Context) (used, most int64, err error) { return o.used, 100, o.down }
func (o *office) Queues(context.Context) (RawQueues, error)            { return RawQueues{}, nil }
func (o *office) Change(context.Context, TaskOrder) (int, error) {
	return 1, o.note("change", Principal{})
}

// officeRecords are those of a job that operators may stop.
type officeRecords struct {
	oneJob
	*office
}

func (r officeRecords) Get(ctx context.Context, id string) (Job, error) { return r.oneJob.Get(ctx, id) }
func (r officeRecords) RequestCancel(ctx context.Context, id string, p Principal) (Job, error) {
	return r.office.RequestCancel(ctx, id, p)
}

func operated(o *office, e Eraser, j Journal, state State) *Service {
	env := quiet()
	env.NewID = func() string { return "k" }
	return NewService(ServicePorts{
		Eraser: e, Journal: j, Roles: everybody{}, Desk: o, Control: o, Bells: o,
		Records: officeRecords{oneJob{strictRecords{}, Job{ID: "j", Spec: Spec{Project: "p"}, State: state}}, o},
	}, env, ServiceOptions{Operators: []string{" OP@example.edu"}, Created: func() {}})
}

// Operators do what is theirs, and get no project's data by it.
func TestOperators(t *testing.T) {
	p := Principal{Email: "op@example.edu"}
	e, j := &eraser{}, &journal{}
	s := operated(&office{}, e, j, Failed)
	for name, act := range actions {
		err := act(t.Context(), s, p)
		if slices.Contains(operators, name) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if e.by != p {
		t.Errorf("purged by %v", e.by)
	}
}

// What is to be tried again is hastened while it waits, and asked for anew once
// it is over; each as the operator's doing.
func TestOrders(t *testing.T) {
	p := Principal{Email: "op@example.edu"}
	for state, want := range map[State]struct{ did, job string }{
		Queued: {"hasten by op@example.edu", "j"}, Failed: {"rerun by op@example.edu", "k"},
	} {
		o := &office{}
		job, err := operated(o, nil, &journal{}, state).Order(t.Context(), p, JobOrder{Action: ActionRetry, Job: "j"})
		if err != nil || job != want.job || !slices.Equal(o.did, []string{want.did}) {
			t.Errorf("%s: %s, %v, did %v", state, job, err, o.did)
		}
	}
	o, j := &office{}, &journal{}
	s := operated(o, nil, j, Queued)
	if _, err := s.Order(t.Context(), p, JobOrder{Action: ActionOps, Job: "j"}); !errors.Is(err, ErrNotFound) || len(o.did) > 0 {
		t.Errorf("an unknown order: %v, did %v", err, o.did)
	}
	if _, err := s.OrderTasks(t.Context(), p, TaskOrder{Do: "delete", Queue: "q", State: "archived"}); err != nil || len(j.entries) != 1 || j.entries[0].Detail != "delete q all archived" {
		t.Errorf("%v, %+v", err, j.entries)
	}
	s.Journal = noJournal{}
	if _, err := s.OrderTasks(t.Context(), p, TaskOrder{Do: "delete", Queue: "q"}); err == nil || len(o.did) != 1 {
		t.Errorf("without a line about it: %v, did %v", err, o.did)
	}
}

// What stands still comes first, and a Redis that is full or away is found.
func TestFindingsInOrder(t *testing.T) {
	kinds := func(o *office) (all []FindingKind) {
		got, err := operated(o, nil, &journal{}, Queued).Situation(t.Context(), Principal{Email: "op@example.edu"})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range got.Findings {
			all = append(all, f.Kind)
		}
		return all
	}
	if got := kinds(&office{used: 69}); !slices.Equal(got, []FindingKind{NoWorker, NoProgress, Paused}) {
		t.Error(got)
	}
	if got := kinds(&office{used: 70}); !slices.Equal(got, []FindingKind{NoWorker, NoProgress, RedisMemory, Paused}) {
		t.Error(got)
	}
	if got := kinds(&office{down: io.EOF}); !slices.Equal(got, []FindingKind{NoWorker, RedisDown, NoProgress, Paused}) {
		t.Error(got)
	}
}

// The first reason that holds is the one that is told.
func TestWhy(t *testing.T) {
	later := noon.Add(time.Minute)
	rules := DispatchRules{ProjectSlots: 1, MaxRunning: 5}
	for want, p := range map[Why]Place{
		WhyPaused: {Paused: true, NextAt: &later}, WhyBackoff: {NextAt: &later, Busy: 9}, WhyRung: {Rung: true, Busy: 1},
		WhyProject: {Busy: 1, Running: 9}, WhyMost: {Running: 5}, WhyLane: {Running: 4}, WhyNext: {LaneFree: 1, NextAt: &noon},
	} {
		if got := p.Why(2, rules, noon); got != want {
			t.Errorf("%+v: %s, want %s", p, got, want)
		}
	}
	if got := (Place{LaneFree: 1}).Why(0, rules, noon); got != WhyNoWorker {
		t.Error(got)
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
