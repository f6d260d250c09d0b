package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Record implements jobs.Journal.
func (s *Store) Record(ctx context.Context, e jobs.AuditEntry) error {
	return classify(audit(ctx, s.pool, e))
}

func audit(ctx context.Context, q querier, e jobs.AuditEntry) error {
	_, err := q.Exec(ctx, `insert into bulkexport.audit (actor, action, project, job_id, detail, remote)
		values ($1, $2, $3, nullif($4, '')::uuid, $5, $6)`, e.Actor, e.Action, e.Project, e.Job, e.Detail, e.Remote)
	return err
}

// Entries implements jobs.Journal.
func (s *Store) Entries(ctx context.Context, q jobs.AuditQuery) ([]jobs.AuditEntry, error) {
	rows, err := s.pool.Query(ctx, `select id, at, actor, action, project, coalesce(job_id::text, ''), detail, remote
		from bulkexport.audit where project = $1 and ($2 = 0 or id < $2) and ($3 = '' or job_id = nullif($3, '')::uuid)
		order by id desc limit $4`, q.Project, q.Before, q.Job, q.Limit)
	if err != nil {
		return nil, classify(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[jobs.AuditEntry])
	return list, classify(err)
}

// by is the line of somebody who did something to a job.
func by(p jobs.Principal, action string, j jobs.Job) jobs.AuditEntry {
	return jobs.AuditEntry{Actor: p.Email, Action: action, Project: j.Project, Job: j.ID, Remote: p.Remote}
}
