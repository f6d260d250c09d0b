package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Extend implements jobs.Records.
func (s *Store) Extend(ctx context.Context, id string, p jobs.Principal, retention time.Duration, most int) (j jobs.Job, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `update bulkexport.jobs set version = version + 1, extensions = extensions + 1,
				expires_at = greatest(expires_at, now() + $2::interval)
			where id = $1 and state = 'succeeded' and expires_at > now() and extensions < $3`, id, retention, most)
		if err != nil {
			return err
		}
		if j, err = get(ctx, tx, id); err != nil {
			return err
		}
		if tag.RowsAffected() == 1 {
			return audit(ctx, tx, by(p, jobs.ActionExtend, j))
		}
		return notExtended(ctx, tx, j)
	})
	return j, err
}

// notExtended says why a job could not be extended.
func notExtended(ctx context.Context, tx pgx.Tx, j jobs.Job) error {
	if j.State == jobs.Expired {
		return jobs.ErrGone
	}
	if j.State != jobs.Succeeded {
		return jobs.ErrNotReady
	}
	var over bool
	if err := tx.QueryRow(ctx, `select expires_at <= now() from bulkexport.jobs where id = $1`, j.ID).Scan(&over); err != nil {
		return err
	}
	if over {
		return jobs.ErrGone
	}
	return jobs.ErrExtended
}

// Purge implements jobs.Eraser.
func (s *Store) Purge(ctx context.Context, id string, p jobs.Principal) (moved bool, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `update bulkexport.jobs set version = version + 1, state = 'expired', expires_at = now()
			where id = $1 and state = 'succeeded'`, id)
		if err != nil {
			return err
		}
		j, err := get(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case !j.State.Final():
			return jobs.ErrNotOver
		case tag.RowsAffected() == 0:
			return nil // no data is left
		}
		moved = true
		return audit(ctx, tx, by(p, jobs.ActionPurge, j))
	})
	return moved && err == nil, err
}

// PurgeProject implements jobs.Eraser: what waits or runs is canceled, what
// succeeded expires now.
func (s *Store) PurgeProject(ctx context.Context, project string, p jobs.Principal, dry bool) (ids []string, moves []jobs.Move, err error) {
	ids, err = s.strings(ctx, `select id::text from bulkexport.jobs
		where project = $1 and (state in ('queued', 'running', 'succeeded') or`+doomed+`) order by id`, project)
	if err != nil || dry {
		return ids, nil, err
	}
	for _, id := range ids {
		j, err := s.RequestCancel(ctx, id, p)
		if err != nil && !errors.Is(err, jobs.ErrFinal) {
			return ids, moves, err
		}
		if err == nil && j.State == jobs.Canceled {
			moves = append(moves, jobs.Move{Job: id, Kind: j.Kind, Lane: j.Lane, From: jobs.Queued, To: jobs.Canceled, Made: j.CreatedAt, Trace: j.Trace})
		}
	}
	expired, err := s.Expire(ctx, ids)
	moves = append(moves, expired...)
	if err != nil {
		return ids, moves, err
	}
	return ids, moves, s.Record(ctx, jobs.AuditEntry{Actor: p.Email, Action: jobs.ActionPurgeProject, Project: project, Remote: p.Remote})
}
