package store

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Create implements jobs.Records.
func (s *Store) Create(ctx context.Context, n jobs.NewJob) (c jobs.Created, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, projectLock, n.Project); err != nil {
			return err
		}
		c, err = answer(ctx, tx, n)
		return err
	})
	return c, err
}

// projectLock serialises what makes jobs of a project: a rule about time (joined
// while young) cannot be a unique index.
const projectLock = `select pg_advisory_xact_lock(hashtextextended('bulkexport/project/' || $1, 0))`

// answer finds the job that answers the request already, or inserts it.
func answer(ctx context.Context, tx pgx.Tx, n jobs.NewJob) (jobs.Created, error) {
	id, err := repeated(ctx, tx, n)
	if err != nil {
		return jobs.Created{}, err
	}
	isNew := false
	if id == "" && !n.Fresh {
		id, err = join(ctx, tx, n)
	}
	if err == nil && id == "" {
		id, isNew = n.ID, true
		err = insert(ctx, tx, n)
	}
	if err == nil && n.IdempotencyKey != "" {
		_, err = tx.Exec(ctx, `insert into bulkexport.idempotency_keys (project, person, key, request_hash, job_id)
			values ($1, $2, $3, $4, $5) on conflict do nothing`,
			n.Project, n.RequestedBy, n.IdempotencyKey, n.RequestHash, id)
	}
	if err != nil {
		return jobs.Created{}, err
	}
	j, err := get(ctx, tx, id)
	return jobs.Created{Job: j, New: isNew}, err
}

// repeated returns the job of the same request under the same key, within a day.
func repeated(ctx context.Context, tx pgx.Tx, n jobs.NewJob) (id string, err error) {
	if n.IdempotencyKey == "" {
		return "", nil
	}
	_, err = tx.Exec(ctx, `delete from bulkexport.idempotency_keys
		where project = $1 and person = $2 and key = $3 and created_at < now() - interval '24 hours'`,
		n.Project, n.RequestedBy, n.IdempotencyKey)
	if err != nil {
		return "", err
	}
	var hash []byte
	err = tx.QueryRow(ctx, `select request_hash, job_id::text from bulkexport.idempotency_keys
		where project = $1 and person = $2 and key = $3`, n.Project, n.RequestedBy, n.IdempotencyKey).Scan(&hash, &id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", nil
	case err != nil:
		return "", err
	case !bytes.Equal(hash, n.RequestHash):
		return "", jobs.ErrKeyReused
	}
	return id, nil
}

// identical is the condition for a job, j, to be of the spec at $1 to $5.
const identical = `j.project = $1 and j.kind = $2 and j.from_at is not distinct from $3 and j.to_at is not distinct from $4
	and j.allow_skipped = $5 and j.cancel_requested_at is null`

// young is the condition for its file to be as good as that of a new one.
const young = `(j.state = 'queued' or (j.state = 'running' and j.started_at > now() - interval '10 minutes'))`

// join adds the people of this request to an identical job that waits, or that
// has been running for so short a time that its file is as good as a new one.
func join(ctx context.Context, tx pgx.Tx, n jobs.NewJob) (id string, err error) {
	err = tx.QueryRow(ctx, `
		update bulkexport.jobs set version = version + 1,
			notify = array(select distinct unnest(notify || $6::text[] || $7::text) order by 1)
		where id = (
			select id from bulkexport.jobs j where `+identical+` and `+young+`
			order by created_at, id limit 1 for update)
		returning id::text`,
		n.Project, n.Kind, n.From, n.To, n.AllowSkipped, n.Notify, n.RequestedBy).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return id, audit(ctx, tx, jobs.AuditEntry{Actor: n.RequestedBy, Action: jobs.ActionJoin, Project: n.Project, Job: id, Remote: n.Remote})
}

func insert(ctx context.Context, tx pgx.Tx, n jobs.NewJob) error {
	var waiting int
	err := tx.QueryRow(ctx, `select count(*) from bulkexport.jobs where project = $1 and state = 'queued'`, n.Project).Scan(&waiting)
	if err != nil {
		return err
	}
	if waiting >= n.QueueMax {
		return jobs.ErrQueueFull
	}
	_, err = tx.Exec(ctx, `insert into bulkexport.jobs
		(id, project, kind, from_at, to_at, allow_skipped, requested_by, notify, lane, trace)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, nullif($10, ''))`,
		n.ID, n.Project, n.Kind, n.From, n.To, n.AllowSkipped, n.RequestedBy, n.Notify, n.Lane, n.Trace)
	if err != nil {
		return err
	}
	return audit(ctx, tx, jobs.AuditEntry{Actor: n.RequestedBy, Action: jobs.ActionCreate, Project: n.Project, Job: n.ID, Remote: n.Remote})
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

const attemptsSQL = `select attempt, worker, started_at, ended_at, coalesce(outcome, ''), coalesce(rows_done, 0),
		coalesce(error_code, ''), coalesce(error_message, '')
	from bulkexport.attempts where job_id = $1 order by attempt desc limit $2`

// Get implements jobs.Records. People poll it: both statements go at once.
func (s *Store) Get(ctx context.Context, id string) (j jobs.Job, err error) {
	var b pgx.Batch
	b.Queue(oneJob, id)
	b.Queue(attemptsSQL, id, jobs.AttemptsShown)
	r := s.pool.SendBatch(ctx, &b)
	defer func() { err = errors.Join(err, classify(r.Close())) }()
	rows, err := r.Query()
	if err != nil {
		return j, classify(err)
	}
	if j, err = collectJob(rows); err != nil {
		return j, classify(err)
	}
	if rows, err = r.Query(); err != nil {
		return j, classify(err)
	}
	j.Attempts, err = pgx.CollectRows(rows, pgx.RowToStructByPos[jobs.Attempt])
	slices.Reverse(j.Attempts)
	return j, classify(err)
}

const oneJob = selectJobs + `where j.id = $1`

func get(ctx context.Context, q querier, id string) (jobs.Job, error) {
	rows, err := q.Query(ctx, oneJob, id)
	if err != nil {
		return jobs.Job{}, err
	}
	return collectJob(rows)
}

func collectJob(rows pgx.Rows) (jobs.Job, error) {
	j, err := pgx.CollectExactlyOneRow(rows, scanJob)
	if errors.Is(err, pgx.ErrNoRows) {
		return jobs.Job{}, jobs.ErrNotFound
	}
	return j, err
}

// List implements jobs.Records.
func (s *Store) List(ctx context.Context, q jobs.ListQuery) ([]jobs.Job, error) {
	rows, err := s.pool.Query(ctx, selectJobs+`
		where j.project = $1
		  and case when $2 = '' then true
		      when $2 = 'canceling' then j.state in ('queued', 'running') and j.cancel_requested_at is not null
		      else j.state = $2 and (j.cancel_requested_at is null or j.state not in ('queued', 'running')) end
		  and ($3 = '' or j.id < nullif($3, '')::uuid)
		order by j.id desc limit $4`, q.Project, q.State, q.Before, q.Limit)
	if err != nil {
		return nil, classify(err)
	}
	list, err := pgx.CollectRows(rows, scanJob)
	return list, classify(err)
}

// RequestCancel implements jobs.Records. A queued job has no worker to hear of
// it and ends here; a running one is ended by its worker, or by the pass that
// takes it back.
func (s *Store) RequestCancel(ctx context.Context, id string, p jobs.Principal) (j jobs.Job, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `update bulkexport.jobs set version = version + 1,
				canceled_by = coalesce(canceled_by, $2),
				cancel_requested_at = coalesce(cancel_requested_at, now()),
				state = case when state = 'queued' then 'canceled' else state end,
				finished_at = case when state = 'queued' then now() end
			where id = $1 and state in ('queued', 'running')`, id, p.Email)
		if err != nil {
			return err
		}
		if j, err = get(ctx, tx, id); err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return jobs.ErrFinal
		}
		if err := audit(ctx, tx, by(p, jobs.ActionCancel, j)); err != nil {
			return err
		}
		if j.State == jobs.Canceled {
			return notify(ctx, tx, id)
		}
		return nil
	})
	return j, err
}
