package store

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Jobs implements jobs.Overview.
func (s *Store) Jobs(ctx context.Context, ids []string) ([]jobs.Job, error) {
	rows, err := s.pool.Query(ctx, selectJobs+`where j.id = any($1::uuid[])`, ids)
	if err != nil {
		return nil, classify(err)
	}
	list, err := pgx.CollectRows(rows, scanJob)
	return list, classify(err)
}

// Twin implements jobs.Overview.
func (s *Store) Twin(ctx context.Context, spec jobs.Spec) (*jobs.Job, error) {
	rows, err := s.pool.Query(ctx, selectJobs+`where `+identical+` and (`+young+`
			or (j.state = 'succeeded' and j.expires_at > now()))
		order by j.id desc limit 1`, spec.Project, spec.Kind, spec.From, spec.To, spec.AllowSkipped)
	if err != nil {
		return nil, classify(err)
	}
	j, err := pgx.CollectExactlyOneRow(rows, scanJob)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &j, classify(err)
}

// yardsticks are how many exports the average of all projects is of.
const yardsticks = 20

// Yardstick implements jobs.Overview. Small exports say nothing about the rate.
func (s *Store) Yardstick(ctx context.Context, project string, k jobs.Kind) (y jobs.Yardstick, err error) {
	err = s.pool.QueryRow(ctx, `with recent as (
			(select true as own, rows_done, bytes_raw, bytes_stored, started_at, finished_at from bulkexport.jobs
				where project = $1 and kind = $2 and sha256 is not null and rows_done > 0 order by id desc limit 1)
			union all
			(select false, rows_done, bytes_raw, bytes_stored, started_at, finished_at from bulkexport.jobs
				where kind = $2 and sha256 is not null and rows_done > 0 order by finished_at desc limit $3)
		), sized as (select * from recent where own = (select bool_or(own) from recent))
		select coalesce(sum(bytes_raw) / sum(rows_done), 0)::float8, coalesce(sum(bytes_stored) / sum(rows_done), 0)::float8,
			coalesce((select sum(bytes_raw) / nullif(sum(extract(epoch from finished_at - started_at)), 0)
				from recent where bytes_raw > 50e6), 0)::float8
		from sized`, project, k, yardsticks).Scan(&y.RawPerRow, &y.FilePerRow, &y.RawPerSecond)
	return y, classify(err)
}

// Parts implements jobs.Overview.
func (s *Store) Parts(ctx context.Context, job, nonce string) ([]jobs.Part, error) {
	rows, err := s.pool.Query(ctx, `select cut -> 'parts' from bulkexport.checkpoints
		where job_id = $1 and nonce = $2 order by number`, job, nonce)
	if err != nil {
		return nil, classify(err)
	}
	cuts, err := pgx.CollectRows(rows, pgx.RowTo[[]jobs.Part])
	return slices.Concat(cuts...), classify(err)
}
