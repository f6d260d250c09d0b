package export_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// flaky is a source whose connection breaks before some rows, a few times each.
type flaky struct {
	rows
	breaks map[int64]*atomic.Int64 // how often before that id
	gone   *atomic.Int64           // a row that is deleted when the first connection breaks
	late   int64                   // a row that is not there until then
}

func (f flaky) Read(ctx context.Context, spec jobs.Spec, w jobs.Window, to jobs.Rows) (got jobs.Reading, err error) {
	to.Begin()
	for id := w.After + 1; id <= w.To && id <= int64(len(f.sizes)); id++ {
		if n := f.breaks[id]; n != nil && n.Add(-1) >= 0 {
			if f.gone != nil {
				f.gone.CompareAndSwap(0, id-1)
			}
			return got, jobs.Transient(jobs.CodeSource, "The platform's database did not answer.", errSource)
		}
		if f.gone != nil && (f.gone.Load() == id || f.gone.Load() == 0 && f.late == id) {
			continue
		}
		got.Counted++
		if err := to.Row(ctx, f.row(id)); err != nil {
			return got, err
		}
	}
	return got, ctx.Err()
}

func breaks(ids map[int64]int64) map[int64]*atomic.Int64 {
	m := map[int64]*atomic.Int64{}
	for id, n := range ids {
		m[id] = &atomic.Int64{}
		m[id].Store(n)
	}
	return m
}

// A lost connection costs a window, not the attempt; each row comes out once.
func TestWindowIsReadAgain(t *testing.T) {
	for name, ids := range map[string]map[int64]int64{
		"at its start": {1: 1, 8: 2}, "in the middle": {5: 1, 12: 3, 13: 2}, "as often as allowed": {30: 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rows{sizes: repeat(40, 1000)}
				s := &store{}
				want(t, r, s, runWith(t, exporter(flaky{rows: r, breaks: breaks(ids)}, s), s))
			})
		})
	}
}

func TestWindowIsNotReadForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		e := runWith(t, exporter(flaky{rows: rows{sizes: repeat(40, 1000)}, breaks: breaks(map[int64]int64{30: 1 << 30})}, s), s)
		if e.State != jobs.Queued || e.Failure.Code != jobs.CodeSource || s.object != nil {
			t.Errorf("%+v", e)
		}
	})
}

// A row that was written and then deleted, before the window was read again,
// belongs to neither snapshot; the number of rows may be the same as before.
func TestWindowThatChangedBetween(t *testing.T) {
	for name, c := range map[string]struct{ late, breakAt int64 }{
		"a row went": {0, 12}, "a row went, another came before it": {9, 12}, "a row went, another came behind it": {13, 12},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &store{}
				f := flaky{rows: rows{sizes: repeat(40, 1000)}, breaks: breaks(map[int64]int64{c.breakAt: 1}), gone: &atomic.Int64{}, late: c.late}
				e := runWith(t, exporter(f, s), s)
				if e.State != jobs.Queued || e.Failure.Code != jobs.CodeInconsistent || s.object != nil {
					t.Errorf("%+v", e)
				}
			})
		})
	}
}

// giants is a source whose every third row announces itself as large.
type giants struct {
	rows
	inFlight, seen *atomic.Int64
	overlap        *atomic.Bool
}

func (g giants) Read(ctx context.Context, _ jobs.Spec, w jobs.Window, to jobs.Rows) (got jobs.Reading, err error) {
	to.Begin()
	for id := w.After + 1; id <= w.To && id <= int64(len(g.sizes)); id++ {
		got.Counted++
		if err := g.hand(ctx, id, to); err != nil {
			return got, err
		}
	}
	return got, ctx.Err()
}

func (g giants) hand(ctx context.Context, id int64, to jobs.Rows) error {
	if id%3 > 0 {
		return to.Row(ctx, g.row(id))
	}
	if err := to.Large(ctx); err != nil {
		return err
	}
	g.seen.Add(1)
	if g.inFlight.Add(1) > 1 {
		g.overlap.Store(true)
	}
	row := g.row(id)
	g.inFlight.Add(-1)
	return to.Row(ctx, row)
}

// Large rows pass one at a time over all exports of a worker, whichever reader
// meets one first, and whatever its buffers hold.
func TestLargeRowsPassOneAtATime(t *testing.T) {
	r := rows{sizes: repeat(45, 900<<10)} // a window has more than a reader's buffers take
	g := giants{r, &atomic.Int64{}, &atomic.Int64{}, &atomic.Bool{}}
	x := exporter(g, &store{})
	ends := make(chan jobs.Ending)
	const exports = 3
	for range exports {
		go func() {
			s := &store{}
			e := runWith(t, x.For(s), s)
			if e.State == jobs.Succeeded && s.object == nil {
				t.Error("no object")
			}
			ends <- e
		}()
	}
	for range exports {
		if e := <-ends; e.State != jobs.Succeeded || e.Result.Rows != int64(len(r.sizes)) {
			t.Errorf("%+v", e)
		}
	}
	if g.overlap.Load() || g.seen.Load() != exports*int64(len(r.sizes)/3) {
		t.Errorf("%d large rows, at once: %v", g.seen.Load(), g.overlap.Load())
	}
}

// waits is a source that tells how long its windows took.
type waits struct {
	rows
	each []time.Duration // by window; further ones take the last
	at   *[]time.Time    // when each was read
}

func (w waits) Read(ctx context.Context, spec jobs.Spec, win jobs.Window, to jobs.Rows) (jobs.Reading, error) {
	*w.at = append(*w.at, time.Now())
	got, err := w.rows.Read(ctx, spec, win, to)
	got.Waited = w.each[min(len(*w.at), len(w.each))-1]
	return got, err
}

// A source that becomes slow gets as much rest as it took, no more than half a
// minute, and none when it has always been like that.
func TestReaderRests(t *testing.T) {
	slow := make([]time.Duration, 30)
	for i := range slow {
		slow[i] = 100 * time.Millisecond
	}
	slow[12], slow[20], slow[25] = 2*time.Second, 10*time.Minute, 300*time.Millisecond
	for name, c := range map[string]struct {
		each []time.Duration
		want map[int]time.Duration
	}{
		"slow at times": {slow, map[int]time.Duration{12: 2 * time.Second, 20: 30 * time.Second}},
		"slow always":   {[]time.Duration{time.Minute}, nil},
		"noise":         {append(slices.Repeat([]time.Duration{time.Millisecond}, 12), 249*time.Millisecond, time.Millisecond), nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				s := &store{}
				r := rows{sizes: repeat(7*30, 10)}
				x := export.New(waits{r, c.each, &at}, s, export.Options{Prefix: "x/", Readers: 1, GzipLevel: 1, NewNonce: func() string { return "n" }, Log: quiet})
				want(t, r, s, runWith(t, x, s))
				for i := range at[1:] {
					if d := at[i+1].Sub(at[i]); d != c.want[i] {
						t.Errorf("%v behind window %d, want %v", d, i, c.want[i])
					}
				}
			})
		})
	}
}

// SOURCE_READ_MBPS counts bytes of lines, over all readers.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		r := rows{sizes: repeat(300, 100_000)}
		x := export.New(r, s, export.Options{Prefix: "x/", Readers: 2, ReadMBps: 3, GzipLevel: 1, NewNonce: func() string { return "n" }, Log: quiet})
		began := time.Now()
		want(t, r, s, runWith(t, x, s))
		// 30 MB, of which the first second's worth is free.
		if d := time.Since(began); d < 8*time.Second || d > 10*time.Second {
			t.Errorf("30 MB at 3 MB/s took %v", d)
		}
	})
}

func TestPartSize(t *testing.T) {
	for _, c := range []struct{ stored, rows, want int64 }{
		{0, 0, 16 << 20}, {90 << 30, 1000, 16 << 20}, {600 << 30, 1000, 600 << 30 / 6000}, {0, 1 << 30, 256 << 30 / 6000},
	} {
		got := int64(export.PartSize(jobs.Plan{Stored: c.stored, Rows: c.rows}))
		if got < c.want || got > c.want+100 {
			t.Errorf("%d stored bytes in %d rows: parts of %d bytes, want %d", c.stored, c.rows, got, c.want)
		}
	}
}

// A larger plan means larger parts, not more; a plan that was far too low ends
// the export before the store does.
func TestLimitOfParts(t *testing.T) {
	r := rows{sizes: repeat(100, 100<<10)}
	s := &store{}
	x := exporter(planned{r, 10 << 20}, s)
	x.LimitParts(64<<10, 4, 10)
	want(t, r, s, runWith(t, x, s))
	if n := len(s.uploaded); n < 3 || n > 5 {
		t.Errorf("%d parts", n)
	}
	s = &store{}
	x = exporter(planned{r, 1}, s)
	x.LimitParts(64<<10, 4, 10)
	e := runWith(t, x, s)
	if e.State != jobs.Failed || e.Failure.Code != jobs.CodeTooLarge || e.Failure.Retryable || !strings.Contains(e.Failure.Message, "dates") {
		t.Errorf("%+v %+v", e, e.Failure)
	}
}

// planned is a source whose plan sees so many stored bytes.
type planned struct {
	rows
	stored int64
}

func (p planned) Plan(ctx context.Context, spec jobs.Spec, in jobs.Range) (jobs.Plan, error) {
	plan, err := p.rows.Plan(ctx, spec, in)
	plan.Stored = p.stored
	return plan, err
}

// scarce is a source with one connection for all readers.
type scarce struct {
	rows
	conn chan struct{}
}

func (s scarce) Read(ctx context.Context, spec jobs.Spec, w jobs.Window, to jobs.Rows) (jobs.Reading, error) {
	s.conn <- struct{}{}
	defer func() { <-s.conn }()
	return s.rows.Read(ctx, spec, w, to)
}

// A reader that is ahead and full must not hold what the other one waits for.
func TestReadersShareAConnection(t *testing.T) {
	r := rows{sizes: repeat(45, 900<<10)} // a window has more than a reader's buffers take
	x := exporter(scarce{r, make(chan struct{}, 1)}, &store{})
	ends := make(chan jobs.Ending)
	const exports = 6
	for range exports {
		go func() {
			s := &store{}
			ends <- runWith(t, x.For(s), s)
		}()
	}
	for range exports {
		if e := <-ends; e.State != jobs.Succeeded || e.Result.Rows != int64(len(r.sizes)) {
			t.Errorf("%+v", e)
		}
	}
}
