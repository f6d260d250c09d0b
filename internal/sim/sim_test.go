package sim

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds = flag.Uint64("seeds", 300, "how many seeds TestSeeds runs")
	from  = flag.Uint64("from", 1, "the first of them")
	seed  = flag.Uint64("seed", 0, "the one seed that TestSeed shows")
)

// live lets one world live.
func live(t *testing.T, seed uint64) (w *world) {
	synctest.Test(t, func(*testing.T) {
		w = newWorld(seed)
		w.run()
	})
	return w
}

func (w *world) String() string { return strings.Join(w.trace, "\n") }

// TestSeeds lets many worlds live, on all cores; none may violate anything.
func TestSeeds(t *testing.T) {
	began := time.Now()
	var next, bad atomic.Uint64
	next.Store(*from)
	var mu sync.Mutex
	sum := newWorld(0)
	t.Run("worlds", func(t *testing.T) {
		for core := range 2 {
			t.Run(fmt.Sprint(core), func(t *testing.T) {
				t.Parallel()
				for s := next.Add(1) - 1; s < *from+*seeds && bad.Load() < 5; s = next.Add(1) - 1 {
					w := live(t, s)
					if len(w.violations) > 0 {
						bad.Add(1)
						t.Errorf("seed %d: %s\nmake sim SEED=%d shows all of it; its end:\n%s",
							s, strings.Join(w.violations, "; "), s, strings.Join(w.trace[max(0, len(w.trace)-25):], "\n"))
					}
					mu.Lock()
					sum.add(w)
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d seeds in %.1f s\n%s", *seeds, time.Since(began).Seconds(), sum.summary())
}

func (w *world) add(other *world) {
	for k, n := range other.faults {
		w.faults[k] += n
	}
	for k, n := range other.outcomes {
		w.outcomes[k] += n
	}
	w.attempts += other.attempts
	w.violations = append(w.violations, other.violations...)
}

func (w *world) summary() string {
	var b strings.Builder
	all := 0
	for _, k := range slices.Sorted(maps.Keys(w.faults)) {
		fmt.Fprintf(&b, "%9d %s\n", w.faults[k], k)
		all += w.faults[k]
	}
	fmt.Fprintf(&b, "%9d faults; jobs: %v, %d attempts; %d violations", all, w.outcomes, w.attempts, len(w.violations))
	return b.String()
}

// TestReplay: a seed is the whole story.
func TestReplay(t *testing.T) {
	for s := range uint64(200) {
		first, second := live(t, s+1), live(t, s+1)
		for i := range min(len(first.trace), len(second.trace)) {
			if first.trace[i] != second.trace[i] {
				t.Fatalf("seed %d differs at its move %d:\n%s\n%s", s+1, i, first.trace[i], second.trace[i])
			}
		}
		if len(first.trace) != len(second.trace) || len(first.trace) == 0 {
			t.Fatalf("seed %d: %d moves, then %d", s+1, len(first.trace), len(second.trace))
		}
	}
}

// TestSeed shows the one that is asked for.
func TestSeed(t *testing.T) {
	w := live(t, max(*seed, 1))
	if *seed != 0 {
		t.Logf("seed %d\n%s\n%s", *seed, w, w.summary())
	}
	if len(w.violations) > 0 {
		t.Error(w.violations)
	}
}
