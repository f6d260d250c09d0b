package platform

import (
	"context"
	"encoding/json"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// estimateLimit is how long an estimate may take.
const estimateLimit = time.Second

// Estimate implements jobs.Surveyor: the planner's rows, and for each of them
// the table's bytes a row.
func (s *Source) Estimate(ctx context.Context, spec jobs.Spec) (jobs.Size, bool) {
	ctx, cancel := context.WithTimeout(ctx, estimateLimit)
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
	return jobs.Size{Rows: int64(rows), Stored: int64(rows * width)}, err == nil
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

// survey reads like read, for what may look at a whole project while a person
// waits. Half of the connections at most do so: who else needs one, to look up
// a key, must not wait behind it.
func (s *Source) survey(ctx context.Context, f func(pgx.Tx) error) error {
	select {
	case s.surveys <- struct{}{}:
		defer func() { <-s.surveys }()
	case <-ctx.Done():
		return classify(ctx.Err())
	}
	return s.read(ctx, f)
}

// Measure implements jobs.Surveyor.
func (s *Source) Measure(ctx context.Context, spec jobs.Spec) (size jobs.Size, err error) {
	err = s.survey(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, tables[spec.Kind].measureSQL(), spec.Project, spec.From, spec.To).Scan(&size.Rows, &size.Stored)
	})
	return size, err
}

// What a sample shows of long text and of the large value, in characters. A
// value that takes more bytes than sampleStored, as stored, is not read.
const (
	sampleText   = 300
	sampleLarge  = 600
	sampleStored = windowStored
)

// Samples implements jobs.Surveyor: the first row, the last, and others evenly
// between them. A row that cannot be read is left out.
func (s *Source) Samples(ctx context.Context, spec jobs.Spec, n int) ([]json.RawMessage, error) {
	at := make([]float64, n)
	for i := range at {
		at[i] = float64(i) / float64(max(1, n-1))
	}
	samples := []json.RawMessage{}
	err := s.survey(ctx, func(tx pgx.Tx) error {
		var ids []int64
		err := tx.QueryRow(ctx, tables[spec.Kind].spreadSQL(), spec.Project, spec.From, spec.To, at).Scan(&ids)
		if err != nil {
			return err
		}
		for _, id := range slices.Compact(ids) {
			row, err := sample(ctx, tx, spec, id)
			switch {
			case badRow(err):
			case err != nil:
				return err
			default:
				samples = append(samples, row)
			}
		}
		return nil
	})
	return samples, err
}

// sample reads a row below a savepoint, to which a damaged one falls back.
func sample(ctx context.Context, tx pgx.Tx, spec jobs.Spec, id int64) (row json.RawMessage, err error) {
	columns := spec.Kind.Columns()
	values, into := make([]*string, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	w := jobs.Window{After: id - 1, To: id, Rows: 1}
	sql := tables[spec.Kind].in(w).sampleSQL()
	err = pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, sql, spec.Project, spec.From, spec.To, w.After, w.To,
			sampleText+1, sampleLarge+1, sampleStored).Scan(into...)
	})
	if err != nil {
		return nil, err
	}
	return sampleJSON(columns, values)
}

// sampleJSON makes an object of a row's values as text. The last one is the
// large one, and stays text; so does what was cut.
func sampleJSON(columns []jobs.Column, values []*string) (json.RawMessage, error) {
	b := []byte{'{'}
	for i, c := range columns {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `"`+c.Name+`":`...)
		last := i == len(columns)-1
		limit := sampleText
		if last {
			limit = sampleLarge
		}
		v, err := sampleValue(c.Type, values[i], limit, last)
		if err != nil {
			return nil, err
		}
		b = append(b, v...)
	}
	return append(b, '}'), nil
}

func sampleValue(t jobs.ColumnType, v *string, limit int, asText bool) ([]byte, error) {
	if v == nil {
		return []byte("null"), nil
	}
	if utf8.RuneCountInString(*v) > limit {
		return json.Marshal(string([]rune(*v)[:limit]) + "…")
	}
	if t == jobs.Int || t == jobs.JSON && !asText {
		return []byte(*v), nil
	}
	return json.Marshal(*v)
}
