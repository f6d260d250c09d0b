package export

import (
	"context"
	"errors"
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
		z, err := NewCompressor(e.opts.GzipLevel)
		if err != nil {
			return err
		}
		g.Go(func() error { return compress(ctx, z, work, f.session) })
	}
	var p pace
	o := order{changed: make(chan struct{})}
	readers := make([]*reader, min(e.opts.Readers, max(1, len(plan.Windows))))
	rg, rctx := errgroup.WithContext(ctx)
	for i := range readers {
		r := newReader(e, f.session, spec, work, &p, &o)
		readers[i] = r
		rg.Go(func() error { return r.run(rctx, plan.Windows, i, len(readers)) })
	}
	g.Go(func() error {
		defer close(work)
		return rg.Wait()
	})
	committed := make(chan struct{})
	g.Go(func() error {
		defer close(committed)
		return f.commit(ctx)
	})
	g.Go(func() error {
		for i := range plan.Windows {
			err := readers[i%len(readers)].assemble(ctx, f)
			if errors.Is(err, jobs.ErrDrained) {
				return f.drain(ctx, committed)
			}
			if err != nil {
				return err
			}
		}
		return f.seal(ctx)
	})
	return g.Wait()
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
