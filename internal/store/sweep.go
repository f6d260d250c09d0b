package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Turn implements jobs.Ledger: a lock of the session, gone with its connection.
func (s *Store) Turn(ctx context.Context, f func(context.Context) error) (mine bool, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, classify(err)
	}
	defer conn.Release()
	const lock = `hashtextextended('bulkexport/sweep', 0)`
	if err := conn.QueryRow(ctx, `select pg_try_advisory_lock(`+lock+`)`).Scan(&mine); err != nil || !mine {
		return false, classify(err)
	}
	err = f(ctx)
	if _, unlock := conn.Exec(context.WithoutCancel(ctx), `select pg_advisory_unlock(`+lock+`)`); unlock != nil {
		err = errors.Join(err, classify(unlock), conn.Conn().Close(ctx))
	}
	return true, err
}

// Overdue implements jobs.Ledger.
func (s *Store) Overdue(ctx context.Context, n int) ([]string, error) {
	return s.strings(ctx, `select id::text from bulkexport.jobs
		where state = 'succeeded' and expires_at <= now() order by expires_at limit $1`, n)
}

// Expire implements jobs.Ledger.
func (s *Store) Expire(ctx context.Context, ids []string) ([]jobs.Move, error) {
	rows, err := s.pool.Query(ctx, `update bulkexport.jobs set version = version + 1, state = 'expired', expires_at = least(expires_at, now())
		where id = any($1::uuid[]) and state = 'succeeded' returning id::text, kind, lane`, ids)
	if err != nil {
		return nil, classify(err)
	}
	moves, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (jobs.Move, error) {
		m := jobs.Move{From: jobs.Succeeded, To: jobs.Expired}
		return m, row.Scan(&m.Job, &m.Kind, &m.Lane)
	})
	return moves, classify(err)
}

// doomed are rows whose data is to go; an index has them.
const doomed = ` state in ('failed', 'canceled', 'expired') and upload_key is not null and data_deleted_at is null `

// Doomed implements jobs.Ledger.
func (s *Store) Doomed(ctx context.Context, n int) ([]jobs.Doomed, error) {
	rows, err := s.pool.Query(ctx, `select id::text, upload_nonce, upload_key, coalesce(upload_id, ''), bytes_stored from bulkexport.jobs
		where`+doomed+`order by id limit $1`, n)
	if err != nil {
		return nil, classify(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d jobs.Doomed, err error) {
		return d, row.Scan(&d.Job, &d.Nonce, &d.Key, &d.ID, &d.Bytes)
	})
	return list, classify(err)
}

// Deleted implements jobs.Ledger.
func (s *Store) Deleted(ctx context.Context, id string) error {
	return s.in(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `update bulkexport.jobs set data_deleted_at = now() where id = $1 and`+doomed, id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `delete from bulkexport.checkpoints where job_id = $1`, id)
		return err
	})
}

// Prune implements jobs.Ledger.
func (s *Store) Prune(ctx context.Context, keep jobs.Keep, dry bool) (p jobs.Pruned, err error) {
	for _, old := range []struct {
		count *int64
		from  string
		args  []any
	}{
		{&p.Jobs, `bulkexport.jobs where state in ('failed', 'canceled', 'expired') and finished_at < now() - $1::interval
			and (upload_key is null or data_deleted_at is not null)`, []any{keep.Jobs}},
		{&p.Audit, `bulkexport.audit where at < now() - greatest($1::interval, interval '30 days')`, []any{keep.Audit}},
		{&p.Keys, `bulkexport.idempotency_keys where created_at < now() - interval '24 hours'`, nil},
		{&p.Workers, `bulkexport.workers where seen_at < now() - interval '24 hours'`, nil},
	} {
		if dry {
			err = s.pool.QueryRow(ctx, `select count(*) from `+old.from, old.args...).Scan(old.count)
		} else {
			tag, e := s.pool.Exec(ctx, `delete from `+old.from, old.args...)
			*old.count, err = tag.RowsAffected(), e
		}
		if err != nil {
			return p, classify(err)
		}
	}
	return p, nil
}

// Installation implements jobs.Holdings.
func (s *Store) Installation(ctx context.Context, every time.Duration) (id string, due bool, err error) {
	err = s.pool.QueryRow(ctx, `with due as (
			update bulkexport.installation set orphans_at = now()
			where orphans_at is null or orphans_at <= now() - $1::interval returning 1)
		select id::text, exists (select from due) from bulkexport.installation`, every).Scan(&id, &due)
	return id, due, classify(err)
}

// Looked implements jobs.Holdings.
func (s *Store) Looked(ctx context.Context, found, left int) error {
	_, err := s.pool.Exec(ctx, `update bulkexport.installation set orphans_found = $1, orphans_left = $2`, found, left)
	return classify(err)
}

// Named implements jobs.Holdings.
func (s *Store) Named(ctx context.Context, uploads []jobs.UploadName) (map[jobs.UploadName]bool, error) {
	ids := make([]string, len(uploads))
	for i, u := range uploads {
		ids[i] = u.Job
	}
	rows, err := s.pool.Query(ctx, `select id::text, upload_nonce from bulkexport.jobs
		where id::text = any($1) and state in ('queued', 'running', 'succeeded') and upload_nonce is not null`, ids)
	if err != nil {
		return nil, classify(err)
	}
	named := make(map[jobs.UploadName]bool)
	var u jobs.UploadName
	_, err = pgx.ForEachRow(rows, []any{&u.Job, &u.Nonce}, func() error {
		named[u] = true
		return nil
	})
	return named, classify(err)
}

// Projects implements jobs.Holdings.
func (s *Store) Projects(ctx context.Context) ([]string, error) {
	return s.strings(ctx, `select distinct project from bulkexport.jobs where state in ('queued', 'running', 'succeeded')`)
}

// Absent implements jobs.Holdings.
func (s *Store) Absent(ctx context.Context, projects []string, since time.Duration) (long []string, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from bulkexport.absent_projects where project <> all($1)`, projects); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `insert into bulkexport.absent_projects (project) select unnest($1::text[]) on conflict do nothing`, projects); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select project from bulkexport.absent_projects where since <= now() - $1::interval order by 1`, since)
		if err != nil {
			return err
		}
		long, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return long, err
}

// Swept implements jobs.Holdings.
func (s *Store) Swept(ctx context.Context, w jobs.Swept) error {
	_, err := s.pool.Exec(ctx, `update bulkexport.installation set swept_at = now(), swept = case when $1::int + $2::int + $3::bigint + $4::int = 0 then swept
		else jsonb_build_object('at', now(), 'expired', $1::int, 'deleted', $2::int, 'freed', $3::bigint, 'orphans', $4::int) end`,
		w.Expired, w.Deleted, w.Freed, w.Orphans)
	return classify(err)
}

func (s *Store) strings(ctx context.Context, sql string, args ...any) ([]string, error) {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, classify(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return list, classify(err)
}
