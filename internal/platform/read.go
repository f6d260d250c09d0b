package platform

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// A window ends at windowStored stored bytes or at windowRows rows: small enough
// for short transactions, large enough that their overhead does not count. A
// row that would make it larger than windowMost has one of its own.
const (
	windowStored = 1 << 20
	windowMost   = 4 << 20
	windowRows   = 5000
)

// Plan looks at the id and stored size of every row in the range, once and in
// one snapshot, and cuts the ids into windows. It reads no large value.
func (s *Source) Plan(ctx context.Context, spec jobs.Spec, in jobs.Range) (p jobs.Plan, err error) {
	err = s.read(ctx, func(tx pgx.Tx) error {
		p = jobs.Plan{}
		m := &p.Membership
		if err := tx.QueryRow(ctx, tables[spec.Kind].membershipSQL()).Scan(&m.At, &m.OpenWriters); err != nil {
			return err
		}
		sql, args := tables[spec.Kind].planSQL(), []any{spec.Project, spec.From, spec.To}
		if in != jobs.All {
			sql, args = tables[spec.Kind].restSQL(), append(args, in.After, in.To)
		}
		rows, err := tx.Query(ctx, sql, args...)
		if err != nil {
			return err
		}
		var id int64
		var size *int64
		var w windows
		_, err = pgx.ForEachRow(rows, []any{&id, &size}, func() error {
			if size == nil {
				size = new(int64)
			}
			w.add(id, *size)
			return nil
		})
		p.Windows, p.Rows, p.Stored, m.HighWater = w.end()
		return err
	})
	return p, err
}

// windows cuts a plan's rows, which come in the order of their ids.
type windows struct {
	list         []jobs.Window
	cur          jobs.Window
	rows, stored int64
}

func (w *windows) add(id, stored int64) {
	if w.rows == 0 {
		w.cur.After = id - 1
	}
	if w.cur.Rows > 0 && w.cur.Stored+stored > windowMost {
		w.close()
	}
	w.cur.To = id
	w.cur.Rows++
	w.cur.Stored += stored
	w.rows++
	w.stored += stored
	if w.cur.Stored >= windowStored || w.cur.Rows >= windowRows {
		w.close()
	}
}

func (w *windows) close() {
	w.list = append(w.list, w.cur)
	w.cur = jobs.Window{After: w.cur.To}
}

// end returns the windows, their rows and stored bytes, and the highest id.
func (w *windows) end() (list []jobs.Window, rows, stored, highest int64) {
	if w.cur.Rows > 0 {
		w.close()
	}
	return w.list, w.rows, w.stored, w.cur.After
}
