package export

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// lineWriter turns rows into JSON lines, and lines into chunks. A chunk holds
// whole rows, as many as fit; only a row larger than a chunk spreads over
// chunks of its own, and the last of them ends with it.
type lineWriter struct {
	columns []jobs.Column
	names   [][]byte // `{"id":`, `,"created_at":` …
	pool    <-chan *chunk
	emit    func(*chunk) error

	cur     *chunk
	start   int // of the current row in cur
	spread  bool
	written int64 // rows so far
	scratch []byte
	spans   []span
}

func newLineWriter(columns []jobs.Column, pool <-chan *chunk, emit func(*chunk) error) *lineWriter {
	w := &lineWriter{columns: columns, pool: pool, emit: emit}
	for i, c := range columns {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		w.names = append(w.names, []byte(sep+strconv.Quote(c.Name)+":"))
	}
	return w
}

// row writes one row.
func (w *lineWriter) row(ctx context.Context, r jobs.Row) error {
	if len(r) != len(w.columns) || len(r[0]) != 8 {
		return fmt.Errorf("a row has %d values, %d were expected", len(r), len(w.columns))
	}
	if err := w.begin(ctx); err != nil {
		return err
	}
	var cut int64
	for i, v := range r {
		if err := w.write(ctx, w.names[i]); err != nil {
			return err
		}
		n, err := w.value(ctx, w.columns[i].Type, v)
		if err != nil {
			return err
		}
		cut += n
	}
	if err := w.write(ctx, []byte("}\n")); err != nil {
		return err
	}
	return w.end(int64(binary.BigEndian.Uint64(r[0])), cut)
}

// value writes one value and returns how many contexts were left out of it.
func (w *lineWriter) value(ctx context.Context, t jobs.ColumnType, v []byte) (cut int64, err error) {
	if v == nil {
		return 0, w.write(ctx, []byte("null"))
	}
	switch t {
	case jobs.Int:
		w.scratch = strconv.AppendInt(w.scratch[:0], int64(binary.BigEndian.Uint64(v)), 10)
		return 0, w.write(ctx, w.scratch)
	case jobs.Time:
		w.scratch = appendTime(w.scratch[:0], int64(binary.BigEndian.Uint64(v)))
		return 0, w.write(ctx, w.scratch)
	case jobs.Text:
		w.scratch = appendString(w.scratch[:0], v)
		return 0, w.write(ctx, w.scratch)
	case jobs.Convo:
		var at int
		w.spans, cut = extraContexts(w.spans[:0], v, jobs.MaxContexts)
		for _, s := range w.spans {
			if err := w.json(ctx, v[at:s.from]); err != nil {
				return 0, err
			}
			at = s.to
		}
		return cut, w.json(ctx, v[at:])
	}
	return 0, w.json(ctx, v)
}

// json writes stored JSON as it is, on one line. A line break in valid JSON
// stands only between tokens (RFC 8259, 7: in strings it must be escaped), so
// a space in its place changes no value.
func (w *lineWriter) json(ctx context.Context, v []byte) error {
	for len(v) > 0 {
		n := min(len(v), chunkSize)
		at, err := w.reserve(ctx, n)
		if err != nil {
			return err
		}
		n = copy(at, v[:n])
		blank(at[:n], '\n')
		blank(at[:n], '\r')
		v = v[n:]
	}
	return nil
}

// blank replaces every b by a space.
func blank(p []byte, b byte) {
	for {
		i := bytes.IndexByte(p, b)
		if i < 0 {
			return
		}
		p[i] = ' '
		p = p[i+1:]
	}
}

func (w *lineWriter) write(ctx context.Context, p []byte) error {
	for len(p) > 0 {
		at, err := w.reserve(ctx, len(p))
		if err != nil {
			return err
		}
		p = p[copy(at, p):]
	}
	return nil
}

// reserve extends the current chunk by n bytes, or by as many as a chunk still
// takes when the row spreads, and returns them to be filled.
func (w *lineWriter) reserve(ctx context.Context, n int) ([]byte, error) {
	if len(w.cur.raw)+n > chunkSize {
		if err := w.overflow(ctx); err != nil {
			return nil, err
		}
	}
	at := len(w.cur.raw)
	n = min(n, chunkSize-at)
	w.cur.raw = w.cur.raw[:at+n]
	return w.cur.raw[at:], nil
}

// overflow makes room: a row that shares its chunk moves to one of its own; a
// row that has one already spreads when that is full.
func (w *lineWriter) overflow(ctx context.Context) error {
	if w.start == 0 {
		if len(w.cur.raw) < chunkSize {
			return nil
		}
		w.spread = true
		return w.next(ctx)
	}
	full, begun := w.cur, w.cur.raw[w.start:]
	full.raw = full.raw[:w.start]
	full.endsRow = true
	next, err := w.take(ctx)
	if err != nil {
		return err
	}
	next.raw = append(next.raw, begun...)
	w.cur, w.start = next, 0
	return w.emit(full)
}

// next emits the current chunk and takes a new one.
func (w *lineWriter) next(ctx context.Context) error {
	if err := w.emit(w.cur); err != nil {
		return err
	}
	w.cur = nil
	var err error
	w.cur, err = w.take(ctx)
	return err
}

func (w *lineWriter) take(ctx context.Context) (*chunk, error) {
	select {
	case c := <-w.pool:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (w *lineWriter) begin(ctx context.Context) (err error) {
	if w.cur == nil {
		if w.cur, err = w.take(ctx); err != nil {
			return err
		}
	}
	w.start, w.spread = len(w.cur.raw), false
	return nil
}

// end closes a row; the last chunk of one that spread is not shared.
func (w *lineWriter) end(id, cut int64) error {
	c := w.cur
	if c.rows == 0 {
		c.first = id
	}
	c.rows++
	w.written++
	c.last, c.upTo = id, id
	c.contextsCut += cut
	if !w.spread {
		return nil
	}
	c.endsRow = true
	w.cur = nil
	return w.emit(c)
}

// skip notes a row that cannot be written, in its place.
func (w *lineWriter) skip(ctx context.Context, s jobs.Skipped) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	w.cur.skipped = append(w.cur.skipped, s)
	w.cur.upTo = s.ID
	return nil
}

// endWindow emits what is left, empty or not: the assembler waits for it.
func (w *lineWriter) endWindow(ctx context.Context, change int64) error {
	if err := w.begin(ctx); err != nil {
		return err
	}
	c := w.cur
	w.cur = nil
	c.endsRow, c.endsWindow, c.change = true, true, change
	return w.emit(c)
}

// pgEpoch is 2000-01-01 in Unix seconds; Postgres counts microseconds from there.
const pgEpoch = 946684800

// appendTime writes a timestamptz as row_to_json does, but always in UTC and
// with six digits: 2023-08-14T23:35:40.508062+00:00.
func appendTime(b []byte, micros int64) []byte {
	switch micros {
	case math.MaxInt64:
		return append(b, `"infinity"`...)
	case math.MinInt64:
		return append(b, `"-infinity"`...)
	}
	sec, rest := micros/1e6, micros%1e6
	if rest < 0 {
		sec, rest = sec-1, rest+1e6
	}
	t := time.Unix(sec+pgEpoch, rest*1e3).UTC()
	if y := t.Year(); y <= 0 { // the year 0 is 1 BC
		return fmt.Appendf(b, `"%04d-%s+00:00 BC"`, 1-y, t.Format("01-02T15:04:05.000000"))
	}
	return t.AppendFormat(b, `"2006-01-02T15:04:05.000000+00:00"`)
}

// appendString writes text as a JSON string with the fewest escapes that
// RFC 8259 asks for.
func appendString(b, s []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	done := 0
	for i, c := range s {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[done:i]...)
		done = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[done:]...), '"')
}
