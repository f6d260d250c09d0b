package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/store"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

const lease = 15 * time.Second

type fixture struct {
	*store.Store
	t  *testing.T
	db *pgx.Conn
}

func open(t *testing.T) *fixture {
	t.Helper()
	w := testenv.New(t)
	s, err := store.Open(t.Context(), w.DatabaseURL, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &fixture{s, t, w.Admin(t)}
}

func newJob(project string) jobs.NewJob {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err)
	}
	return jobs.NewJob{
		ID: id.String(), Spec: jobs.Spec{Project: project, Kind: jobs.Conversations},
		Lane: jobs.Large, RequestedBy: "a@example.edu", Notify: []string{}, QueueMax: 100, Fresh: true,
	}
}

func (f *fixture) create(n jobs.NewJob) jobs.Job {
	f.t.Helper()
	c, err := f.Create(f.t.Context(), n)
	if err != nil {
		f.t.Fatal(err)
	}
	return c.Job
}

// claimed creates, dispatches and claims a job.
func (f *fixture) claimed(project string) jobs.Claim {
	f.t.Helper()
	j := f.create(newJob(project))
	f.exec(`update bulkexport.jobs set dispatch = 1, dispatched_at = now() where id = $1`, j.ID)
	c, ok, err := f.Claim(f.t.Context(), jobs.Ticket{Job: j.ID, Dispatch: 1}, "w1", lease)
	if err != nil || !ok {
		f.t.Fatalf("claim: %v %v", ok, err)
	}
	return c
}

func (f *fixture) exec(sql string, args ...any) {
	f.t.Helper()
	if _, err := f.db.Exec(f.t.Context(), sql, args...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) get(id string) jobs.Job {
	f.t.Helper()
	j, err := f.Get(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return j
}

func (f *fixture) count(sql string, args ...any) (n int) {
	f.t.Helper()
	if err := f.db.QueryRow(f.t.Context(), sql, args...).Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fixture) dispatch(r jobs.DispatchRules) []jobs.Ticket {
	f.t.Helper()
	r.MaxFailures = jobs.MaxFailures
	tickets, _, err := f.Dispatch(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	return tickets
}

func TestMigrateTwiceAtOnce(t *testing.T) {
	w := testenv.New(t)
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	for range 3 {
		wg.Go(func() {
			s, err := store.Open(context.Background(), w.DatabaseURL, "test")
			if err == nil {
				defer s.Close()
				err = errors.Join(s.Migrate(context.Background()), s.Ready(context.Background()))
			}
			errs <- err
		})
	}
	wg.Wait()
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestReadyWithoutSchema(t *testing.T) {
	s, err := store.Open(t.Context(), testenv.New(t).DatabaseURL, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Ready(t.Context()); err == nil {
		t.Error("ready without a schema")
	}
}

func TestCreateJoins(t *testing.T) {
	f := open(t)
	first := newJob("p")
	first.Fresh = false
	j := f.create(first)

	second := newJob("p")
	second.Fresh, second.RequestedBy, second.Notify = false, "b@example.edu", []string{"c@example.edu"}
	c, err := f.Create(t.Context(), second)
	if err != nil || c.New || c.Job.ID != j.ID {
		t.Fatalf("identical export was not joined: %+v, %v", c, err)
	}
	if n := f.count(`select cardinality(notify) from bulkexport.jobs where id = $1`, j.ID); n != 2 {
		t.Errorf("%d people to notify, want 2", n)
	}
	for name, change := range map[string]func(*jobs.NewJob){
		"fresh":   func(n *jobs.NewJob) { n.Fresh = true },
		"project": func(n *jobs.NewJob) { n.Project = "P" },
		"kind":    func(n *jobs.NewJob) { n.Kind = jobs.Documents },
		"from":    func(n *jobs.NewJob) { now := time.Now(); n.From = &now },
		"skipped": func(n *jobs.NewJob) { n.AllowSkipped = true },
	} {
		other := newJob("p")
		other.Fresh = false
		change(&other)
		if c, err := f.Create(t.Context(), other); err != nil || !c.New {
			t.Errorf("%s differs, but the job was joined: %v", name, err)
		}
	}
	if _, err := f.RequestCancel(t.Context(), j.ID, jobs.Principal{Email: "a@example.edu"}); err != nil {
		t.Fatal(err)
	}
	f.exec(`delete from bulkexport.jobs where project = 'p' and state = 'queued'`)
	third := newJob("p")
	third.Fresh = false
	if c, err := f.Create(t.Context(), third); err != nil || !c.New {
		t.Errorf("a canceled export was joined: %v", err)
	}
}

func TestIdenticalAtOnceMakeOneJob(t *testing.T) {
	f := open(t)
	var wg sync.WaitGroup
	ids := make(chan string, 50)
	for range 50 {
		wg.Go(func() {
			n := newJob("p")
			n.Fresh = false
			if c, err := f.Create(context.Background(), n); err == nil {
				ids <- c.Job.ID
			}
		})
	}
	wg.Wait()
	close(ids)
	answers, distinct := 0, map[string]bool{}
	for id := range ids {
		answers++
		distinct[id] = true
	}
	if answers != 50 || len(distinct) != 1 {
		t.Errorf("%d answers with %d jobs, want 50 with 1", answers, len(distinct))
	}
}

func TestIdempotencyKey(t *testing.T) {
	f := open(t)
	n := newJob("p")
	n.IdempotencyKey, n.RequestHash = "k", []byte{1}
	j := f.create(n)
	f.exec(`update bulkexport.jobs set state = 'canceled' where id = $1`, j.ID)

	again := newJob("p")
	again.IdempotencyKey, again.RequestHash = "k", []byte{1}
	if c, err := f.Create(t.Context(), again); err != nil || c.New || c.Job.ID != j.ID {
		t.Errorf("same key and body gave another job: %+v, %v", c, err)
	}
	again.RequestHash = []byte{2}
	if _, err := f.Create(t.Context(), again); !errors.Is(err, jobs.ErrKeyReused) {
		t.Errorf("same key, other body: %v", err)
	}
	again.RequestedBy = "b@example.edu"
	if c, err := f.Create(t.Context(), again); err != nil || !c.New {
		t.Errorf("another person's key: %v", err)
	}
	f.exec(`update bulkexport.idempotency_keys set created_at = now() - interval '25 hours'`)
	again = newJob("p")
	again.IdempotencyKey, again.RequestHash = "k", []byte{2}
	if c, err := f.Create(t.Context(), again); err != nil || !c.New {
		t.Errorf("a key of yesterday: %v", err)
	}
}

func TestQueueCap(t *testing.T) {
	f := open(t)
	for range 3 {
		n := newJob("p")
		n.QueueMax = 3
		f.create(n)
	}
	n := newJob("p")
	n.QueueMax = 3
	if _, err := f.Create(t.Context(), n); !errors.Is(err, jobs.ErrQueueFull) {
		t.Errorf("fourth of three: %v", err)
	}
	f.create(newJob("other"))
}

func TestClaimIsExclusive(t *testing.T) {
	f := open(t)
	j := f.create(newJob("p"))
	f.exec(`update bulkexport.jobs set dispatch = 2, dispatched_at = now() where id = $1`, j.ID)
	if _, ok, err := f.Claim(t.Context(), jobs.Ticket{Job: j.ID, Dispatch: 1}, "w", lease); ok || err != nil {
		t.Errorf("a stale ticket claimed: %v %v", ok, err)
	}
	var wg sync.WaitGroup
	wins := make(chan bool, 20)
	for i := range 20 {
		wg.Go(func() {
			_, ok, err := f.Claim(context.Background(), jobs.Ticket{Job: j.ID, Dispatch: 2}, fmt.Sprint("w", i), lease)
			wins <- ok && err == nil
		})
	}
	wg.Wait()
	n := 0
	for range 20 {
		if <-wins {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d workers won the claim, want 1", n)
	}
}

// Every write of a worker that was given up must change nothing.
func TestFence(t *testing.T) {
	f := open(t)
	c := f.claimed("p")
	if err := f.BeginUpload(t.Context(), c.Fence, jobs.Upload{Nonce: "n", Key: "k"}); err != nil {
		t.Fatal(err)
	}
	f.exec(`update bulkexport.jobs set attempt = attempt + 1 where id = $1`, c.Fence.Job)
	before := f.get(c.Fence.Job)
	ctx := t.Context()
	writes := map[string]func() error{
		"renew": func() error {
			_, err := f.Renew(ctx, c.Fence, jobs.Beat{Phase: jobs.Streaming, Lease: lease})
			return err
		},
		"begin":  func() error { return f.BeginUpload(ctx, c.Fence, jobs.Upload{Nonce: "m", Key: "l"}) },
		"commit": func() error { return f.Commit(ctx, c.Fence, jobs.Cut{}) },
		"succeed": func() error {
			_, err := f.End(ctx, c.Fence, jobs.Ending{State: jobs.Succeeded, Result: &jobs.Result{SHA256: "x"}})
			return err
		},
		"fail": func() error {
			_, err := f.End(ctx, c.Fence, jobs.Ending{State: jobs.Failed, Failure: &jobs.Failure{Code: "x"}})
			return err
		},
		"give back": func() error { _, err := f.End(ctx, c.Fence, jobs.Ending{State: jobs.Queued}); return err },
	}
	for name, write := range writes {
		if err := write(); !errors.Is(err, jobs.ErrFenced) {
			t.Errorf("%s by the old attempt: %v, want ErrFenced", name, err)
		}
	}
	after := f.get(c.Fence.Job)
	if after.Version != before.Version || after.State != jobs.Running || after.Upload.Nonce != "n" {
		t.Errorf("the row changed: %+v", after)
	}
	if n := f.count(`select count(*) from bulkexport.checkpoints`); n != 0 {
		t.Errorf("%d checkpoints of the old attempt", n)
	}
	if n := f.count(`select count(*) from bulkexport.outbox`); n != 0 {
		t.Errorf("%d mails of the old attempt", n)
	}
}

func TestSuccess(t *testing.T) {
	f := open(t)
	c := f.claimed("p")
	upload := jobs.Upload{Nonce: "n", Key: "k", ID: "u"}
	must(t, f.BeginUpload(t.Context(), c.Fence, upload))
	must(t, f.Commit(t.Context(), c.Fence, jobs.Cut{LastID: 7, Parts: []jobs.Part{{Number: 1}}}))
	must(t, f.Commit(t.Context(), c.Fence, jobs.Cut{LastID: 9, Final: true}))
	want := jobs.Result{Filename: "f", Rows: 3, Bytes: 4, BytesRaw: 5, SHA256: "s", SHA256Raw: "r", ContextsCut: 6,
		Skipped: 1, SkippedRows: []jobs.Skipped{{ID: 5, Reason: "damaged"}}, Deleted: 7, Appeared: 8}
	state, err := f.End(t.Context(), c.Fence, jobs.Ending{State: jobs.Succeeded, Result: &want, Retention: time.Hour})
	if err != nil || state != jobs.Succeeded {
		t.Fatal(state, err)
	}
	j := f.get(c.Fence.Job)
	if !reflect.DeepEqual(*j.Result, want) || *j.Upload != upload || j.FinishedAt == nil || j.ExpiresAt.Sub(*j.FinishedAt) != time.Hour {
		t.Errorf("got %+v, %+v", j, j.Result)
	}
	if n := f.count(`select count(*) from bulkexport.checkpoints where number = 2 and final`); n != 1 {
		t.Error("the final cut is missing")
	}
	if n := f.count(`select count(*) from bulkexport.outbox where outcome = 'ready' and recipient = 'a@example.edu'`); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
	if n := f.count(`select count(*) from bulkexport.attempts where outcome = 'succeeded' and ended_at is not null`); n != 1 {
		t.Error("the attempt is not closed")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCancelWins(t *testing.T) {
	f := open(t)
	c := f.claimed("p")
	must(t, f.BeginUpload(t.Context(), c.Fence, jobs.Upload{Nonce: "n", Key: "k"}))
	if j, err := f.RequestCancel(t.Context(), c.Fence.Job, jobs.Principal{Email: "b@example.edu"}); err != nil || j.State != jobs.Running || !j.Canceling() {
		t.Fatalf("%+v %v", j, err)
	}
	if cancel, err := f.Renew(t.Context(), c.Fence, jobs.Beat{Phase: jobs.Streaming, Lease: lease}); err != nil || !cancel {
		t.Errorf("the worker is not told: %v %v", cancel, err)
	}
	_, err := f.End(t.Context(), c.Fence, jobs.Ending{State: jobs.Succeeded, Result: &jobs.Result{SHA256: "x"}})
	if !errors.Is(err, jobs.ErrCancelRequested) {
		t.Errorf("a success after the cancel: %v", err)
	}
	// Handing back is the same as ending it.
	if state, err := f.End(t.Context(), c.Fence, jobs.Ending{State: jobs.Queued}); err != nil || state != jobs.Canceled {
		t.Errorf("handed back as %v, %v", state, err)
	}
	if _, err := f.RequestCancel(t.Context(), c.Fence.Job, jobs.Principal{Email: "b@example.edu"}); !errors.Is(err, jobs.ErrFinal) {
		t.Errorf("canceled twice: %v", err)
	}
	if n := f.count(`select count(*) from bulkexport.outbox where outcome = 'ready'`); n != 0 {
		t.Error("a mail says ready")
	}
}

func TestCancelQueued(t *testing.T) {
	f := open(t)
	j := f.create(newJob("p"))
	if j, err := f.RequestCancel(t.Context(), j.ID, jobs.Principal{Email: "a@example.edu"}); err != nil || j.State != jobs.Canceled || j.FinishedAt == nil {
		t.Errorf("%+v %v", j, err)
	}
	f.heartbeat("w", 5, 5)
	if got := f.dispatch(jobs.DispatchRules{ProjectSlots: 1}); len(got) != 0 {
		t.Errorf("a canceled job was dispatched: %v", got)
	}
	if _, err := f.RequestCancel(t.Context(), uuid.NewString(), jobs.Principal{Email: "a"}); !errors.Is(err, jobs.ErrNotFound) {
		t.Errorf("no such job: %v", err)
	}
}

func (f *fixture) heartbeat(id string, large, small int) {
	f.t.Helper()
	must(f.t, f.Heartbeat(f.t.Context(), jobs.WorkerStatus{ID: id, Slots: map[jobs.Lane]int{jobs.Large: large, jobs.Small: small}}))
}

func TestList(t *testing.T) {
	f := open(t)
	var ids []string
	for range 5 {
		ids = append(ids, f.create(newJob("p")).ID)
	}
	f.create(newJob("q"))
	if _, err := f.RequestCancel(t.Context(), ids[1], jobs.Principal{Email: "a"}); err != nil {
		t.Fatal(err)
	}
	list := func(q jobs.ListQuery) (got []string) {
		q.Project, q.Limit = "p", max(q.Limit, 1)
		page, err := f.List(t.Context(), q)
		must(t, err)
		for _, j := range page {
			got = append(got, j.ID)
		}
		return got
	}
	if got := list(jobs.ListQuery{Limit: 2}); fmt.Sprint(got) != fmt.Sprint([]string{ids[4], ids[3]}) {
		t.Errorf("first page: %v", got)
	}
	if got := list(jobs.ListQuery{Limit: 9, Before: ids[3]}); fmt.Sprint(got) != fmt.Sprint([]string{ids[2], ids[1], ids[0]}) {
		t.Errorf("second page: %v", got)
	}
	if got := list(jobs.ListQuery{Limit: 9, State: jobs.Canceled}); fmt.Sprint(got) != fmt.Sprint([]string{ids[1]}) {
		t.Errorf("canceled: %v", got)
	}
}
