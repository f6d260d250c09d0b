package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// world is one simulated installation. Everything in it is drawn from its seed.
type world struct {
	seed  uint64
	begin time.Time
	calm  time.Time // no fault is drawn from then on

	mu     sync.Mutex // held by effects: one at a time, as if each were a transaction
	table  *table
	bucket *bucket
	queue  *queue
	procs  []*process // all that ever lived
	wg     sync.WaitGroup

	faults     map[string]int
	outcomes   map[string]int
	attempts   int
	trace      []string
	violations []string
	discards   map[string]bool // jobs that Discard was called for
	toDiscard  []discard
	asked      bool // people have asked for all they will
	closing    bool
}

// The sizes of a world.
const (
	troubled = 90 * time.Second // how long faults are drawn
	endLimit = 90 * time.Minute // from then on, until every job must have ended
)

func newWorld(seed uint64) *world {
	w := &world{
		seed: seed, begin: time.Now(), calm: time.Now().Add(troubled),
		faults: make(map[string]int), outcomes: make(map[string]int), discards: make(map[string]bool),
	}
	w.table, w.bucket, w.queue = newTable(w), newBucket(w), &queue{w: w}
	return w
}

// stream is the random numbers of one goroutine: whatever the order in which
// goroutines run, each draws the same ones.
type stream struct{ *rand.Rand }

func (w *world) stream(name string) *stream {
	h := fnv.New64a()
	h.Write([]byte(name))
	return &stream{rand.New(rand.NewPCG(w.seed, h.Sum64()))}
}

// between draws a time. Single nanoseconds keep any two actors from waking in
// the same instant, so that their order does not depend on the scheduler.
func (s *stream) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.Int64N(int64(most-least)))
}

// jitter depends on the time alone: attempts of one process may end together.
func (w *world) jitter() float64 { return float64(time.Now().Nanosecond()%1000) / 1000 }

func (s *stream) chance(percent float64) bool { return s.Float64()*100 < percent }

func (w *world) isCalm() bool { return !time.Now().Before(w.calm) }

// moved notes an accepted move of a job's row. The caller holds the lock.
func (w *world) moved(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%14s  ", time.Since(w.begin))+fmt.Sprintf(format, args...))
}

// violated notes what must never happen. The caller holds the lock.
func (w *world) violated(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	w.violations = append(w.violations, what)
	w.moved("VIOLATION: %s", what)
}

// fault counts one. The caller holds the lock.
func (w *world) fault(kind string) { w.faults[kind]++ }
