package jobs

import (
	"context"
	"time"
)

// enqueueLimit is how long the doorbell may take; a lost ring is repaired by a
// later pass.
const enqueueLimit = 2 * time.Second

// Dispatcher runs dispatch passes: the database decides who is next, the queue
// is told after the commit. Any number of dispatchers may run at once.
type Dispatcher struct {
	board Board
	queue Queue
	rules DispatchRules
	env   Env
	kick  chan struct{}
}

// NewDispatcher makes a Dispatcher; Run makes it work.
func NewDispatcher(b Board, q Queue, r DispatchRules, env Env) *Dispatcher {
	r.MaxFailures = MaxFailures
	return &Dispatcher{board: b, queue: q, rules: r, env: env, kick: make(chan struct{}, 1)}
}

// Kick asks for a pass soon. It never waits.
func (d *Dispatcher) Kick() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// Run makes a pass at every kick, and also every interval if that is not 0.
func (d *Dispatcher) Run(ctx context.Context, interval time.Duration) {
	var tick <-chan time.Time
	if interval > 0 {
		t := time.NewTicker(interval)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
		case <-tick:
		}
		if err := d.Pass(ctx); err != nil && ctx.Err() == nil {
			d.env.Log.Warn("dispatch pass failed", "error", err)
		}
	}
}

// Pass decides once and rings for each job that is to start. It returns the
// first doorbell that failed; the jobs are due again some seconds later.
func (d *Dispatcher) Pass(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, callLimit)
	tickets, lost, err := d.board.Dispatch(call, d.rules)
	cancel()
	if err != nil {
		return err
	}
	for _, m := range lost {
		d.env.Moved(m)
	}
	var first error
	for _, t := range tickets {
		call, cancel := context.WithTimeout(ctx, enqueueLimit)
		err := d.queue.Enqueue(call, t)
		cancel()
		if err == nil {
			d.env.Log.Info("job dispatched", "job", t.Job, "dispatch", t.Dispatch, "lane", t.Lane)
		} else if first == nil {
			first = err
		}
	}
	return first
}
