package jobs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// row is a job row with a lease, judged by the bubble's clock.
type row struct {
	mu      sync.Mutex
	job     Job
	lease   time.Time
	down    bool // the database does not answer
	cancel  bool
	endings []Ending
	cuts    int
}

var errDown = errors.New("down")

func (r *row) Claim(_ context.Context, t Ticket, _ string, lease time.Duration) (Claim, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.job.State != Queued || r.job.Dispatch != t.Dispatch {
		return Claim{}, false, nil
	}
	r.job.State = Running
	r.job.Attempt++
	r.lease = time.Now().Add(lease)
	return Claim{Job: r.job, Fence: Fence{r.job.ID, r.job.Attempt}}, true, nil
}

// fenced takes back an expired lease, as the dispatcher would, and checks.
func (r *row) fenced(f Fence) error {
	if r.down {
		return errDown
	}
	if r.job.State == Running && time.Now().After(r.lease) {
		r.job.State = Queued
	}
	if r.job.State != Running || r.job.Attempt != f.Attempt {
		return ErrFenced
	}
	return nil
}

func (r *row) Renew(_ context.Context, f Fence, b Beat) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fenced(f); err != nil {
		return false, err
	}
	if b.Lease > 0 {
		r.lease = time.Now().Add(b.Lease)
	}
	r.job.Progress = b.Progress
	return r.cancel, nil
}

func (r *row) BeginUpload(_ context.Context, f Fence, u Upload) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.job.Upload = &u
	return r.fenced(f)
}

func (r *row) Commit(_ context.Context, f Fence, _ Cut) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cuts++
	return r.fenced(f)
}

func (r *row) End(_ context.Context, f Fence, e Ending) (State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fenced(f); err != nil {
		return "", err
	}
	s, err := e.Settle(r.job.Failures, r.cancel)
	if err != nil {
		return "", err
	}
	r.job.State, r.job.Failures = s.State, s.Failures
	r.endings = append(r.endings, e)
	return s.State, nil
}

func (r *row) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// exporter is a function, and remembers what was discarded.
type exporter struct {
	run       func(ctx context.Context, s *Session) (Result, error)
	discarded []Upload
}

func (x *exporter) Export(ctx context.Context, _ Claim, s *Session) (Result, error) {
	return x.run(ctx, s)
}

func (x *exporter) Discard(_ context.Context, u Upload) error {
	x.discarded = append(x.discarded, u)
	return nil
}

// attempt runs one attempt of a job in a bubble of its own.
func attempt(t *testing.T, x *exporter, during func(*row, *Runner)) *row {
	t.Helper()
	r := &row{job: Job{ID: "j", State: Queued, Dispatch: 1}}
	synctest.Test(t, func(t *testing.T) {
		runner := newRunner(r, x)
		done := make(chan struct{})
		go func() {
			defer close(done)
			runner.Handle(Ticket{Job: "j", Dispatch: 1, Lane: Large})
		}()
		synctest.Wait()
		if during != nil {
			during(r, runner)
		}
		<-done
	})
	return r
}

func newRunner(a Attempts, x Exporter) *Runner {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	env := Env{Now: time.Now, Jitter: func() float64 { return 0 }, Log: log}
	return NewRunner(a, x, env, RunnerOptions{Worker: "w", Slots: map[Lane]int{Large: 1}, Retention: time.Hour, Freed: func() {}})
}

func (r *row) last(t *testing.T) Ending {
	t.Helper()
	if len(r.endings) != 1 {
		t.Fatalf("%d endings, want 1", len(r.endings))
	}
	return r.endings[0]
}

// waits is an export that goes on until it is told to stop.
func waits(ctx context.Context, s *Session) (Result, error) {
	s.Step(Streaming, time.Hour)
	if err := s.BeginUpload(ctx, Upload{Nonce: "n"}); err != nil {
		return Result{}, err
	}
	<-ctx.Done()
	return Result{}, ctx.Err()
}

func TestRunSucceeds(t *testing.T) {
	r := attempt(t, &exporter{run: func(_ context.Context, s *Session) (Result, error) {
		s.Step(Streaming, time.Hour)
		s.Planned(10)
		s.Wrote(5, 50, 5)
		<-time.After(2 * time.Minute) // far beyond the lease
		return Result{Rows: 10}, nil
	}}, nil)
	e := r.last(t)
	if e.State != Succeeded || e.Result.Rows != 10 || e.Retention != time.Hour {
		t.Errorf("%+v", e)
	}
	if p := r.job.Progress; p.Rows != 5 || *p.RowsTotal != 10 {
		t.Errorf("progress %+v", p)
	}
}

// A step beyond its own limit loses the lease, and changes nothing more.
func TestHungStepLosesTheLease(t *testing.T) {
	began := time.Time{}
	var lost time.Duration
	r := attempt(t, &exporter{run: func(ctx context.Context, s *Session) (Result, error) {
		began = time.Now()
		s.Step(Planning, time.Minute)
		<-ctx.Done()
		lost = time.Since(began)
		if s.Holds() {
			t.Error("believes that it holds the lease")
		}
		return Result{}, ctx.Err()
	}}, nil)
	if len(r.endings) != 0 {
		t.Errorf("ended as %+v", r.endings)
	}
	if lost < time.Minute || lost > time.Minute+Lease+2*beatEvery {
		t.Errorf("lost after %v", lost)
	}
}

// Without the database a worker stops as soon as it may have lost its lease.
func TestDatabaseGone(t *testing.T) {
	var stopped time.Duration
	attempt(t, &exporter{run: func(ctx context.Context, s *Session) (Result, error) {
		s.Step(Streaming, time.Hour)
		began := time.Now()
		<-ctx.Done()
		stopped = time.Since(began)
		return Result{}, ctx.Err()
	}}, func(r *row, _ *Runner) { r.set(func() { r.down = true }) })
	if stopped > Lease+2*beatEvery {
		t.Errorf("went on for %v", stopped)
	}
}

// A success is written as soon as the database is back, if the lease allows.
func TestEndingIsRepeated(t *testing.T) {
	r := attempt(t, &exporter{run: func(_ context.Context, s *Session) (Result, error) {
		<-time.After(5 * time.Second)
		return Result{}, nil
	}}, func(r *row, _ *Runner) {
		r.set(func() { r.down = true })
		<-time.After(10 * time.Second)
		r.set(func() { r.down = false })
	})
	if e := r.last(t); e.State != Succeeded {
		t.Errorf("%+v", e)
	}
}

func TestCancelStopsTheExport(t *testing.T) {
	x := &exporter{run: waits}
	r := attempt(t, x, func(r *row, _ *Runner) { r.set(func() { r.cancel = true }) })
	if e := r.last(t); e.State != Canceled {
		t.Errorf("%+v", e)
	}
	if len(x.discarded) != 1 {
		t.Error("the upload was not discarded")
	}
}

// An export that ends although it was canceled publishes nothing.
func TestCancelBeatsSuccess(t *testing.T) {
	x := &exporter{run: func(ctx context.Context, s *Session) (Result, error) {
		return Result{}, s.BeginUpload(ctx, Upload{Nonce: "n"})
	}}
	r := &row{job: Job{ID: "j", State: Queued, Dispatch: 1}, cancel: true}
	newRunner(r, x).Handle(Ticket{Job: "j", Dispatch: 1, Lane: Large})
	if e := r.last(t); e.State != Canceled || len(x.discarded) != 1 {
		t.Errorf("%+v, %d discarded", e, len(x.discarded))
	}
}

func TestDrainCostsNothing(t *testing.T) {
	x := &exporter{run: waits}
	r := attempt(t, x, func(_ *row, runner *Runner) {
		if err := runner.Drain(context.Background()); err != nil {
			t.Error(err)
		}
		runner.Handle(Ticket{Job: "j", Dispatch: 1, Lane: Large}) // not any more
	})
	if e := r.last(t); e.State != Queued || e.Failure != nil {
		t.Errorf("%+v", e)
	}
	if r.job.Attempt != 1 || len(x.discarded) != 0 {
		t.Errorf("attempt %d, %d discarded", r.job.Attempt, len(x.discarded))
	}
}

func TestFailures(t *testing.T) {
	cause := errors.New("cause")
	for name, c := range map[string]struct {
		err  error
		want State
	}{
		"transient":       {Transient("c", "m", cause), Queued},
		"permanent":       {Permanent("c", "m", true, cause), Failed},
		"not classified":  {cause, Queued},
		"in the adapters": {errors.Join(errors.New("stream"), Permanent("c", "m", false, cause)), Failed},
	} {
		t.Run(name, func(t *testing.T) {
			r := &row{job: Job{ID: "j", State: Queued, Dispatch: 1}}
			x := &exporter{run: func(context.Context, *Session) (Result, error) { return Result{}, c.err }}
			newRunner(r, x).Handle(Ticket{Job: "j", Dispatch: 1, Lane: Large})
			if e := r.last(t); e.State != c.want || e.Failure == nil {
				t.Errorf("%+v, want %s", e, c.want)
			}
		})
	}
}

// The last failure ends the job: what it has uploaded goes.
func TestLastFailureDiscards(t *testing.T) {
	x := &exporter{run: func(ctx context.Context, s *Session) (Result, error) {
		if err := s.BeginUpload(ctx, Upload{Nonce: "n"}); err != nil {
			t.Error(err)
		}
		return Result{}, Transient("c", "m", errors.New("cause"))
	}}
	r := &row{job: Job{ID: "j", State: Queued, Dispatch: 1, Failures: MaxFailures - 1}}
	newRunner(r, x).Handle(Ticket{Job: "j", Dispatch: 1, Lane: Large})
	if r.job.State != Failed || len(x.discarded) != 1 {
		t.Errorf("%s, %d discarded", r.job.State, len(x.discarded))
	}
}

func TestSettle(t *testing.T) {
	bad := &Failure{Code: "c"}
	for name, c := range map[string]struct {
		ending   Ending
		failures int
		canceled bool
		want     Settled
		err      error
	}{
		"first failure":       {Ending{State: Queued, Failure: bad}, 0, false, Settled{Queued, 1, 5 * time.Second}, nil},
		"with jitter":         {Ending{State: Queued, Failure: bad, Jitter: 0.5}, 1, false, Settled{Queued, 2, 33 * time.Second}, nil},
		"fourth":              {Ending{State: Queued, Failure: bad}, 3, false, Settled{Queued, 4, 10 * time.Minute}, nil},
		"last":                {Ending{State: Queued, Failure: bad}, 4, false, Settled{Failed, 5, 0}, nil},
		"failure of canceled": {Ending{State: Queued, Failure: bad}, 4, true, Settled{Canceled, 5, 0}, nil},
		"drain":               {Ending{State: Queued}, 4, false, Settled{Queued, 4, 0}, nil},
		"drain of canceled":   {Ending{State: Queued}, 0, true, Settled{Canceled, 0, 0}, nil},
		"permanent":           {Ending{State: Failed, Failure: bad}, 2, true, Settled{Failed, 2, 0}, nil},
		"success":             {Ending{State: Succeeded}, 2, false, Settled{Succeeded, 2, 0}, nil},
		"success of canceled": {Ending{State: Succeeded}, 2, true, Settled{Succeeded, 2, 0}, ErrCancelRequested},
	} {
		if got, err := c.ending.Settle(c.failures, c.canceled); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestPanicCostsTheAttempt(t *testing.T) {
	r := attempt(t, &exporter{run: func(context.Context, *Session) (Result, error) { panic("secret") }}, nil)
	if e := r.last(t); e.State != Queued || e.Failure.Code != CodeInternal {
		t.Errorf("%+v", e)
	}
}

// No more exports run than there are slots; a ticket too many changes nothing.
func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		first := &row{job: Job{ID: "a", State: Queued, Dispatch: 1}}
		runner := newRunner(first, &exporter{run: func(context.Context, *Session) (Result, error) {
			<-stop
			return Result{}, nil
		}})
		go runner.Handle(Ticket{Job: "a", Dispatch: 1, Lane: Large})
		synctest.Wait()
		runner.Handle(Ticket{Job: "a", Dispatch: 1, Lane: Large})
		runner.Handle(Ticket{Job: "a", Dispatch: 1, Lane: Small}) // no slots at all
		if first.job.Attempt != 1 {
			t.Errorf("%d claims for one slot", first.job.Attempt)
		}
		close(stop)
	})
}
