package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// notify puts a letter to everyone who waits for a job that has just ended into
// the outbox, and an announcement of an export of everything: one a person and
// outcome.
func notify(ctx context.Context, q querier, id string) error {
	_, err := q.Exec(ctx, `insert into bulkexport.outbox (job_id, recipient, outcome)
		select j.id, r, case j.state when 'succeeded' then 'ready' else j.state end
		from bulkexport.jobs j, unnest(j.notify || j.requested_by) r
		where j.id = $1 and j.state in ('succeeded', 'failed', 'canceled')
		union all
		select j.id, '', 'announced' from bulkexport.jobs j
		where j.id = $1 and j.state = 'succeeded' and j.from_at is null and j.to_at is null
		on conflict do nothing`, id)
	return err
}

const selectLetters = `select o.id, o.job_id::text, o.recipient, o.outcome, o.state, o.tries, o.unsure, o.edition,
	coalesce(o.last_error, ''), o.asked_at, o.due_at, o.sent_at from bulkexport.outbox o `

func scanLetter(row pgx.CollectableRow) (l jobs.Letter, err error) {
	err = row.Scan(&l.ID, &l.Job, &l.Recipient, &l.Outcome, &l.State, &l.Tries, &l.Unsure, &l.Edition, &l.Code, &l.AskedAt, &l.DueAt, &l.SentAt)
	return l, err
}

// Letters implements jobs.Letters.
func (s *Store) Letters(ctx context.Context, job string) ([]jobs.Letter, error) {
	rows, err := s.pool.Query(ctx, selectLetters+`where o.job_id = $1 and o.recipient <> '' order by o.id`, job)
	if err != nil {
		return nil, classify(err)
	}
	list, err := pgx.CollectRows(rows, scanLetter)
	return list, classify(err)
}

// Resend implements jobs.Letters.
func (s *Store) Resend(ctx context.Context, job string, letter int64, p jobs.Principal) error {
	return s.in(ctx, func(tx pgx.Tx) error {
		j, err := get(ctx, tx, job)
		if err != nil {
			return err
		}
		var due bool
		err = tx.QueryRow(ctx, `select state = 'due' from bulkexport.outbox where id = $1 and job_id = $2 and recipient <> '' for update`, letter, job).Scan(&due)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return jobs.ErrNotFound
		case err != nil || due:
			return err
		}
		if _, err := tx.Exec(ctx, `update bulkexport.outbox set state = 'due', due_at = now(), asked_at = now(), tries = 0, unsure = 0,
			edition = edition + 1, last_error = null where id = $1`, letter); err != nil {
			return err
		}
		return audit(ctx, tx, by(p, jobs.ActionResend, j))
	})
}

// Take implements jobs.Outbox.
func (s *Store) Take(ctx context.Context, lease time.Duration) (p jobs.Post, ok bool, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		p, ok = jobs.Post{}, false // of an earlier try of the transaction
		rows, err := tx.Query(ctx, `with first as (
				select o.id, o.recipient, o.outcome, j.project from bulkexport.outbox o join bulkexport.jobs j on j.id = o.job_id
				where o.state = 'due' and o.due_at <= now() order by o.due_at, o.id limit 1 for update of o skip locked
			), others as (
				select o.id from bulkexport.outbox o join bulkexport.jobs j on j.id = o.job_id, first
				where first.outcome = 'exported' and o.outcome = 'exported' and o.state = 'due' and o.id <> first.id
				  and o.recipient = first.recipient and j.project = first.project for update of o skip locked
			)
			update bulkexport.outbox o set tries = o.tries + 1, unsure = o.unsure + 1, due_at = now() + make_interval(secs => $1)
			where o.id in (select id from first union all select id from others)
			returning o.id`, lease.Seconds())
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil || len(ids) == 0 {
			return err
		}
		if rows, err = tx.Query(ctx, selectLetters+`where o.id = any($1) order by o.id`, ids); err != nil {
			return err
		}
		if p.Letters, err = pgx.CollectRows(rows, scanLetter); err != nil {
			return err
		}
		ok = true
		return about(ctx, tx, &p)
	})
	return p, ok, classify(err)
}

// about finds what a post's letters are about.
func about(ctx context.Context, tx pgx.Tx, p *jobs.Post) error {
	for _, l := range p.Letters {
		j, err := get(ctx, tx, l.Job)
		if err != nil {
			return err
		}
		p.Jobs = append(p.Jobs, j)
	}
	return tx.QueryRow(ctx, `select coalesce(canceled_by, '') from bulkexport.jobs where id = $1`, p.First().Job).Scan(&p.CanceledBy)
}

// Settle implements jobs.Outbox. Tries and edition are the fence.
func (s *Store) Settle(ctx context.Context, p jobs.Post, c jobs.Settlement) error {
	return s.in(ctx, func(tx pgx.Tx) error {
		for _, l := range p.Letters {
			_, err := tx.Exec(ctx, `update bulkexport.outbox set state = $4, last_error = nullif($5, ''),
				due_at = now() + make_interval(secs => $6), sent_at = case when $4 = 'sent' then now() else sent_at end,
				unsure = case when $7 then greatest(unsure - 1, 0) else unsure end
				where id = $1 and tries = $2 and edition = $3 and state = 'due'`,
				l.ID, l.Tries, l.Edition, c.State, c.Code, c.Delay.Seconds(), c.Certain)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Expand implements jobs.Outbox.
func (s *Store) Expand(ctx context.Context, p jobs.Post, people []string, every time.Duration) error {
	_, err := s.pool.Exec(ctx, `insert into bulkexport.outbox (job_id, recipient, outcome, due_at)
		select j.id, r, 'exported', greatest(now(), (select max(o.sent_at) + make_interval(secs => $3)
			from bulkexport.outbox o join bulkexport.jobs told on told.id = o.job_id
			where o.outcome = 'exported' and o.recipient = r and told.project = j.project))
		from bulkexport.jobs j, unnest($2::text[]) r
		where j.id = $1 and not exists (select 1 from bulkexport.outbox o where o.job_id = j.id and o.recipient = r and o.outcome = 'ready')
		on conflict do nothing`, p.First().Job, people, every.Seconds())
	return classify(err)
}

// Remind implements jobs.Outbox. Soon is a day, and for files that are not kept
// for days the last third of their time.
func (s *Store) Remind(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `insert into bulkexport.outbox (job_id, recipient, outcome)
		select j.id, r, 'expiring' from bulkexport.jobs j, unnest(j.notify || j.requested_by) r
		where j.state = 'succeeded' and j.expires_at > now()
		  and j.expires_at < now() + least(interval '1 day', (j.expires_at - j.finished_at) / 3)
		  and not exists (select 1 from bulkexport.audit a where a.job_id = j.id and a.action = 'download')
		on conflict do nothing`)
	return classify(err)
}
