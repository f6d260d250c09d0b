package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// The times of an attempt. The lease is judged by the database's clock; the
// beat also carries the progress that people watch.
const (
	Lease      = 15 * time.Second
	beatEvery  = time.Second
	callLimit  = 5 * time.Second
	tidyLimit  = 30 * time.Second
	drainLimit = 10 * time.Second // of the grace, for a last checkpoint
	planLimit  = 10 * time.Minute
)

// Runner runs exports on one worker: claim, keep the lease, export, end. Its
// concurrency is bounded by its own slots, taken before the claim, because
// asynq gives a slot free while the handler still runs.
type Runner struct {
	attempts Attempts
	exporter Exporter
	env      Env
	opts     RunnerOptions
	slots    map[Lane]chan struct{}

	base     context.Context // of every export; not a task's
	stop     context.CancelCauseFunc
	mu       sync.Mutex // guards ended, so that no export begins after the drain
	ended    bool
	draining chan struct{}
	wg       sync.WaitGroup
}

// Env is what differs between a real process and a simulated one.
type Env struct {
	Now    func() time.Time
	NewID  func() string  // of jobs: unique, ordered by time; a worker makes none
	Jitter func() float64 // in [0, 1)
	Log    *slog.Logger
	// Observer may be nil.
	Observer Observer
}

// RunnerOptions are a worker's settings.
type RunnerOptions struct {
	Worker    string
	Slots     map[Lane]int
	Retention time.Duration
	Lease     time.Duration // 0 is Lease
	// Freed is called when a slot gets free.
	Freed func()
}

// NewRunner makes a Runner that is ready for tickets.
func NewRunner(a Attempts, x Exporter, env Env, o RunnerOptions) *Runner {
	o.Lease = cmp.Or(o.Lease, Lease)
	r := &Runner{attempts: a, exporter: x, env: env, opts: o, slots: make(map[Lane]chan struct{}), draining: make(chan struct{})}
	for lane, n := range o.Slots {
		r.slots[lane] = make(chan struct{}, n)
	}
	r.base, r.stop = context.WithCancelCause(context.Background())
	return r
}

// Handle runs the job of a ticket to the end of one attempt. It returns at once
// when no slot is free or when the row has moved on: the dispatcher will ring
// again. It never asks the queue to repeat; that is the row's business.
func (r *Runner) Handle(t Ticket) {
	free, ok := r.acquire(t.Lane)
	if !ok {
		return
	}
	defer free()
	ctx, cancel := context.WithTimeout(r.base, callLimit)
	sent := r.env.Now()
	claim, ok, err := r.attempts.Claim(ctx, t, r.opts.Worker, r.opts.Lease)
	cancel()
	if err != nil {
		r.env.Log.Warn("claim failed", "job", t.Job, "error", err)
		return
	}
	if !ok {
		return
	}
	r.run(claim, sent)
}

func (r *Runner) acquire(l Lane) (free func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot := r.slots[l]
	if r.ended || slot == nil {
		return nil, false
	}
	select {
	case slot <- struct{}{}:
	default:
		return nil, false
	}
	r.wg.Add(1)
	return func() {
		<-slot
		r.wg.Done()
		r.opts.Freed()
	}, true
}

// Drain lets every export make a last checkpoint, hands the jobs back and waits
// until that is done, or until ctx is. It is called once.
func (r *Runner) Drain(ctx context.Context) error {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	close(r.draining)
	done := make(chan struct{})
	go func() { r.wg.Wait(); close(done) }()
	limit := drainLimit
	if end, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(end)/2)
	}
	select {
	case <-done:
		return nil
	case <-time.After(limit):
		r.stop(ErrDrained)
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("exports did not hand back in time: %w", ctx.Err())
	}
}

// run carries a claimed job through one attempt.
func (r *Runner) run(c Claim, claimed time.Time) {
	log := r.env.Log.With("job", c.Fence.Job, "attempt", c.Fence.Attempt)
	s := r.session(c, claimed)
	m := c.Job.move(Queued, Running)
	m.Attempt, m.Begun = c.Fence.Attempt, claimed
	r.env.Moved(m, "kind", c.Job.Kind)
	if c.Fence.Attempt == 1 {
		r.env.seen().Took(c.Job.Kind, c.Job.Lane, Waited, claimed.Sub(c.Job.CreatedAt))
	}
	if c.Resume != nil {
		log.Info("export is resumed", "rows", c.Resume.Cut.Rows, "parts", len(c.Resume.Cut.Parts), "complete", c.Resume.Cut.Final)
	}
	ctx, cancel := context.WithCancelCause(r.base)
	var beats sync.WaitGroup
	stopBeats, beatsDone := context.WithCancel(context.WithoutCancel(ctx))
	beats.Go(func() { r.keep(stopBeats, cancel, s, log) })

	result, err := r.export(ctx, c, s)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
	}
	s.over()
	r.end(s, result, err, log)
	cancel(nil)
	beatsDone()
	beats.Wait()
}

// session is a claim's, with what metrics and traces are to know of it.
func (r *Runner) session(c Claim, claimed time.Time) *Session {
	s := &Session{
		attempts: r.attempts, fence: c.Fence, lease: r.opts.Lease, now: r.env.Now, draining: r.draining, phase: Planning,
		until: claimed.Add(planLimit), held: claimed.Add(r.opts.Lease), upload: c.Job.Upload,
		seen: r.env.seen(), job: c.Job, begun: claimed, stepped: claimed,
	}
	if c.Resume != nil {
		s.told = Progress{Rows: c.Resume.Cut.Rows, BytesRaw: c.Resume.Cut.BytesRaw, BytesStored: c.Resume.Cut.BytesStored}
	}
	return s
}

// export calls the Exporter; a panic costs the attempt, not the worker.
func (r *Runner) export(ctx context.Context, c Claim, s *Session) (res Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The value may hold data of a row; the stack holds none.
			r.env.Log.Error("export panicked", "job", c.Fence.Job, "stack", string(debug.Stack()))
			err = errors.New("panic in the export")
		}
	}()
	return r.exporter.Export(ctx, c, s)
}

// keep renews the lease until ctx is done, and stops the export when the job
// is no longer ours or must not go on.
func (r *Runner) keep(ctx context.Context, stop context.CancelCauseFunc, s *Session, log *slog.Logger) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		call, cancel := context.WithTimeout(ctx, callLimit)
		canceled, err := s.beat(call)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrFenced):
			stop(errLost)
			return
		case err != nil:
			log.Warn("lease not renewed", "error", err)
		case canceled:
			stop(errCanceled)
		}
		if !s.Holds() {
			stop(errLost)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// end writes the attempt's ending and removes what must not stay.
func (r *Runner) end(s *Session, result Result, err error, log *slog.Logger) {
	if errors.Is(err, errLost) || errors.Is(err, ErrFenced) {
		log.Warn("attempt lost its job")
		return
	}
	e := r.ending(s, result, err)
	ctx, cancel := context.WithTimeout(context.Background(), tidyLimit)
	defer cancel()
	state, endErr := r.write(ctx, s, e)
	if errors.Is(endErr, ErrCancelRequested) {
		e = r.ending(s, Result{}, errCanceled)
		state, endErr = r.write(ctx, s, e)
	}
	if endErr != nil {
		log.Warn("attempt could not be closed", "error", endErr)
		return
	}
	r.tell(s, e, state, err)
	if _, upload := s.snapshot(); upload != nil && (state == Failed || state == Canceled) {
		if err := r.exporter.Discard(ctx, *upload); err != nil {
			log.Warn("upload not removed", "error", err)
			return
		}
		log.Info("upload removed", "bytes_freed", e.Progress.BytesStored)
	}
}

// tell says what became of an attempt.
func (r *Runner) tell(s *Session, e Ending, state State, err error) {
	m := s.job.move(Running, state)
	m.Attempt, m.Begun, m.Steps, m.Rows, m.Outcome = s.fence.Attempt, s.begun, s.steps, e.Progress.Rows, e.Outcome(state)
	if e.Failure != nil && state != Canceled {
		m.Code = e.Failure.Code
	}
	var why []any
	if err != nil {
		why = []any{"error", err}
	}
	r.env.Moved(m, why...)
	now := r.env.Now()
	r.env.seen().Took(m.Kind, m.Lane, Ran, now.Sub(s.begun))
	if state == Succeeded {
		r.env.seen().Took(m.Kind, m.Lane, Linked, now.Sub(m.Made))
	}
}

// write closes the attempt, again and again while the lease is surely ours:
// an export of hours must not be lost to a database that restarts.
func (r *Runner) write(ctx context.Context, s *Session, e Ending) (State, error) {
	for {
		call, cancel := context.WithTimeout(ctx, callLimit)
		state, err := r.attempts.End(call, s.fence, e)
		cancel()
		if err == nil || errors.Is(err, ErrFenced) || errors.Is(err, ErrCancelRequested) || !s.Holds() {
			return state, err
		}
		select {
		case <-time.After(beatEvery):
		case <-ctx.Done():
			return state, err
		}
	}
}

// ending is what an attempt's outcome says about the job.
func (r *Runner) ending(s *Session, result Result, err error) Ending {
	progress, _ := s.snapshot()
	e := Ending{Progress: progress, Retention: r.opts.Retention}
	switch {
	case err == nil:
		e.State, e.Result = Succeeded, &result
	case errors.Is(err, errCanceled):
		e.State = Canceled
	case errors.Is(err, ErrDrained):
		e.State = Queued
	default:
		f, transient := failureOf(err)
		e.State, e.Failure, e.Jitter = Failed, &f, r.env.Jitter()
		if transient {
			e.State = Queued
		}
	}
	return e
}
