package platform

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Read hands every row of a window to rows, as the server sent it. The next row
// is not asked for until it is taken; an error of rows comes back as it is. A
// row that the server cannot read is named by Skip, and its neighbours are read
// one by one.
func (s *Source) Read(ctx context.Context, spec jobs.Spec, w jobs.Window, rows jobs.Rows) (r jobs.Reading, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v := &windowReader{
		spec: spec, table: tables[spec.Kind].in(w), last: w.After, to: w.To, rows: rows,
		watch: startWatch(s.wait, func() { cancel(errSlowWindow) }),
	}
	err = s.read(ctx, func(tx pgx.Tx) error {
		rows.Begin()
		g := gateOf(tx)
		g.permit = func() error { return v.outside(func() error { return rows.Large(ctx) }) }
		defer func() { g.permit = nil }()
		err := tx.QueryRow(ctx, v.table.countSQL(), spec.Project, spec.From, spec.To, w.After, w.To).Scan(&r.Counted)
		if err != nil {
			return err
		}
		if err = v.read(ctx, tx, w.After, w.To); badRow(err) {
			err = v.oneByOne(ctx, tx)
		}
		return err
	})
	r.Waited = v.watch.stop()
	switch {
	case v.failed != nil:
		err = v.failed
	case errors.Is(context.Cause(ctx), errSlowWindow):
		err = jobs.Transient(jobs.CodeSource, "The platform's database took too long to answer.", errSlowWindow)
	}
	return r, err
}

var errSlowWindow = errors.New("a window took longer than its limit")

// windowReader reads one window in one transaction.
type windowReader struct {
	spec   jobs.Spec
	table  table
	last   int64 // id handed on
	to     int64
	rows   jobs.Rows
	watch  *stopwatch
	failed error // of rows
}

// outside calls f, whose time is not the server's.
func (v *windowReader) outside(f func() error) error {
	v.watch.pause()
	defer v.watch.resume()
	v.failed = f()
	return v.failed
}

// read hands on a range of ids below a savepoint, to which a statement that
// meets a damaged row falls back.
func (v *windowReader) read(ctx context.Context, tx pgx.Tx, after, to int64) error {
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		formats := resultFormats(v.spec.Kind)
		rows, err := tx.Query(ctx, v.table.windowSQL(), formats, v.spec.Project, v.spec.From, v.spec.To, after, to)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			row := rows.RawValues()
			if err := v.outside(func() error { return v.rows.Row(ctx, row) }); err != nil {
				return err
			}
			v.last = int64(binary.BigEndian.Uint64(row[0]))
		}
		return rows.Err()
	})
}

// oneByOne reads what is left of the window, each row by itself.
func (v *windowReader) oneByOne(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, v.table.idsSQL(), v.spec.Project, v.spec.From, v.spec.To, v.last, v.to)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	v.table = v.table.in(jobs.Window{To: 1, Rows: 1})
	for _, id := range ids {
		switch err := v.read(ctx, tx, id-1, id); {
		case badRow(err):
			skip := jobs.Skipped{ID: id, Reason: badReason(err)}
			if err := v.outside(func() error { return v.rows.Skip(ctx, skip) }); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	return nil
}

// stopwatch adds up the time that a server keeps its reader waiting, and calls
// expired when that exceeds a limit. A reader may stand still for long because
// nobody takes its rows; that is not the server's fault.
type stopwatch struct {
	timer *time.Timer
	left  time.Duration
	total time.Duration
	since time.Time
}

func startWatch(limit time.Duration, expired func()) *stopwatch {
	return &stopwatch{timer: time.AfterFunc(limit, expired), left: limit, since: time.Now()}
}

func (s *stopwatch) pause() {
	s.timer.Stop()
	d := time.Since(s.since)
	s.left -= d
	s.total += d
}

func (s *stopwatch) resume() {
	s.since = time.Now()
	s.timer.Reset(max(0, s.left))
}

// stop returns the time that was waited.
func (s *stopwatch) stop() time.Duration {
	s.pause()
	return s.total
}

// badReasons are the classes of SQLSTATE that speak of a row's own content.
var badReasons = map[string]string{"22": "invalid_value", "54": "too_large", "XX": "damaged"}

func badReason(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return ""
	}
	return badReasons[pg.Code[:2]]
}

func badRow(err error) bool { return badReason(err) != "" }

// resultFormats asks for ids and times in binary, which need no parsing, and
// for everything else as text, which passes through.
func resultFormats(k jobs.Kind) pgx.QueryResultFormats {
	var f pgx.QueryResultFormats
	for _, c := range k.Columns() {
		if c.Type == jobs.Int || c.Type == jobs.Time {
			f = append(f, pgx.BinaryFormatCode)
		} else {
			f = append(f, pgx.TextFormatCode)
		}
	}
	return f
}
