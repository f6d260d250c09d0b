package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// pruneSessions is how many sessions that are over one commit removes.
const pruneSessions = 100

// FindSession returns the data of a session; false if there is none or it is over.
func (s *Store) FindSession(ctx context.Context, id string) (data []byte, found bool, err error) {
	err = s.pool.QueryRow(ctx, `select data from bulkexport.sessions where id = $1 and expires_at > now()`, id).Scan(&data)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, nil
	}
	return data, err == nil, classify(err)
}

// CommitSession keeps a session for ttl from now on. The subject is empty before
// the sign-in, the sid also where the provider tells none. Some of the sessions
// that are over are removed on the way.
func (s *Store) CommitSession(ctx context.Context, id string, data []byte, subject, sid string, ttl time.Duration) error {
	_, err := s.pool.Exec(ctx, `with over as (
			select id from bulkexport.sessions where expires_at <= now() and id <> $1
			order by expires_at limit $6 for update skip locked
		), pruned as (delete from bulkexport.sessions where id in (select id from over))
		insert into bulkexport.sessions (id, data, subject, sid, expires_at)
		values ($1, $2, nullif($3, ''), nullif($4, ''), now() + $5::interval)
		on conflict (id) do update set data = excluded.data, subject = excluded.subject, sid = excluded.sid, expires_at = excluded.expires_at`,
		id, data, subject, sid, ttl, pruneSessions)
	return classify(err)
}

// DeleteSession ends a session; one that is not there is no error.
func (s *Store) DeleteSession(ctx context.Context, id string) error {
	_, err := s.pool.Exec(ctx, `delete from bulkexport.sessions where id = $1`, id)
	return classify(err)
}

// EndSessions ends those that hang on the provider's session sid, or without
// one, all of the subject. A session whose sid was never told counts as meant.
func (s *Store) EndSessions(ctx context.Context, subject, sid string) (ended int64, err error) {
	sql, args := `delete from bulkexport.sessions where subject = $1`, []any{subject}
	if sid != "" {
		sql += ` and sid is null or sid = $2 and (subject = $1 or $1 = '')`
		args = append(args, sid)
	}
	tag, err := s.pool.Exec(ctx, sql, args...)
	return tag.RowsAffected(), classify(err)
}
