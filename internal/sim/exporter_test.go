package sim

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// exporter stands in for internal/export: no rows are read, but parts are sent,
// cuts made, uploads resumed, completed, verified and discarded by its rules.
type exporter struct{ p *process }

// The sizes of an export, in rows, and the limits of its steps.
const (
	partRows    = 4
	smallExport = 4 // at most: put whole
	partGap     = 16
	stepLimit   = time.Minute
	putLimit    = 30 * time.Second
)

// file is an export being written.
type file struct {
	p       *process
	c       jobs.Claim
	s       *jobs.Session
	rng     *stream
	size    int64
	upload  jobs.Upload
	former  *jobs.Upload
	total   jobs.Cut
	parts   []jobs.Part
	pending []jobs.Part
	number  int
}

func (e *exporter) Export(ctx context.Context, c jobs.Claim, s *jobs.Session) (jobs.Result, error) {
	e.p.enter(c.Job.Lane)
	defer e.p.leave(c.Job.Lane)
	rng := e.p.w.stream(e.p.id + "/export " + main(c.Fence))
	if rng.chance(1) && !e.p.w.isCalm() {
		panic("planted")
	}
	result, err := e.attempt(ctx, c, s, rng)
	if c.Resume != nil && errors.Is(err, jobs.ErrUploadGone) {
		c.Abandoned, c.Resume = &c.Resume.Upload, nil
		return e.attempt(ctx, c, s, rng)
	}
	return result, err
}

func (e *exporter) attempt(ctx context.Context, c jobs.Claim, s *jobs.Session, rng *stream) (jobs.Result, error) {
	f := &file{p: e.p, c: c, s: s, rng: rng, size: e.p.w.table.byID[c.Fence.Job].size, number: 1}
	if c.Resume != nil {
		f.upload, f.total, f.parts = c.Resume.Upload, c.Resume.Cut, c.Resume.Cut.Parts
		f.number = f.parts[len(f.parts)-1].Number + 1 + partGap
	} else {
		nonce := fmt.Sprintf("%s-%d-%x", c.Fence.Job, c.Fence.Attempt, rng.Uint32())
		f.upload, f.former = jobs.Upload{Nonce: nonce, Key: nonce + "/file"}, c.Abandoned
		f.total.Version = jobs.CutVersion
	}
	if !f.total.Final {
		if err := f.write(ctx); err != nil {
			return jobs.Result{}, err
		}
	}
	if err := f.publish(ctx); err != nil {
		return jobs.Result{}, err
	}
	return jobs.Result{Filename: "file", Rows: f.total.Rows}, nil
}

// step declares a step to the real session and to the checks.
func (f *file) step(phase jobs.Phase, limit time.Duration) {
	f.p.allow(f.c.Fence, limit)
	f.s.Step(phase, limit)
}

func (f *file) write(ctx context.Context) error {
	f.step(jobs.Planning, stepLimit)
	if err := f.work(ctx, f.rng.between(50*time.Millisecond, 3*time.Second)); err != nil {
		return err
	}
	f.step(jobs.Streaming, stepLimit)
	for f.total.Rows < f.size {
		rows := min(partRows, f.size-f.total.Rows)
		if err := f.work(ctx, f.rng.between(100*time.Millisecond, 4*time.Second)); errors.Is(err, jobs.ErrDrained) {
			return f.drain(ctx)
		} else if err != nil {
			return err
		}
		f.total.Rows += rows
		if f.size <= smallExport {
			break
		}
		// One part in five ends within a row; the last is part of the final cut.
		if err := f.send(ctx, rows, f.total.Rows < f.size && !f.rng.chance(20)); err != nil {
			return err
		}
	}
	return f.finish(ctx)
}

// work is reading and compressing; now and then the source fails, or hangs.
func (f *file) work(ctx context.Context, d time.Duration) error {
	if !f.p.w.isCalm() {
		switch {
		case f.rng.chance(0.5):
			f.p.fault("source hangs")
			d = 10 * time.Minute
		case f.rng.chance(1):
			f.p.fault("source fails")
			return jobs.Transient(jobs.CodeSource, "gone", errNoAnswer)
		case f.rng.chance(0.2):
			f.p.fault("source refuses")
			return jobs.Permanent(jobs.CodeRefused, "no", true, errNoAnswer)
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	select {
	case <-f.s.Draining():
		return jobs.ErrDrained
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-f.p.killed:
		return errKilled
	}
	if !f.p.hold(f.rng) {
		return errKilled
	}
	return nil
}

// drain sends what is there, half the time, as a cut.
func (f *file) drain(ctx context.Context) error {
	if rows := min(2, f.size-f.total.Rows); rows > 0 && f.size > smallExport && f.rng.chance(50) {
		f.total.Rows += rows
		if err := f.send(ctx, rows, true); err != nil {
			return err
		}
	}
	return jobs.ErrDrained
}

// send uploads one part, and makes a checkpoint where it is a cut.
func (f *file) send(ctx context.Context, rows int64, cut bool) error {
	if f.upload.ID == "" {
		id, err := call(ctx, f.p, main(f.c.Fence), &f.p.w.bucket.down, func() (string, error) { return f.p.w.bucket.create(f.upload.Key), nil })
		if err != nil {
			return err
		}
		f.upload.ID = id
		if err := f.name(ctx); err != nil {
			return err
		}
	}
	if !f.s.Holds() {
		return jobs.ErrFenced
	}
	p := jobs.Part{Number: f.number, Rows: rows, FirstID: f.total.Rows - rows, LastID: f.total.Rows}
	f.number++
	etag, err := f.p.put(ctx, f.c.Fence, putLimit, func() (string, error) {
		return f.p.w.bucket.putPart(f.upload.ID, p.Number, span{p.FirstID, p.LastID})
	})
	if err != nil {
		return err
	}
	p.ETag = etag
	f.parts, f.pending = append(f.parts, p), append(f.pending, p)
	f.p.allow(f.c.Fence, stepLimit)
	f.s.Extend(stepLimit)
	if !cut {
		return nil
	}
	return f.commit(ctx)
}

func (f *file) commit(ctx context.Context) error {
	c := f.total
	c.Parts = f.pending
	if err := f.s.Commit(ctx, c); err != nil {
		return err
	}
	f.pending = nil
	return nil
}

func (f *file) finish(ctx context.Context) error {
	if f.upload.ID == "" {
		if err := f.name(ctx); err != nil {
			return err
		}
		f.parts = []jobs.Part{{Number: 1, ETag: span{0, f.size}.etag(), LastID: f.size}}
		f.pending = f.parts
	}
	f.total.Final = true
	return f.commit(ctx)
}

func (f *file) publish(ctx context.Context) error {
	f.step(jobs.Completing, stepLimit)
	if !f.s.Holds() {
		return jobs.ErrFenced
	}
	b := f.p.w.bucket
	_, err := f.p.put(ctx, f.c.Fence, stepLimit, func() (string, error) {
		if f.upload.ID == "" {
			b.put(f.upload.Key, span{0, f.size})
			return "", nil
		}
		return "", b.complete(f.upload.ID, f.parts)
	})
	if err != nil && !errors.Is(err, jobs.ErrUploadGone) {
		return err
	}
	f.step(jobs.Verifying, stepLimit)
	_, err = call(ctx, f.p, main(f.c.Fence), &b.down, func() (struct{}, error) { return struct{}{}, b.verify(f.upload.Key, f.parts) })
	return err
}

// put is a call that writes to the store, which the checks watch.
func (p *process) put(ctx context.Context, f jobs.Fence, limit time.Duration, effect func() (string, error)) (string, error) {
	p.checkWrite(f)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return call(ctx, p, main(f), &p.w.bucket.down, effect)
}

// name puts the upload into the row, and removes the one that stood there.
func (f *file) name(ctx context.Context) error {
	if err := f.s.BeginUpload(ctx, f.upload); err != nil {
		return err
	}
	if f.former != nil {
		ctx, cancel := context.WithTimeout(ctx, putLimit)
		defer cancel()
		_ = (&exporter{f.p}).remove(ctx, main(f.c.Fence), *f.former) // an orphan, else
		f.former = nil
	}
	return nil
}

// Discard implements jobs.Exporter.
func (e *exporter) Discard(ctx context.Context, u jobs.Upload) error {
	e.p.w.mu.Lock()
	job, _, _ := strings.Cut(u.Nonce, "-")
	e.p.w.discards[job] = true
	e.p.w.mu.Unlock()
	return e.remove(ctx, "discard "+u.Key, u)
}

func (e *exporter) remove(ctx context.Context, name string, u jobs.Upload) error {
	b := e.p.w.bucket
	_, err := call(ctx, e.p, name, &b.down, func() (struct{}, error) {
		b.discard(u)
		return struct{}{}, nil
	})
	return err
}
