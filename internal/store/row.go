package store

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// columns of a job as scanJob reads them, of a row named j. The position counts
// the queued jobs of the lane that are older; it is null unless queued.
const columns = `j.id::text, j.project, j.kind, j.from_at, j.to_at, j.allow_skipped, j.requested_by, j.created_at,
	j.state, j.phase, j.lane, j.version, j.attempt, j.failures, j.dispatch, j.next_at, j.started_at, j.finished_at,
	j.cancel_requested_at, j.rows_done, j.rows_total, j.bytes_raw, j.bytes_stored, j.rows_per_second, j.progress_at,
	j.upload_nonce, j.upload_key, coalesce(j.upload_id, ''), j.filename, j.sha256, j.sha256_raw, j.contexts_cut,
	j.skipped, j.skipped_rows, j.deleted, j.appeared,
	j.expires_at, j.error_code, j.error_message, j.error_retryable,
	case when j.state = 'queued' then 1 + (select count(*) from bulkexport.jobs q
		where q.state = 'queued' and q.lane = j.lane and (q.created_at, q.id) < (j.created_at, j.id)) end`

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
	err := row.Scan(&j.ID, &j.Project, &j.Kind, &from, &to, &j.AllowSkipped, &j.RequestedBy, &j.CreatedAt,
		&j.State, &j.Phase, &j.Lane, &j.Version, &j.Attempt, &j.Failures, &j.Dispatch, &next, &started, &finished,
		&canceled, &j.Progress.Rows, &j.Progress.RowsTotal, &j.Progress.BytesRaw, &j.Progress.BytesStored,
		&j.Progress.RowsPerSecond, &progress, &nonce, &key, &uploadID, &filename, &sha, &shaRaw, &result.ContextsCut,
		&result.Skipped, &result.SkippedRows, &result.Deleted, &result.Appeared,
		&ex, &code, &message, &retryable, &j.QueuePosition)
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
