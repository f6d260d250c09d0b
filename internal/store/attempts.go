package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// fenced ends every write of a worker: no row means that the job has moved on.
const fenced = ` where id = $1 and state = 'running' and attempt = $2 `

// Claim implements jobs.Attempts. The conditions make it a compare-and-set: of
// all workers that hold a ticket of this dispatch, one wins. A ticket that comes
// twice must not cut a back-off short, nor a late one a pause.
func (s *Store) Claim(ctx context.Context, t jobs.Ticket, worker string, lease time.Duration) (c jobs.Claim, ok bool, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `update bulkexport.jobs set version = version + 1,
				state = 'running', phase = 'planning', attempt = attempt + 1, worker = $3,
				lease_until = now() + $4::interval, checkpointed = false, started_at = coalesce(started_at, now()), next_at = null,
				rows_done = 0, rows_total = null, bytes_raw = 0, bytes_stored = 0, rows_per_second = 0, progress_at = now(), moved_at = now()
			where id = $1 and state = 'queued' and dispatch = $2 and (next_at is null or next_at <= now())
				and not exists (select from bulkexport.pauses p where p.project in ('', jobs.project))`, t.Job, t.Dispatch, worker, lease)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		j, err := get(ctx, tx, t.Job)
		if err != nil {
			return err
		}
		c = jobs.Claim{Job: j, Fence: jobs.Fence{Job: j.ID, Attempt: j.Attempt}}
		if c.Resume, err = resume(ctx, tx, j); err != nil {
			return err
		}
		if c.Resume == nil {
			c.Abandoned = j.Upload
		}
		ok = true
		_, err = tx.Exec(ctx, `insert into bulkexport.attempts (job_id, attempt, worker) values ($1, $2, $3)`, j.ID, j.Attempt, worker)
		return err
	})
	return c, ok && err == nil, err
}

// resume adds up the checkpoints of a job's upload; nil if there are none that
// this version understands.
func resume(ctx context.Context, tx pgx.Tx, j jobs.Job) (*jobs.Resume, error) {
	if j.Upload == nil {
		return nil, nil
	}
	rows, err := tx.Query(ctx, `select cut from bulkexport.checkpoints where job_id = $1 and nonce = $2 order by number`, j.ID, j.Upload.Nonce)
	if err != nil {
		return nil, err
	}
	r := &jobs.Resume{Upload: *j.Upload}
	var body []byte
	known := true
	tag, err := pgx.ForEachRow(rows, []any{&body}, func() error {
		var c jobs.Cut
		if err := json.Unmarshal(body, &c); err != nil || c.Version != jobs.CutVersion {
			known = false
			return nil
		}
		c.Parts, c.Skipped = append(r.Cut.Parts, c.Parts...), append(r.Cut.Skipped, c.Skipped...)
		r.Cut = c
		return nil
	})
	if err != nil || !known || tag.RowsAffected() == 0 {
		return nil, err
	}
	return r, nil
}

// Renew implements jobs.Attempts. What an attempt is at is noted when it is first
// seen there, and when anything last moved.
func (s *Store) Renew(ctx context.Context, f jobs.Fence, b jobs.Beat) (cancel bool, err error) {
	p := b.Progress
	err = s.pool.QueryRow(ctx, `with beat as (update bulkexport.jobs set version = version + 1,
			lease_until = case when $3::interval > interval '0' then now() + $3::interval else lease_until end,
			moved_at = case when (phase, rows_done, rows_total, bytes_raw, bytes_stored) is distinct from ($4, $5, $6, $7, $8) then now() else moved_at end,
			phase = $4, rows_done = $5, rows_total = $6, bytes_raw = $7, bytes_stored = $8, rows_per_second = $9, progress_at = now()`+
		fenced+`returning cancel_requested_at is not null as cancel),
		noted as (insert into bulkexport.phases (job_id, attempt, phase) select $1, $2, $4 from beat on conflict do nothing)
		select cancel from beat`, f.Job, f.Attempt, b.Lease, b.Phase, p.Rows, p.RowsTotal, p.BytesRaw, p.BytesStored, p.RowsPerSecond).Scan(&cancel)
	return cancel, fence(err)
}

// fence turns "no row" into jobs.ErrFenced.
func fence(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return jobs.ErrFenced
	}
	return classify(err)
}

// BeginUpload implements jobs.Attempts. Checkpoints of an earlier upload mean
// nothing for this one.
func (s *Store) BeginUpload(ctx context.Context, f jobs.Fence, u jobs.Upload) error {
	return s.in(ctx, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `update bulkexport.jobs set version = version + 1, upload_nonce = $3, upload_key = $4, upload_id = nullif($5, '')`+
			fenced+`returning id::text`, f.Job, f.Attempt, u.Nonce, u.Key, u.ID).Scan(new(string))
		if err != nil {
			return fence(err)
		}
		_, err = tx.Exec(ctx, `delete from bulkexport.checkpoints where job_id = $1 and nonce <> $2`, f.Job, u.Nonce)
		return err
	})
}

// Commit implements jobs.Attempts.
func (s *Store) Commit(ctx context.Context, f jobs.Fence, c jobs.Cut) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode checkpoint: %w", err)
	}
	return s.in(ctx, func(tx pgx.Tx) error {
		var nonce string
		err := tx.QueryRow(ctx, `update bulkexport.jobs set version = version + 1, failures = 0, checkpointed = true`+
			fenced+`returning upload_nonce`, f.Job, f.Attempt).Scan(&nonce)
		if err != nil {
			return fence(err)
		}
		_, err = tx.Exec(ctx, `insert into bulkexport.checkpoints (job_id, nonce, number, attempt, final, cut)
			select $1, $2, 1 + coalesce(max(number), 0), $3, $4, $5
			from bulkexport.checkpoints where job_id = $1 and nonce = $2`, f.Job, nonce, f.Attempt, c.Final, body)
		return err
	})
}

// End implements jobs.Attempts.
func (s *Store) End(ctx context.Context, f jobs.Fence, e jobs.Ending) (state jobs.State, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		if state, err = closeRow(ctx, tx, f, e); err != nil {
			return err
		}
		var code, message *string
		if e.Failure != nil {
			code, message = &e.Failure.Code, &e.Failure.Message
		}
		_, err = tx.Exec(ctx, `update bulkexport.attempts set ended_at = now(), outcome = $3, rows_done = $4, bytes_raw = $5,
				error_code = $6, error_message = $7 where job_id = $1 and attempt = $2`,
			f.Job, f.Attempt, e.Outcome(state), e.Progress.Rows, e.Progress.BytesRaw, code, message)
		if err != nil {
			return err
		}
		return notify(ctx, tx, f.Job)
	})
	return state, err
}

// closeRow is the one compare-and-set that decides between an end, a cancel
// and a worker that was given up.
func closeRow(ctx context.Context, tx pgx.Tx, f jobs.Fence, e jobs.Ending) (jobs.State, error) {
	var failures int
	var canceled bool
	err := tx.QueryRow(ctx, `select failures, cancel_requested_at is not null from bulkexport.jobs`+fenced+`for update`,
		f.Job, f.Attempt).Scan(&failures, &canceled)
	if err != nil {
		return "", fence(err)
	}
	s, err := e.Settle(failures, canceled)
	if err != nil {
		return "", err
	}
	r, fail := e.Result, e.Failure
	if r == nil {
		r = &jobs.Result{Rows: e.Progress.Rows, BytesRaw: e.Progress.BytesRaw, Bytes: e.Progress.BytesStored}
	}
	if fail == nil || s.State != jobs.Failed {
		fail = &jobs.Failure{}
	}
	_, err = tx.Exec(ctx, `update bulkexport.jobs set version = version + 1, worker = null, lease_until = null,
			state = $3, failures = $4,
			phase = case when $3 <> 'queued' then phase when $5::interval > interval '0' then 'retrying' else 'waiting' end,
			dispatched_at = case when $3 <> 'queued' then dispatched_at end,
			next_at = case when $5::interval > interval '0' then now() + $5::interval end,
			finished_at = case when $3 <> 'queued' then now() end,
			expires_at = case when $3 = 'succeeded' then now() + $6::interval end,
			rows_done = $7, bytes_raw = $8, bytes_stored = $9, filename = nullif($10, ''), sha256 = nullif($11, ''),
			sha256_raw = nullif($12, ''), contexts_cut = $13, progress_at = now(), rows_total = $17, rows_per_second = $18,
			skipped = $19, skipped_rows = coalesce($20::jsonb, '[]'), deleted = $21, appeared = $22,
			error_code = nullif($14, ''), error_message = nullif($15, ''), error_retryable = case when $14 <> '' then $16::boolean end`+
		fenced,
		f.Job, f.Attempt, s.State, s.Failures, s.Delay, e.Retention, r.Rows, r.BytesRaw, r.Bytes,
		r.Filename, r.SHA256, r.SHA256Raw, r.ContextsCut, fail.Code, fail.Message, fail.Retryable,
		e.Progress.RowsTotal, e.Progress.RowsPerSecond, r.Skipped, r.SkippedRows, r.Deleted, r.Appeared)
	return s.State, err
}
