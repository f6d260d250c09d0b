package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// table stands in for internal/store: the same rules, a row at a time. Its
// clock is the bubble's; the workers' own may be wrong. Its methods are effects:
// the world's lock is held.
type table struct {
	w       *world
	rows    []*row // in the order of their creation
	byID    map[string]*row
	workers map[string]seen
	paused  map[string]bool // projects, or "" for all
	down    bool
}

type seen struct {
	slots map[jobs.Lane]int
	at    time.Time
}

// row is one job. Zero times are null.
type row struct {
	id, project                 string
	lane                        jobs.Lane
	size                        int64 // rows to export
	poison                      bool  // kills every worker that touches it
	state                       jobs.State
	attempt, failures, dispatch int
	dispatchedAt, nextAt        time.Time
	leaseUntil                  time.Time
	checkpointed                bool
	cancelAt                    time.Time
	ahead                       bool // an operator moved it
	upload                      *jobs.Upload
	cuts                        []jobs.Cut // of that upload
	ended                       time.Time
	budget                      int // failures, as the checks count them
}

func newTable(w *world) *table {
	return &table{w: w, byID: make(map[string]*row), workers: make(map[string]seen), paused: make(map[string]bool)}
}

func (t *table) create(r *row) {
	r.state = jobs.Queued
	t.rows, t.byID[r.id] = append(t.rows, r), r
	t.w.moved("%s created: %s, %s, %d rows", r.id, r.project, r.lane, r.size)
}

func (t *table) heartbeat(s jobs.WorkerStatus) {
	t.workers[s.ID] = seen{s.Slots, time.Now()}
}

// holds reports whether an operator keeps a job from starting.
func (t *table) holds(r *row) bool { return t.paused[""] || t.paused[r.project] }

// claim is Store.Claim.
func (t *table) claim(ticket jobs.Ticket, worker string, lease time.Duration) (jobs.Claim, bool) {
	r := t.byID[ticket.Job]
	if r.state != jobs.Queued || r.dispatch != ticket.Dispatch || r.nextAt.After(time.Now()) || t.holds(r) {
		return jobs.Claim{}, false
	}
	r.state, r.checkpointed, r.nextAt = jobs.Running, false, time.Time{}
	r.attempt++
	r.leaseUntil = time.Now().Add(lease)
	t.w.attempts++
	if !r.cancelAt.IsZero() {
		t.w.violated("6: %s is run again after its cancel", r.id)
	}
	t.w.moved("%s claimed: attempt %d by %s, %d cuts", r.id, r.attempt, worker, len(r.cuts))
	c := jobs.Claim{
		Job:   jobs.Job{ID: r.id, Spec: jobs.Spec{Project: r.project, Kind: jobs.Documents}, Lane: r.lane, State: r.state, Attempt: r.attempt, Failures: r.failures, Upload: r.upload},
		Fence: jobs.Fence{Job: r.id, Attempt: r.attempt},
	}
	if len(r.cuts) > 0 {
		c.Resume = &jobs.Resume{Upload: *r.upload}
		for _, cut := range r.cuts {
			cut.Parts = append(slices.Clone(c.Resume.Cut.Parts), cut.Parts...)
			c.Resume.Cut = cut
		}
	} else {
		c.Abandoned = r.upload
	}
	return c, true
}

// fenced finds the row that an attempt has.
func (t *table) fenced(f jobs.Fence) (*row, error) {
	r := t.byID[f.Job]
	if r.state != jobs.Running || r.attempt != f.Attempt {
		return nil, jobs.ErrFenced
	}
	return r, nil
}

func (t *table) renew(f jobs.Fence, b jobs.Beat) (cancel bool, err error) {
	r, err := t.fenced(f)
	if err != nil {
		return false, err
	}
	if b.Lease > 0 {
		r.leaseUntil = time.Now().Add(b.Lease)
	}
	return !r.cancelAt.IsZero(), nil
}

func (t *table) beginUpload(f jobs.Fence, u jobs.Upload) error {
	r, err := t.fenced(f)
	if err != nil {
		return err
	}
	if r.upload == nil || r.upload.Nonce != u.Nonce {
		r.cuts = nil
	}
	r.upload = &u
	return nil
}

func (t *table) commit(f jobs.Fence, c jobs.Cut) error {
	r, err := t.fenced(f)
	if err != nil {
		return err
	}
	r.failures, r.budget, r.checkpointed = 0, 0, true
	r.cuts = append(r.cuts, c)
	t.w.moved("%s checkpoint: attempt %d, %d rows, final %t", r.id, r.attempt, c.Rows, c.Final)
	return nil
}

// end is Store.End.
func (t *table) end(f jobs.Fence, e jobs.Ending) (jobs.State, error) {
	r, err := t.fenced(f)
	if err != nil {
		return "", err
	}
	settled, err := e.Settle(r.failures, !r.cancelAt.IsZero())
	if err != nil {
		return "", err
	}
	t.w.checkEnding(r, e, settled)
	r.state, r.failures = settled.State, settled.Failures
	if r.state == jobs.Queued {
		r.dispatchedAt, r.nextAt = time.Time{}, time.Now().Add(settled.Delay)
	}
	t.w.moved("%s ended: attempt %d, %s, %d failures", r.id, r.attempt, r.state, r.failures)
	t.final(r)
	return r.state, nil
}

// final notes the end of a job, if it is one.
func (t *table) final(r *row) {
	if r.state.Final() {
		r.ended = time.Now()
		t.w.outcomes[string(r.state)]++
		t.w.checkFinal(r)
	}
}

// requestCancel is Store.RequestCancel.
func (t *table) requestCancel(id string) {
	r := t.byID[id]
	if r.state.Final() {
		return
	}
	if r.cancelAt.IsZero() {
		r.cancelAt = time.Now()
	}
	t.w.moved("%s cancel requested while %s", r.id, r.state)
	if r.state == jobs.Queued {
		r.state = jobs.Canceled
		t.final(r)
	}
}

// dispatchAgain is when a doorbell counts as lost; workersLast how long a
// worker counts as alive.
const (
	dispatchAgain = 10 * time.Second
	workersLast   = 15 * time.Second
)

// pass is Store.Dispatch: leases that ran out, then who is next.
func (t *table) pass(rules jobs.DispatchRules) []jobs.Ticket {
	now := time.Now()
	for _, r := range t.rows {
		if r.state == jobs.Running && r.leaseUntil.Before(now) {
			t.takeBack(r, rules)
		}
	}
	var tickets []jobs.Ticket
	for _, lane := range []jobs.Lane{jobs.Large, jobs.Small} {
		for _, r := range t.next(lane, rules) {
			r.dispatch++
			r.dispatchedAt = now
			t.w.moved("%s dispatched: %d", r.id, r.dispatch)
			tickets = append(tickets, jobs.Ticket{Job: r.id, Dispatch: r.dispatch, Lane: lane})
		}
	}
	return tickets
}

func (t *table) takeBack(r *row, rules jobs.DispatchRules) {
	if !r.checkpointed {
		r.failures++
		r.budget++
	}
	r.dispatchedAt = time.Time{}
	switch {
	case !r.cancelAt.IsZero():
		r.state = jobs.Canceled
	case r.failures >= rules.MaxFailures:
		r.state = jobs.Failed
	default:
		r.state = jobs.Queued
	}
	t.w.moved("%s taken back: attempt %d, %s, %d failures", r.id, r.attempt, r.state, r.failures)
	t.final(r)
}

// next are the jobs of a lane that are to start now: each project's take turns,
// and the project that was served longest ago goes first.
func (t *table) next(lane jobs.Lane, rules jobs.DispatchRules) []*row {
	now := time.Now()
	free, turn, served := 0, make(map[string]int), make(map[string]time.Time)
	for _, s := range t.workers {
		if now.Sub(s.at) < workersLast {
			free += s.slots[lane]
		}
	}
	type candidate struct {
		*row
		turn int
	}
	var due []candidate
	for _, r := range t.rows {
		if r.lane != lane {
			continue
		}
		if r.dispatchedAt.After(served[r.project]) {
			served[r.project] = r.dispatchedAt
		}
		if r.state == jobs.Running || r.state == jobs.Queued && !r.dispatchedAt.IsZero() && now.Sub(r.dispatchedAt) < dispatchAgain {
			free--
			turn[r.project]++
		}
	}
	for _, r := range t.rows {
		rung := !r.dispatchedAt.IsZero() && now.Sub(r.dispatchedAt) < dispatchAgain
		if r.lane == lane && r.state == jobs.Queued && !rung && !r.nextAt.After(now) && !t.holds(r) {
			due = append(due, candidate{row: r})
		}
	}
	first := func(a, b candidate) int {
		switch {
		case a.ahead == b.ahead:
			return 0
		case a.ahead:
			return -1
		}
		return 1
	}
	slices.SortStableFunc(due, first)
	for i, c := range due {
		turn[c.project]++
		due[i].turn = turn[c.project]
	}
	slices.SortStableFunc(due, func(a, b candidate) int {
		return cmp.Or(first(a, b), a.turn-b.turn, served[a.project].Compare(served[b.project]))
	})
	var chosen []*row
	for _, c := range due {
		if c.turn <= rules.ProjectSlots && len(chosen) < free {
			chosen = append(chosen, c.row)
		}
	}
	return chosen
}
