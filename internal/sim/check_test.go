package sim

import (
	"strings"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// What must hold, looked at where it happens. The numbers are those of
// docs/invariants.md.

// enter and leave count the exports that run in a process: never more than it
// has slots.
func (p *process) enter(l jobs.Lane) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.exporting[l]++; p.exporting[l] > p.slots[l] {
		p.w.violated("1: %s runs %d %s exports and has %d slots", p.id, p.exporting[l], l, p.slots[l])
	}
}

func (p *process) leave(l jobs.Lane) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.exporting[l]--
}

func (p *process) fault(kind string) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.fault(kind)
}

// allow notes how long the lease may be renewed for the step that begins.
func (p *process) allow(f jobs.Fence, limit time.Duration) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.attempt(f).allowed = time.Now().Add(limit)
}

// checkRenewal: a step beyond its limit must lose the lease.
func (p *process) checkRenewal(f jobs.Fence, b jobs.Beat) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	a := p.attempt(f)
	if b.Lease > 0 && !a.allowed.IsZero() && time.Now().After(a.allowed) && !p.frozenNow() {
		p.w.violated("1: %s renews attempt %d of %s in a step that hangs", p.id, f.Attempt, f.Job)
	}
}

func (p *process) frozenNow() bool { return time.Now().Before(p.frozen) }

// checkWrite: nobody who was given up, and could know it, begins to write to the
// store, which has no fence.
func (p *process) checkWrite(f jobs.Fence) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.dead || p.frozenNow() {
		return // it is held until it wakes up, and learns that it lost the job
	}
	if p.attempt(f).fenced {
		p.w.violated("2: %s writes for attempt %d of %s, and was told that it is over", p.id, f.Attempt, f.Job)
	}
	if r := p.w.table.byID[f.Job]; r.attempt > f.Attempt {
		p.w.violated("2: %s writes for attempt %d of %s; attempt %d has it", p.id, f.Attempt, f.Job, r.attempt)
	}
}

// backoff is what docs/state-machine.md promises after the n-th failure.
var backoff = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}

// checkEnding: what an attempt makes of the job's budget of failures.
func (w *world) checkEnding(r *row, e jobs.Ending, s jobs.Settled) {
	if e.State == jobs.Queued && e.Failure != nil {
		r.budget++
	}
	if s.Failures != r.budget {
		w.violated("1: %s has %d failures in a row, and %d are noted", r.id, r.budget, s.Failures)
	}
	switch s.State {
	case jobs.Queued:
		least := time.Duration(0)
		if e.Failure != nil {
			least = backoff[min(r.budget, len(backoff))-1]
		}
		if s.Delay < least || s.Delay > least*6/5 {
			w.violated("1: %s waits %s after %d failures", r.id, s.Delay, r.budget)
		}
	case jobs.Failed:
		if e.Failure.Code != jobs.CodeRefused && r.budget < jobs.MaxFailures {
			w.violated("1: %s is given up after %d failures: %s", r.id, r.budget, e.Failure.Code)
		}
	}
}

// checkFinal: no success without a whole object, none after a cancel.
func (w *world) checkFinal(r *row) {
	if r.state != jobs.Succeeded {
		return
	}
	if r.upload == nil || !w.bucket.whole(r.upload.Key, r.size) {
		w.violated("4: %s succeeded and its object is not whole", r.id)
	}
	if !r.cancelAt.IsZero() {
		w.violated("6: %s succeeded after a cancel was accepted", r.id)
	}
}

// checkDiscard: what a row names may be resumed and published by whoever has the
// job, so it is removed after the job's end alone, or once another is named.
func (w *world) checkDiscard(u jobs.Upload) {
	job, _, _ := strings.Cut(u.Nonce, "-")
	r := w.table.byID[job]
	if named := r.upload != nil && r.upload.Nonce == u.Nonce; named && r.state != jobs.Failed && r.state != jobs.Canceled {
		w.violated("4: %s is discarded, and %s names it and is %s", u.Key, r.id, r.state)
	}
}

// ended: what a canceled or failed job has uploaded is removed by the worker
// that ended it, if it is told of the end, and lives. (Where the answer to
// BeginUpload was lost the row may name an older upload than the worker thinks:
// that one is the sweeper's.)
func (p *process) ended(f jobs.Fence, state jobs.State, err error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	r := p.w.table.byID[f.Job]
	if err == nil && (state == jobs.Canceled || state == jobs.Failed) && r.upload != nil {
		p.w.toDiscard = append(p.w.toDiscard, discard{p, f.Job})
	}
}

type discard struct {
	p   *process
	job string
}

// cancelLimit is how long a cancel of a running job may take in calm times: a
// beat, and what the exporter is at.
const cancelLimit = 3 * time.Second

// checkCancel looks at a job some time after its cancel was accepted.
func (w *world) checkCancel(r *row) {
	if !r.state.Final() && w.table.held(r) {
		w.violated("6: %s still runs %s after its cancel", r.id, time.Since(r.cancelAt))
	}
}

// held reports whether a job is in the hands of a live worker.
func (t *table) held(r *row) bool {
	for _, p := range t.w.procs {
		if a := p.attempts[jobs.Fence{Job: r.id, Attempt: r.attempt}]; a != nil && !p.dead {
			return r.state == jobs.Running
		}
	}
	return false
}

// checkEnd is for when everything has come to rest.
func (w *world) checkEnd() {
	for _, r := range w.table.rows {
		if !r.state.Final() {
			w.violated("1: %s never ends: %s, attempt %d, dispatch %d", r.id, r.state, r.attempt, r.dispatch)
		}
		if r.state == jobs.Succeeded && (r.upload == nil || !w.bucket.whole(r.upload.Key, r.size)) {
			w.violated("4: the object of %s was lost afterwards", r.id)
		}
		if r.poison && r.state != jobs.Failed && r.state != jobs.Canceled {
			w.violated("1: %s kills every worker and ends as %s", r.id, r.state)
		}
	}
	for _, d := range w.toDiscard {
		if !d.p.dead && !w.discards[d.job] {
			w.violated("6: what %s had uploaded is left behind by %s", d.job, d.p.id)
		}
	}
}
