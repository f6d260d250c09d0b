package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// boardPort, attemptsPort and queuePort are the ports of one process.
type boardPort struct{ p *process }

func (b boardPort) Heartbeat(ctx context.Context, s jobs.WorkerStatus) error {
	t := b.p.w.table
	name := "heartbeat"
	if len(s.Slots) == 0 {
		name = "retire"
	}
	_, err := call(ctx, b.p, name, &t.down, func() (struct{}, error) {
		t.heartbeat(s)
		return struct{}{}, nil
	})
	return err
}

func (b boardPort) Dispatch(ctx context.Context, r jobs.DispatchRules) ([]jobs.Ticket, []jobs.Move, error) {
	t := b.p.w.table
	tickets, err := call(ctx, b.p, "dispatch", &t.down, func() ([]jobs.Ticket, error) { return t.pass(r), nil })
	return tickets, nil, err // nobody reads the logs here
}

type queuePort struct{ p *process }

func (q queuePort) Enqueue(ctx context.Context, t jobs.Ticket) error {
	_, err := call(ctx, q.p, "dispatch", &q.p.w.queue.down, func() (struct{}, error) {
		q.p.w.queue.ring(t)
		return struct{}{}, nil
	})
	return err
}

type attemptsPort struct{ p *process }

func (a attemptsPort) Claim(ctx context.Context, ticket jobs.Ticket, worker string, lease time.Duration) (jobs.Claim, bool, error) {
	t := a.p.w.table
	type claimed struct {
		jobs.Claim
		ok bool
	}
	c, err := call(ctx, a.p, fmt.Sprint("claim ", ticket.Job, ticket.Dispatch), &t.down, func() (claimed, error) {
		c, ok := t.claim(ticket, worker, lease)
		if ok && t.byID[ticket.Job].poison {
			a.p.w.fault("poison")
			a.p.kill()
			a.p.w.respawn(a.p)
		}
		return claimed{c, ok}, nil
	})
	return c.Claim, c.ok && err == nil, err
}

// main and beat name the streams of an attempt's two goroutines.
func main(f jobs.Fence) string { return fmt.Sprint("main ", f.Job, f.Attempt) }
func beat(f jobs.Fence) string { return fmt.Sprint("beat ", f.Job, f.Attempt) }

func (a attemptsPort) Renew(ctx context.Context, f jobs.Fence, b jobs.Beat) (bool, error) {
	t := a.p.w.table
	a.p.checkRenewal(f, b)
	cancel, err := call(ctx, a.p, beat(f), &t.down, func() (bool, error) { return t.renew(f, b) })
	a.p.heard(f, err)
	return cancel, err
}

func (a attemptsPort) BeginUpload(ctx context.Context, f jobs.Fence, u jobs.Upload) error {
	t := a.p.w.table
	_, err := call(ctx, a.p, main(f), &t.down, func() (struct{}, error) { return struct{}{}, t.beginUpload(f, u) })
	a.p.heard(f, err)
	return err
}

func (a attemptsPort) Commit(ctx context.Context, f jobs.Fence, c jobs.Cut) error {
	t := a.p.w.table
	_, err := call(ctx, a.p, main(f), &t.down, func() (struct{}, error) { return struct{}{}, t.commit(f, c) })
	a.p.heard(f, err)
	return err
}

func (a attemptsPort) End(ctx context.Context, f jobs.Fence, e jobs.Ending) (jobs.State, error) {
	t := a.p.w.table
	state, err := call(ctx, a.p, main(f), &t.down, func() (jobs.State, error) { return t.end(f, e) })
	a.p.ended(f, state, err)
	a.p.heard(f, err)
	return state, err
}

// heard notes that the process was told that it has lost its job.
func (p *process) heard(f jobs.Fence, err error) {
	if errors.Is(err, jobs.ErrFenced) {
		p.w.mu.Lock()
		defer p.w.mu.Unlock()
		p.attempt(f).fenced = true
	}
}

// attempt is what is known of an attempt. The caller holds the lock.
func (p *process) attempt(f jobs.Fence) *attempt {
	a := p.attempts[f]
	if a == nil {
		a = &attempt{}
		p.attempts[f] = a
	}
	return a
}

// queue stands in for Redis. It does worse than any real one: it loses, doubles
// and delays tickets, and forgets them all.
type queue struct {
	w      *world
	rung   int
	forgot int // tickets rung before this one
	down   bool
}

// ring sends a ticket to some worker. It is an effect.
func (q *queue) ring(t jobs.Ticket) {
	q.rung++
	number := q.rung
	s := q.w.stream(fmt.Sprint("ticket ", t.Job, t.Dispatch))
	q.deliver(t, s, number, s.between(20*time.Millisecond, 200*time.Millisecond))
	if q.w.isCalm() {
		return
	}
	switch {
	case s.chance(5):
		q.w.fault("ticket doubled")
		q.deliver(t, s, number, s.between(20*time.Millisecond, 3*time.Minute))
	case s.chance(5):
		q.w.fault("ticket lost")
		q.forgot = max(q.forgot, number) // and all before it
	}
}

func (q *queue) deliver(t jobs.Ticket, s *stream, number int, after time.Duration) {
	q.w.wg.Add(1)
	pick := s.IntN(1 << 20)
	time.AfterFunc(after, func() {
		defer q.w.wg.Done()
		q.w.mu.Lock()
		var ready []*process
		for _, p := range q.w.procs {
			if p.handle != nil && time.Now().After(p.frozen) {
				ready = append(ready, p)
			}
		}
		if number <= q.forgot || len(ready) == 0 {
			q.w.mu.Unlock()
			return
		}
		handle := ready[pick%len(ready)].handle
		q.w.mu.Unlock()
		handle(t)
	})
}
