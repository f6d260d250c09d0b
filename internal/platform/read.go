package platform

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// A window holds so many stored bytes, or rows, and then ends: small enough
// for short transactions, large enough that their overhead does not count.
const (
	windowStored = 1 << 20
	windowRows   = 5000
)

// Plan looks at every row's id and stored size, once and in one snapshot, and
// cuts the ids into windows. It reads no large value.
func (s *Source) Plan(ctx context.Context, spec jobs.Spec) (p jobs.Plan, err error) {
	err = s.read(ctx, func(tx pgx.Tx) error {
		p = jobs.Plan{}
		m := &p.Membership
		if err := tx.QueryRow(ctx, tables[spec.Kind].membershipSQL()).Scan(&m.At, &m.OpenWriters); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, tables[spec.Kind].planSQL(), spec.Project, spec.From, spec.To)
		if err != nil {
			return err
		}
		var id int64
		var size *int64
		var w jobs.Window
		_, err = pgx.ForEachRow(rows, []any{&id, &size}, func() error {
			if w.Rows == 0 && len(p.Windows) == 0 {
				w.After = id - 1
			}
			w.To, m.HighWater = id, id
			w.Rows++
			if size != nil {
				w.Stored += *size
			}
			if w.Stored >= windowStored || w.Rows >= windowRows {
				add(&p, w)
				w = jobs.Window{After: id}
			}
			return nil
		})
		if w.Rows > 0 {
			add(&p, w)
		}
		return err
	})
	return p, err
}

// Read hands every row of a window to f, in the order of ids, as the server
// sent it. The next row is not asked for until f returns; an error of f comes
// back as it is. A row that the server cannot read is named in the Reading, and
// its neighbours are read one by one.
func (s *Source) Read(ctx context.Context, spec jobs.Spec, w jobs.Window, f func(jobs.Row) error) (r jobs.Reading, err error) {
	v := &windowReader{spec: spec, last: w.After, to: w.To, give: f}
	err = s.read(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, tables[spec.Kind].countSQL(), spec.Project, spec.From, spec.To, w.After, w.To).Scan(&r.Counted)
		if err != nil {
			return err
		}
		if err = v.rows(ctx, tx, w.After, w.To); badRow(err) {
			r.Skipped, err = v.oneByOne(ctx, tx)
		}
		return err
	})
	if v.failed != nil {
		return r, v.failed
	}
	return r, err
}

// windowReader reads one window in one transaction.
type windowReader struct {
	spec   jobs.Spec
	last   int64 // id handed on
	to     int64
	give   func(jobs.Row) error
	failed error // of give
}

// rows reads a range of ids below a savepoint, to which a statement that
// meets a damaged row falls back.
func (v *windowReader) rows(ctx context.Context, tx pgx.Tx, after, to int64) error {
	return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		formats := resultFormats(v.spec.Kind)
		rows, err := tx.Query(ctx, tables[v.spec.Kind].windowSQL(), formats, v.spec.Project, v.spec.From, v.spec.To, after, to)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			row := rows.RawValues()
			if v.failed = v.give(row); v.failed != nil {
				return v.failed
			}
			v.last = int64(binary.BigEndian.Uint64(row[0]))
		}
		return rows.Err()
	})
}

// oneByOne reads what is left of the window, each row by itself.
func (v *windowReader) oneByOne(ctx context.Context, tx pgx.Tx) (skipped []jobs.Skipped, err error) {
	rows, err := tx.Query(ctx, tables[v.spec.Kind].idsSQL(), v.spec.Project, v.spec.From, v.spec.To, v.last, v.to)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		switch err := v.rows(ctx, tx, id-1, id); {
		case badRow(err):
			skipped = append(skipped, jobs.Skipped{ID: id, Reason: badReason(err)})
		case err != nil:
			return nil, err
		}
	}
	return skipped, nil
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

// Estimate implements jobs.Estimator: the planner's rows times the table's
// bytes a row.
func (s *Source) Estimate(ctx context.Context, spec jobs.Spec) (int64, bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var rows, width float64
	err := s.read(ctx, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, tables[spec.Kind].estimateSQL()).Scan(&width); err != nil {
			return err
		}
		var plan []byte
		err := tx.QueryRow(ctx, tables[spec.Kind].explainSQL(), spec.Project, spec.From, spec.To).Scan(&plan)
		if err != nil {
			return err
		}
		rows, err = plannedRows(plan)
		return err
	})
	return int64(rows * width), err == nil
}

func plannedRows(explained []byte) (float64, error) {
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := json.Unmarshal(explained, &plans); err != nil || len(plans) == 0 {
		return 0, err
	}
	return plans[0].Plan.Rows, nil
}

func add(p *jobs.Plan, w jobs.Window) {
	p.Windows = append(p.Windows, w)
	p.Rows += w.Rows
	p.Stored += w.Stored
}
