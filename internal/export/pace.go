package export

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// pace watches how long the source takes for its windows, over all readers of
// an export. A window that takes slowFactor times the median of those before it
// says that somebody else needs the server: the reader then rests for as long.
type pace struct {
	mu     sync.Mutex
	recent []time.Duration // for each unit of stored bytes
	next   int
}

const (
	paceWindows = 31 // that the median is taken of
	paceLeast   = 8  // before that nobody is blamed
	slowFactor  = 4
	slowLeast   = 250 * time.Millisecond // less is noise
	longestRest = 30 * time.Second
	paceUnit    = 256 << 10
)

// took notes a window of so many stored bytes, and returns how long to rest.
func (p *pace) took(stored int64, waited time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	cost := waited / time.Duration(max(1, stored/paceUnit))
	slow := false
	if len(p.recent) >= paceLeast && waited >= slowLeast {
		sorted := slices.Clone(p.recent)
		slices.Sort(sorted)
		slow = cost > slowFactor*sorted[len(sorted)/2]
	}
	if len(p.recent) < paceWindows {
		p.recent = append(p.recent, cost)
	} else {
		p.recent[p.next] = cost
		p.next = (p.next + 1) % paceWindows
	}
	if !slow {
		return 0
	}
	return min(waited, longestRest)
}

// newThrottle bounds what all exports of a worker read, in 10^6 bytes of lines
// a second; 0 is no bound.
func newThrottle(mbps int) *rate.Limiter {
	if mbps == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(rate.Limit(mbps*1e6), mbps*1e6)
}

// rest waits between two windows, outside any transaction, as long as the
// source's pace and the throttle ask for.
func (r *reader) rest(ctx context.Context, w jobs.Window, got jobs.Reading, bytes int64) error {
	if d := r.pace.took(w.Stored, got.Waited); d > 0 {
		r.e.opts.Log.Info("source is slow: the reader rests", "waited", got.Waited, "rest", d)
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	t := r.e.throttle
	for t.Limit() != rate.Inf && bytes > 0 {
		n := min(bytes, int64(t.Burst()))
		if err := t.WaitN(ctx, int(n)); err != nil {
			return err
		}
		bytes -= n
		r.session.Extend(streamLimit)
	}
	return nil
}
