package export_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// damaged is a source some of whose rows cannot be read, and that remembers
// what it was asked for.
type damaged struct {
	rows
	bad map[int64]bool
	w   *world
}

func (d damaged) Plan(ctx context.Context, spec jobs.Spec, in jobs.Range) (jobs.Plan, error) {
	d.w.plans = append(d.w.plans, in)
	return d.rows.Plan(ctx, spec, in)
}

func (d damaged) Read(ctx context.Context, _ jobs.Spec, w jobs.Window, to jobs.Rows) (got jobs.Reading, err error) {
	to.Begin()
	for id := w.After + 1; id <= w.To && id <= int64(len(d.sizes)); id++ {
		got.Counted++
		if d.bad[id] {
			err = to.Skip(ctx, jobs.Skipped{ID: id, Reason: "damaged"})
		} else {
			err = to.Row(ctx, d.row(id))
		}
		if err != nil {
			return got, err
		}
	}
	return got, ctx.Err()
}

// again runs attempts until one ends well.
func (w *world) again(t *testing.T, src export.Source, least int64) {
	t.Helper()
	for range 4 {
		w.runner(src, least).Handle(jobs.Ticket{Job: "j", Lane: jobs.Large})
		if w.ending != nil && w.ending.State == jobs.Succeeded {
			w.object = w.objects[w.upload.Key]
			return
		}
		w.dead, w.killAt = false, 0
	}
	t.Fatalf("no attempt succeeded: %+v", w.ending)
}

func (w *world) runner(src export.Source, least int64) *jobs.Runner {
	x := export.New(src, w, export.Options{
		Prefix: "x/", Readers: 2, GzipLevel: 1, Log: quiet,
		NewNonce: func() string { return fmt.Sprint("n", w.attempt) },
	})
	x.LimitParts(least, 1000, 1000)
	env := jobs.Env{Now: time.Now, Jitter: func() float64 { return 0 }, Log: quiet}
	return jobs.NewRunner(w, x, env, jobs.RunnerOptions{Worker: "w", Slots: map[jobs.Lane]int{jobs.Large: 1}, Freed: func() {}})
}

func newWorld(t *testing.T, killAt int, after bool) *world {
	return &world{store: store{t: t}, killAt: killAt, after: after, uploads: map[string]map[int][]byte{}, objects: map[string][]byte{}}
}

// resumable has rows of several sizes, one of them larger than a part, and
// some that cannot be read, one of them the last.
func resumable(w *world) damaged {
	sizes := repeat(300, 8<<10)
	sizes[150] = 1500 << 10
	return damaged{rows{sizes: sizes}, map[int64]bool{70: true, 71: true, 300: true}, w}
}

// wantOnce checks that every row stands in the published file once, and that
// the result tells the truth about it.
func (w *world) wantOnce(d damaged) {
	w.t.Helper()
	text := gunzip(w.t, w.object)
	id := int64(0)
	for line := range strings.Lines(text) {
		for id++; d.bad[id]; id++ {
		}
		if !strings.HasPrefix(line, fmt.Sprintf(`{"id":%d,`, id)) || !strings.HasSuffix(line, `"convo":`+string(noise(id, d.sizes[id-1]))+"}\n") {
			w.t.Fatalf("a line is not row %d", id)
		}
	}
	got := *w.ending.Result
	if got.SHA256 != hexSum(w.object) || got.SHA256Raw != hexSum([]byte(text)) || got.Bytes != int64(len(w.object)) ||
		got.Rows != int64(len(d.sizes)-len(d.bad)) || got.Skipped != int64(len(d.bad)) || len(got.SkippedRows) != len(d.bad) ||
		got.Deleted != 0 || got.Appeared != 0 {
		w.t.Errorf("result %+v", got)
	}
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Whatever call of an attempt is its last: the next one goes on behind the last
// cut, and the file is what it would have been.
func TestResumeAfterEveryCall(t *testing.T) {
	undisturbed := newWorld(t, 0, false)
	src := resumable(undisturbed)
	undisturbed.again(t, src, 512<<10)
	undisturbed.wantOnce(src)
	if undisturbed.calls < 15 {
		t.Fatalf("%d calls show nothing", undisturbed.calls)
	}
	resumed := 0
	for n := 1; n <= undisturbed.calls; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, n, after)
					src := resumable(w)
					w.again(t, src, 512<<10)
					w.wantOnce(src)
					resumed += w.wantBehindCut()
				})
			})
		}
	}
	if resumed < undisturbed.calls/2 {
		t.Errorf("%d attempts went on from a cut", resumed)
	}
}

// wantBehindCut checks that a second attempt read nothing that a cut held, and
// left out the numbers that late parts may arrive under.
func (w *world) wantBehindCut() (resumed int) {
	if len(w.plans) < 2 || w.plans[1] == jobs.All {
		return 0
	}
	gap := 0
	for i, p := range w.resume.Parts {
		if i > 0 && p.Number != w.resume.Parts[i-1].Number+1 {
			gap = i
			if p.Number != w.resume.Parts[i-1].Number+17 {
				w.t.Errorf("part %d follows part %d", p.Number, w.resume.Parts[i-1].Number)
			}
		}
	}
	if gap == 0 || w.resume.Parts[gap].FirstID <= w.plans[1].After || w.resume.Parts[gap-1].LastID > w.plans[1].After {
		w.t.Errorf("the second attempt read behind row %d, and wrote %+v", w.plans[1].After, w.resume.Parts)
	}
	return 1
}

// An upload that is gone, for whatever reason, costs a new start, not the job.
func TestUploadGoneStartsOver(t *testing.T) {
	undisturbed := newWorld(t, 0, false)
	undisturbed.again(t, resumable(undisturbed), 512<<10)
	completed := undisturbed.calls - 4 // then it is verified, two objects are put beside it, and the attempt ends
	for name, c := range map[string]struct {
		killAt int
		lose   func(w *world)
	}{
		"aborted":                     {9, func(w *world) { clear(w.uploads) }},
		"completed and deleted":       {completed, func(w *world) { clear(w.objects) }},
		"another object at its place": {completed, func(w *world) { w.objects[w.upload.Key] = []byte("other") }},
		"a hash of another make":      {9, func(w *world) { w.resume.FileHash = []byte("x") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c.killAt, true)
				src := resumable(w)
				w.between = func() { c.lose(w) }
				w.again(t, src, 512<<10)
				w.wantOnce(src)
				if len(w.uploads) > 0 || w.starts != 2 {
					t.Errorf("%d uploads, %d of them left open", w.starts, len(w.uploads))
				}
			})
		})
	}
}

// A worker that was frozen wakes up after its successor has completed the same
// upload: what it takes for gone is published, and must stay.
func TestSuccessorsObjectStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 9, true)
		src := resumable(w)
		w.runner(src, 512<<10).Handle(jobs.Ticket{Job: "j", Lane: jobs.Large})
		if w.resume == nil || w.resume.Final {
			t.Fatal("there is nothing to go on with")
		}
		w.dead, w.killAt = false, 0
		w.between = func() {
			clear(w.uploads)
			w.objects[w.upload.Key] = []byte("published")
			w.fenced = true
		}
		w.runner(src, 512<<10).Handle(jobs.Ticket{Job: "j", Lane: jobs.Large})
		if got := w.objects[w.upload.Key]; string(got) != "published" || w.ending != nil {
			t.Errorf("the object holds %d bytes, the job ended with %+v", len(got), w.ending)
		}
	})
}

// Rows that went or came while nobody exported are told.
func TestResumeReconciles(t *testing.T) {
	for name, c := range map[string]struct{ rows, deleted, appeared int64 }{
		"gone": {290, 10, 0}, "none": {300, 0, 0}, "new ones, which are not members": {300 + 20, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 9, true)
				whole := rows{sizes: repeat(300+20, 8<<10)}
				w.again(t, shrinking{whole, w, c.rows}, 512<<10)
				if got := *w.ending.Result; got.Rows != min(c.rows, 300) || got.Deleted != c.deleted || got.Appeared != c.appeared {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// shrinking has 300 rows, and fewer or more from the second attempt on.
type shrinking struct {
	rows
	w    *world
	left int64
}

func (s shrinking) now() rows {
	if s.w.attempt > 1 {
		return rows{sizes: s.sizes[:s.left]}
	}
	return rows{sizes: s.sizes[:300]}
}

func (s shrinking) Plan(ctx context.Context, spec jobs.Spec, in jobs.Range) (jobs.Plan, error) {
	return s.now().Plan(ctx, spec, in)
}

func (s shrinking) Read(ctx context.Context, spec jobs.Spec, w jobs.Window, to jobs.Rows) (jobs.Reading, error) {
	return s.now().Read(ctx, spec, w, to)
}

// A worker that stops makes a cut of what it has, if that fills a part, and
// costs the job nothing.
func TestDrainMakesACut(t *testing.T) {
	for name, c := range map[string]struct {
		least int64
		cut   bool
	}{"enough for a part": {900 << 10, true}, "too little for a part": {8 << 20, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 0, false)
				d := resumable(w)
				src := &stopping{damaged: d, at: 290}
				runner := w.runner(src, c.least)
				src.stop = func() { go func() { w.drained = runner.Drain(context.Background()) }() }
				began := time.Now()
				runner.Handle(jobs.Ticket{Job: "j", Lane: jobs.Large})
				if e := w.ending; e.State != jobs.Queued || e.Failure != nil || time.Since(began) > time.Second {
					t.Fatalf("%+v after %v", e, time.Since(began))
				}
				if (w.resume != nil) != c.cut || (c.cut && w.resume.LastID < 200) {
					t.Errorf("handed back at %+v", w.resume)
				}
				synctest.Wait()
				if w.drained != nil {
					t.Error(w.drained)
				}
				w.again(t, d, c.least)
				w.wantOnce(d)
			})
		})
	}
}

// stopping is a source that gives no row from one on, once the worker was told
// to stop.
type stopping struct {
	damaged
	at   int64
	stop func()
}

func (s *stopping) Read(ctx context.Context, spec jobs.Spec, w jobs.Window, to jobs.Rows) (jobs.Reading, error) {
	if w.To < s.at {
		return s.damaged.Read(ctx, spec, w, to)
	}
	if w.After < s.at {
		synctest.Wait() // all before is in the file
		s.stop()
	}
	<-ctx.Done()
	return jobs.Reading{}, ctx.Err()
}
