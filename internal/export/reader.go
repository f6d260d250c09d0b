package export

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// reader reads every n-th window. Its chunks are its own, so that a reader
// that is ahead can never starve the one that everybody waits for.
type reader struct {
	e       *Exporter
	session *jobs.Session
	spec    jobs.Spec
	out     chan *chunk // in the order of ids
	work    chan<- *chunk
	pool    chan *chunk
	lines   *lineWriter
	pace    *pace
	order   *order
	current int // window

	bytes int64 // of lines, so far

	// The window being read: the rows that are written or skipped, and how many
	// of them have come again since the connection was lost.
	seen  []seen
	again int

	// Windows that the assembler has come to, and that are read.
	begun atomic.Int64
	turn  chan struct{}
	done  int64
	alone bool // holds the gate of large rows
}

// seen is a row of the window being read.
type seen struct {
	id      int64
	skipped bool
}

func newReader(e *Exporter, s *jobs.Session, spec jobs.Spec, work chan<- *chunk, p *pace, o *order) *reader {
	return &reader{
		e: e, session: s, spec: spec, work: work, pace: p, order: o,
		out: make(chan *chunk, readerSlots), pool: newChunks(readerSlots), turn: make(chan struct{}, 1),
	}
}

func (r *reader) run(ctx context.Context, windows []jobs.Window, from, step int) error {
	r.lines = newLineWriter(r.spec.Kind.Columns(), r.pool, func(c *chunk) error { return r.emit(ctx, c) })
	for i := from; i < len(windows); i += step {
		if err := r.order.wait(ctx, i); err != nil {
			return err
		}
		r.current = i
		before := r.bytes
		got, err := r.window(ctx, windows[i])
		if err != nil {
			return err
		}
		if err := r.lines.endWindow(ctx, got.Counted-windows[i].Rows); err != nil {
			return err
		}
		r.session.Spent(jobs.StageRead, got.Waited)
		r.done++
		if err := r.rest(ctx, windows[i], got, r.bytes-before); err != nil {
			return err
		}
	}
	return nil
}

// Begin implements jobs.Rows: the window holds a connection from now on.
func (r *reader) Begin() { r.order.begun(r.current) }

// restarts are the pauses before a window is read again whose connection was
// lost: together they outlast a server's restart. Then the attempt ends, which
// waits longer.
var restarts = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}

// window reads one window, as often as the connection is lost meanwhile.
func (r *reader) window(ctx context.Context, w jobs.Window) (jobs.Reading, error) {
	r.seen = r.seen[:0]
	for try := 0; ; try++ {
		r.again = 0
		got, err := r.e.source.Read(ctx, r.spec, w, r)
		r.leave()
		switch {
		case err == nil && (int64(len(r.seen)) != got.Counted || r.again < len(r.seen)):
			return got, inconsistent(fmt.Errorf("a window with %d rows returned %d", got.Counted, len(r.seen)))
		case err == nil, !jobs.IsTransient(err), errors.Is(err, errChanged), try == len(restarts), ctx.Err() != nil:
			return got, err
		}
		r.e.opts.Log.Warn("window is read again", "after", w.After, "rows_seen", len(r.seen), "error", err)
		select {
		case <-time.After(restarts[try]):
		case <-ctx.Done():
			return got, ctx.Err()
		}
	}
}

// errChanged: a window that is read again does not begin with the rows that
// are already written. The file would be neither what was there then nor what
// is there now; the attempt goes back to its last cut.
var errChanged = errors.New("a window changed while it was read again")

func inconsistent(err error) error {
	return jobs.Transient(jobs.CodeInconsistent, "The platform's database returned other rows than it counted.", err)
}

// Row implements jobs.Rows.
func (r *reader) Row(ctx context.Context, row jobs.Row) error {
	defer r.leave()
	if len(row) == 0 || len(row[0]) != 8 {
		return fmt.Errorf("a row of %d values begins with no id", len(row))
	}
	return r.once(seen{int64(binary.BigEndian.Uint64(row[0])), false}, func() error { return r.lines.row(ctx, row) })
}

// Skip implements jobs.Rows.
func (r *reader) Skip(ctx context.Context, s jobs.Skipped) error {
	defer r.leave()
	return r.once(seen{s.ID, true}, func() error { return r.lines.skip(ctx, s) })
}

// once calls write unless that was done before the connection was lost.
func (r *reader) once(s seen, write func() error) error {
	if r.again < len(r.seen) {
		if r.seen[r.again] != s {
			return inconsistent(errChanged)
		}
		r.again++
		return nil
	}
	if err := write(); err != nil {
		return err
	}
	r.seen = append(r.seen, s)
	r.again++
	return nil
}

// Large implements jobs.Rows. Large rows pass one at a time, over all exports
// of a worker. Whoever waits for that has its turn in the file already, so that
// the one that goes first never waits for one that comes later.
func (r *reader) Large(ctx context.Context) error {
	for r.begun.Load() <= r.done {
		if _, err := next(ctx, r.turn); err != nil {
			return err
		}
	}
	tick := time.NewTicker(streamLimit / 2)
	defer tick.Stop()
	for !r.alone {
		select {
		case r.e.large <- struct{}{}:
			r.alone = true
		case <-tick.C:
			r.session.Extend(streamLimit) // whoever holds the gate has a limit too
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// leave gives the gate of large rows to the next.
func (r *reader) leave() {
	if r.alone {
		r.alone = false
		<-r.e.large
	}
}

// emit sends a chunk to whoever compresses it and to whoever waits for it.
func (r *reader) emit(ctx context.Context, c *chunk) error {
	r.bytes += int64(len(c.raw))
	r.out <- c // has room for every chunk of the pool
	select {
	case r.work <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// assemble hands the chunks of the next window to f, or stops between two of
// them with jobs.ErrDrained.
func (r *reader) assemble(ctx context.Context, f *file) error {
	r.begun.Add(1)
	select {
	case r.turn <- struct{}{}:
	default:
	}
	for {
		select {
		case <-f.session.Draining():
			return jobs.ErrDrained
		default:
		}
		var c *chunk
		select {
		case c = <-r.out:
		case <-f.session.Draining():
			return jobs.ErrDrained
		case <-ctx.Done():
			return ctx.Err()
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
