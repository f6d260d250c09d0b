package platform

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

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
			w.To = id
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
// sent it. The next row is not asked for until f returns.
func (s *Source) Read(ctx context.Context, spec jobs.Spec, w jobs.Window, f func(jobs.Row) error) error {
	formats := resultFormats(spec.Kind)
	return s.read(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, tables[spec.Kind].windowSQL(), formats, spec.Project, spec.From, spec.To, w.After, w.To)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := f(rows.RawValues()); err != nil {
				return err
			}
		}
		return rows.Err()
	})
}

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
