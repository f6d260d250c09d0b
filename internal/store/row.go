package store

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// selectJobs reads rows named j as scanJob wants them; a condition follows. The
// ranking is only made if one of the rows is queued.
const selectJobs = `with place as materialized (` + placeSQL + `)
	select ` + columns + ` from bulkexport.jobs j `

// placeSQL ranks what waits in each lane in the order of dispatchSQL: what was
// dispatched just now, then what an operator moved ahead, then by turn of each
// project, the project first that was served longest ago. A back-off or a pause
// does not change the place.
const placeSQL = `
	with open as (
		select id, lane, project, created_at, priority, state = 'queued' as waits,
			state = 'running' or coalesce(dispatched_at > now() - interval '10 seconds', false) as busy
		from bulkexport.jobs where state in ('queued', 'running')
	), turns as (
		select *, case when not busy then row_number() over (partition by lane, project collate "C" order by not busy, priority desc, created_at, id) else 0 end as turn
		from open
	), served as materialized (
		select lane, project, (select max(dispatched_at) from bulkexport.jobs h
			where h.lane = p.lane and h.project = p.project and h.dispatched_at is not null) as at
		from (select distinct lane, project from open) p
	)
	select id, row_number() over (partition by lane order by turn > 0, priority desc, turn, served.at nulls first, created_at, id) as place
	from turns join served using (lane, project) where waits`

// columns of a job. The place is null unless it is queued.
const columns = `j.id::text, j.project, j.kind, j.from_at, j.to_at, j.allow_skipped, j.requested_by, coalesce(j.trace, ''), j.created_at,
	j.state, j.phase, j.lane, j.version, j.attempt, j.failures, j.dispatch, j.next_at, j.started_at, j.finished_at,
	j.cancel_requested_at, j.rows_done, j.rows_total, j.bytes_raw, j.bytes_stored, j.rows_per_second, j.progress_at,
	j.upload_nonce, j.upload_key, coalesce(j.upload_id, ''), j.filename, j.sha256, j.sha256_raw, j.contexts_cut,
	j.skipped, j.skipped_rows, j.deleted, j.appeared,
	j.expires_at, j.error_code, j.error_message, j.error_retryable, j.priority > 0,
	j.state = 'queued' and exists (select from bulkexport.pauses p where p.project in ('', j.project)),
	case when j.state = 'queued' then (select place from place where place.id = j.id) end`

func scanJob(row pgx.CollectableRow) (jobs.Job, error) {
	var (
		j                            jobs.Job
		nonce, key                   *string
		uploadID                     string
		filename, sha, shaRaw        *string
		result                       jobs.Result
		code, message                *string
		retryable                    *bool
		from, to, started, finished  *time.Time
		next, canceled, progress, ex *time.Time
	)
	err := row.Scan(&j.ID, &j.Project, &j.Kind, &from, &to, &j.AllowSkipped, &j.RequestedBy, &j.Trace, &j.CreatedAt,
		&j.State, &j.Phase, &j.Lane, &j.Version, &j.Attempt, &j.Failures, &j.Dispatch, &next, &started, &finished,
		&canceled, &j.Progress.Rows, &j.Progress.RowsTotal, &j.Progress.BytesRaw, &j.Progress.BytesStored,
		&j.Progress.RowsPerSecond, &progress, &nonce, &key, &uploadID, &filename, &sha, &shaRaw, &result.ContextsCut,
		&result.Skipped, &result.SkippedRows, &result.Deleted, &result.Appeared,
		&ex, &code, &message, &retryable, &j.Ahead, &j.Paused, &j.QueuePosition)
	if err != nil {
		return jobs.Job{}, err
	}
	for _, t := range []struct{ dst, src **time.Time }{
		{&j.From, &from}, {&j.To, &to}, {&j.StartedAt, &started}, {&j.FinishedAt, &finished}, {&j.ExpiresAt, &ex},
		{&j.NextAt, &next}, {&j.CancelRequestedAt, &canceled}, {&j.Progress.UpdatedAt, &progress},
	} {
		*t.dst = utc(*t.src)
	}
	j.CreatedAt = j.CreatedAt.UTC()
	if key != nil {
		j.Upload = &jobs.Upload{Nonce: *nonce, Key: *key, ID: uploadID}
	}
	if sha != nil {
		result.Filename, result.SHA256, result.SHA256Raw = *filename, *sha, *shaRaw
		result.Rows, result.Bytes, result.BytesRaw = j.Progress.Rows, j.Progress.BytesStored, j.Progress.BytesRaw
		j.Result = &result
	}
	if code != nil {
		j.Failure = &jobs.Failure{Code: *code, Message: *message, Retryable: *retryable}
	}
	return j, nil
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
