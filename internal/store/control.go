package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Hasten implements jobs.Control.
func (s *Store) Hasten(ctx context.Context, id string, p jobs.Principal) error {
	return s.queued(ctx, id, p, jobs.ActionRetry, `update bulkexport.jobs set version = version + 1, next_at = null, phase = 'waiting'
		where id = $1 and state = 'queued'`)
}

// MoveAhead implements jobs.Control. Of those that were moved, the turns decide.
func (s *Store) MoveAhead(ctx context.Context, id string, p jobs.Principal) error {
	return s.queued(ctx, id, p, jobs.ActionMoveAhead, `update bulkexport.jobs set version = version + 1, priority = 1
		where id = $1 and state = 'queued'`)
}

// queued changes a job that waits, and notes who did it.
func (s *Store) queued(ctx context.Context, id string, p jobs.Principal, action, sql string) error {
	return s.in(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sql, id)
		if err != nil {
			return err
		}
		j, err := get(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case tag.RowsAffected() == 0:
			return jobs.ErrFinal
		}
		return audit(ctx, tx, by(p, action, j))
	})
}

// Rerun implements jobs.Control. It serialises on the project, as a request does.
func (s *Store) Rerun(ctx context.Context, id, fresh string, p jobs.Principal) (made string, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		j, err := get(ctx, tx, id)
		if err != nil {
			return err
		}
		if !j.State.Final() {
			return jobs.ErrNotOver
		}
		if _, err := tx.Exec(ctx, projectLock, j.Project); err != nil {
			return err
		}
		made, err = identicalTo(ctx, tx, j.Spec)
		if err != nil || made != "" {
			return err
		}
		_, err = tx.Exec(ctx, `insert into bulkexport.jobs (id, project, kind, from_at, to_at, allow_skipped, requested_by, notify, lane)
			select $2, project, kind, from_at, to_at, allow_skipped, requested_by, notify, lane from bulkexport.jobs where id = $1`, id, fresh)
		if err != nil {
			return err
		}
		made = fresh
		e := by(p, jobs.ActionRetry, j)
		e.Job, e.Detail = fresh, id
		return audit(ctx, tx, e)
	})
	return made, err
}

// identicalTo is a young job of the spec; empty if there is none.
func identicalTo(ctx context.Context, tx pgx.Tx, s jobs.Spec) (id string, err error) {
	err = tx.QueryRow(ctx, `select id::text from bulkexport.jobs j where `+identical+` and `+young+` order by created_at, id limit 1`,
		s.Project, s.Kind, s.From, s.To, s.AllowSkipped).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return id, err
}

// Pause implements jobs.Control.
func (s *Store) Pause(ctx context.Context, project string, p jobs.Principal) error {
	return s.said(ctx, project, p, jobs.ActionPause,
		`insert into bulkexport.pauses (project, paused_by) values ($1, $2) on conflict do nothing`, project, p.Email)
}

// Resume implements jobs.Control.
func (s *Store) Resume(ctx context.Context, project string, p jobs.Principal) error {
	return s.said(ctx, project, p, jobs.ActionResume, `delete from bulkexport.pauses where project = $1`, project)
}

// said changes a pause between two dispatch passes, and notes who did it; what
// changes nothing is not noted. Those who look at a job see that it has changed.
func (s *Store) said(ctx context.Context, project string, p jobs.Principal, action, sql string, args ...any) error {
	return s.in(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, dispatchLock); err != nil {
			return err
		}
		tag, err := tx.Exec(ctx, sql, args...)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		if _, err := tx.Exec(ctx, `update bulkexport.jobs set version = version + 1 where state = 'queued' and $1 in ('', project)`, project); err != nil {
			return err
		}
		return audit(ctx, tx, jobs.AuditEntry{Actor: p.Email, Action: action, Project: project, Remote: p.Remote})
	})
}
