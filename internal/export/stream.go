package export

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// stream reads all windows of a plan and hands their chunks to f, compressed
// and in the order of ids.
func (e *Exporter) stream(ctx context.Context, spec jobs.Spec, plan jobs.Plan, f *file) error {
	g, ctx := errgroup.WithContext(ctx)
	f.spawn = g.Go
	work := make(chan *chunk)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error { return compress(ctx, e.opts.GzipLevel, work) })
	}
	readers := make([]*reader, min(e.opts.Readers, max(1, len(plan.Windows))))
	rg, rctx := errgroup.WithContext(ctx)
	for i := range readers {
		r := newReader(e.source, spec, work)
		readers[i] = r
		rg.Go(func() error { return r.run(rctx, plan.Windows, i, len(readers)) })
	}
	g.Go(func() error {
		defer close(work)
		return rg.Wait()
	})
	g.Go(func() error { return f.commit(ctx) })
	g.Go(func() error {
		for i := range plan.Windows {
			if err := readers[i%len(readers)].window(ctx, f); err != nil {
				return err
			}
		}
		return f.seal(ctx)
	})
	return g.Wait()
}

// reader reads every n-th window. Its chunks are its own, so that a reader
// that is ahead can never starve the one that everybody waits for.
type reader struct {
	source Source
	spec   jobs.Spec
	out    chan *chunk // in the order of ids
	work   chan<- *chunk
	pool   chan *chunk
}

func newReader(s Source, spec jobs.Spec, work chan<- *chunk) *reader {
	return &reader{
		source: s, spec: spec, work: work,
		out: make(chan *chunk, readerSlots), pool: newChunks(readerSlots),
	}
}

func (r *reader) run(ctx context.Context, windows []jobs.Window, from, step int) error {
	w := newLineWriter(r.spec.Kind.Columns(), r.pool, func(c *chunk) error { return r.emit(ctx, c) })
	for i := from; i < len(windows); i += step {
		before := w.written
		got, err := r.source.Read(ctx, r.spec, windows[i], func(row jobs.Row) error { return w.row(ctx, row) })
		if err != nil {
			return err
		}
		if n := w.written - before + int64(len(got.Skipped)); n != got.Counted {
			return jobs.Transient(jobs.CodeInconsistent, "The platform's database returned other rows than it counted.",
				fmt.Errorf("a window with %d rows returned %d", got.Counted, n))
		}
		if err := w.endWindow(ctx, outcome{got.Skipped, got.Counted - windows[i].Rows}); err != nil {
			return err
		}
	}
	return nil
}

// emit sends a chunk to whoever compresses it and to whoever waits for it.
func (r *reader) emit(ctx context.Context, c *chunk) error {
	r.out <- c // has room for every chunk of the pool
	select {
	case r.work <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// window hands the chunks of the next window to f.
func (r *reader) window(ctx context.Context, f *file) error {
	for {
		c, err := next(ctx, r.out)
		if err != nil {
			return err
		}
		if _, err := next(ctx, c.ready); err != nil {
			return err
		}
		last := c.endsWindow
		if err := f.add(ctx, c); err != nil {
			return err
		}
		c.recycle()
		if last {
			return nil
		}
	}
}

// next receives from ch unless ctx ends before.
func next[T any](ctx context.Context, ch <-chan T) (v T, err error) {
	select {
	case v = <-ch:
		return v, nil
	case <-ctx.Done():
		return v, ctx.Err()
	}
}
