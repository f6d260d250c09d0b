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
	l.AskedAt, l.DueAt, l.SentAt = l.AskedAt.UTC(), l.DueAt.UTC(), utc(l.SentAt)
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
			edition = edition + 1, last_error = null, carrier = null where id = $1`, letter); err != nil {
			return err
		}
		return audit(ctx, tx, by(p, jobs.ActionResend, j))
	})
}

// takeSQL claims one letter, and those that ride with it. Those about exports of
// others (exported) are one mail a person and project: only the oldest that is
// due may go, and none within a day of the last, unless somebody asked for it.
// What went out together and may have arrived goes out together once more.
const takeSQL = `
with first as (
	select o.id, o.recipient, o.outcome, o.unsure, o.edition, j.project
	from bulkexport.outbox o join bulkexport.jobs j on j.id = o.job_id
	where o.state = 'due' and o.due_at <= now()
	  and not exists (select 1 from bulkexport.outbox c where c.id = o.carrier and c.state = 'due')
	  and (o.outcome <> 'exported' or o.edition > 1 or not exists (
		select 1 from bulkexport.outbox p join bulkexport.jobs k on k.id = p.job_id
		where p.outcome = 'exported' and p.recipient = o.recipient and k.project = j.project and p.id <> o.id
		  and (p.state = 'due' and p.carrier is null and p.edition = 1 and p.id < o.id
			or p.state in ('sent', 'unsure') and coalesce(p.sent_at, p.due_at) > now() - make_interval(secs => $2))))
	order by o.due_at, o.id limit 1 for update of o skip locked
), riders as (
	select o.id from bulkexport.outbox o join bulkexport.jobs j on j.id = o.job_id, first
	where first.outcome = 'exported' and o.outcome = 'exported' and o.state = 'due' and o.id <> first.id
	  and o.recipient = first.recipient and j.project = first.project
	  and (o.carrier = first.id or first.unsure = 0 and first.edition = 1 and o.carrier is null and o.unsure = 0 and o.edition = 1)
	for update of o
)
update bulkexport.outbox o set tries = o.tries + 1, unsure = o.unsure + 1, due_at = now() + make_interval(secs => $1),
	carrier = case when o.id <> first.id then first.id end
from first where o.id = first.id or o.id in (select id from riders)
returning o.id`

// Take implements jobs.Outbox.
func (s *Store) Take(ctx context.Context, lease time.Duration) (p jobs.Post, ok bool, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, takeSQL, lease.Seconds(), jobs.DigestEvery.Seconds())
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil || len(ids) == 0 {
			return err
		}
		if rows, err = tx.Query(ctx, selectLetters+`where o.id = any($1) order by o.carrier nulls first, o.id`, ids); err != nil {
			return err
		}
		if p.Letters, err = pgx.CollectRows(rows, scanLetter); err != nil {
			return err
		}
		ok = true
		return about(ctx, tx, &p)
	})
	return p, ok && err == nil, err
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

// Settle implements jobs.Outbox. The end of the claim is its fence: the next one
// ends later, and who asks for a letter anew ends it. Riders stay with their
// letter while it may have arrived.
func (s *Store) Settle(ctx context.Context, p jobs.Post, c jobs.Settlement) error {
	return s.in(ctx, func(tx pgx.Tx) error {
		for _, l := range p.Letters {
			_, err := tx.Exec(ctx, `update bulkexport.outbox set state = $3, last_error = nullif($4, ''),
					due_at = now() + make_interval(secs => $5), sent_at = case when $3 = 'sent' then now() else sent_at end,
					tries = tries - case when $7 then 1 else 0 end, unsure = unsure - case when $6 then 1 else 0 end,
					carrier = case when $3 = 'due' and not $6 then carrier when unsure > 1 then carrier end
				where id = $1 and due_at = $2 and state = 'due'`,
				l.ID, l.DueAt, c.State, c.Code, c.Delay.Seconds(), c.Certain, c.Spared)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Expand implements jobs.Outbox.
func (s *Store) Expand(ctx context.Context, p jobs.Post, people []string) error {
	_, err := s.pool.Exec(ctx, `insert into bulkexport.outbox (job_id, recipient, outcome, due_at)
		select j.id, r, 'exported', greatest(now(), (select max(o.sent_at) + make_interval(secs => $3)
			from bulkexport.outbox o join bulkexport.jobs told on told.id = o.job_id
			where o.outcome = 'exported' and o.recipient = r and told.project = j.project))
		from bulkexport.jobs j, unnest($2::text[]) r
		where j.id = $1 and r <> j.requested_by and r <> all(j.notify)
		on conflict do nothing`, p.First().Job, people, jobs.DigestEvery.Seconds())
	return classify(err)
}

// GiveUp implements jobs.Outbox.
func (s *Store) GiveUp(ctx context.Context, patience time.Duration) error {
	_, err := s.pool.Exec(ctx, `update bulkexport.outbox set state = 'given_up', last_error = coalesce(last_error, $2)
		where state = 'due' and due_at <= now() and asked_at < now() - make_interval(secs => $1)`, patience.Seconds(), jobs.CodeTooOld)
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
