package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// alive are workers that were seen just now, as the dispatch pass has it.
const alive = ` seen_at > now() - interval '15 seconds' `

// ready are waiting jobs, j, that could start, and since when they have waited.
const readySQL = `
	select j.id, j.project, j.lane, greatest(j.created_at, j.next_at, (select max(ended_at) from bulkexport.attempts a where a.job_id = j.id)) as since
	from bulkexport.jobs j
	where j.state = 'queued' and (j.next_at is null or j.next_at <= now())
	  and not exists (select from bulkexport.pauses p where p.project in ('', j.project))`

// findingsSQL has a branch for each kind of finding that the rows tell; each
// yields count, since, lane, code, job, project, worker, who.
const findingsSQL = `
with ready as materialized (` + readySQL + `)
select 'no-worker', 1, max(seen_at), '', '', '', '', '', '' from bulkexport.workers having count(*) filter (where` + alive + `) = 0
union all
select 'worker-silent', 1, w.seen_at, '', '', coalesce(held.id::text, ''), coalesce(held.project, ''), w.id, ''
from bulkexport.workers w left join lateral (
	select j.id, j.project from bulkexport.jobs j where j.state = 'running' and j.worker = w.id
	union all
	select j.id, j.project from bulkexport.attempts a join bulkexport.jobs j on j.id = a.job_id
	where a.outcome = 'lost' and a.worker = w.id and a.ended_at > now() - interval '1 hour'
	limit 1) held on true
where w.seen_at < now() - $1::interval and held.id is not null
union all
select 'no-progress', count(*), min(moved_at), '', '', min(id::text), min(project), min(worker), '' from bulkexport.jobs j
where state = 'running' and (progress_at < now() - $2::interval or lease_until < now() - $1::interval
	-- a worker of the version before leaves the mark of the attempt before
	or phase = 'streaming' and moved_at < now() - $2::interval
		and moved_at >= (select max(started_at) from bulkexport.attempts a where a.job_id = j.id)) having count(*) > 0
union all
select 'waiting-too-long', count(*), min(since), lane, '', (array_agg(id::text order by since))[1], (array_agg(project order by since))[1], '', '' from ready
where since < now() - case lane when 'small' then $3::interval else $4::interval end group by lane
union all
select 'retry-storm', count(*), null, '', '', min(id::text), min(project), '', '' from bulkexport.jobs
where state in ('queued', 'running') and failures >= $5 having count(*) > 0
union all
select 'store-full', count(*), min(ended_at), '', '', min(job_id::text), '', '', '' from bulkexport.attempts
where error_code = 'store_full' and ended_at > now() - interval '1 hour' having count(*) > 0
union all
select 'exports-failed', count(*), min(finished_at), '', error_code, (array_agg(id::text order by finished_at desc))[1], '', '', '' from bulkexport.jobs
where state = 'failed' and finished_at > now() - interval '1 day' group by error_code
union all
select 'mails-undelivered', count(*), min(asked_at), '', (array_agg(last_error order by asked_at desc))[1], (array_agg(job_id::text order by asked_at desc))[1], '', '', '' from bulkexport.outbox
where recipient <> '' and (state in ('refused', 'unsure', 'given_up') and asked_at > now() - interval '7 days'
	or state = 'due' and asked_at < now() - $6::interval) having count(*) > 0
union all
select 'no-clean-up', 1, swept_at, '', '', '', '', '', '' from bulkexport.installation where swept_at < now() - $7::interval
union all
select 'paused', 1, since, '', '', '', project, '', paused_by from bulkexport.pauses`

// Findings implements jobs.Desk.
func (s *Store) Findings(ctx context.Context, l jobs.Limits) ([]jobs.Finding, error) {
	rows, err := s.pool.Query(ctx, findingsSQL, l.Silence, l.Progress, l.Wait[jobs.Small], l.Wait[jobs.Large], l.Failures, l.MailDue, l.Sweep)
	if err != nil {
		return nil, classify(err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f jobs.Finding, err error) {
		var code *string
		err = row.Scan(&f.Kind, &f.Count, &f.Since, &f.Lane, &code, &f.Job, &f.Project, &f.Worker, &f.Who)
		if code != nil {
			f.Code = *code
		}
		f.Since = utc(f.Since)
		return f, err
	})
	return list, classify(err)
}

// Flow implements jobs.Desk. Its statements see one state of the rows.
func (s *Store) Flow(ctx context.Context) (f jobs.Flow, err error) {
	err = classify(pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		for _, part := range []func(context.Context, pgx.Tx, *jobs.Flow) error{lanes, line, workers, hours, costs, cleanUp, pauses} {
			if err := part(ctx, tx, &f); err != nil {
				return err
			}
		}
		return nil
	}))
	return f, err
}

const lanesSQL = `
with open as (
	select lane, count(*) filter (where state = 'queued') as waiting, count(*) filter (where state = 'running') as running,
		count(*) filter (where state = 'queued' and next_at > now()) as backing,
		count(*) filter (where state = 'queued' and exists (select from bulkexport.pauses p where p.project in ('', j.project))) as paused,
		min(created_at) filter (where state = 'queued') as oldest
	from bulkexport.jobs j where state in ('queued', 'running') group by lane
), past as (
	select lane, count(*) as ended, count(*) filter (where state = 'failed') as failed,
		percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from started_at - created_at)) as wait,
		percentile_cont(array[0.5, 0.95]) within group (order by extract(epoch from finished_at - started_at)) as run
	from bulkexport.jobs where finished_at > now() - interval '1 day' and started_at is not null group by lane
)
select lane, coalesce(waiting, 0), coalesce(running, 0), coalesce(backing, 0), coalesce(paused, 0), oldest,
	(select coalesce(sum(case lane when 'large' then large_slots else small_slots end), 0) from bulkexport.workers where` + alive + `),
	coalesce(wait[1], 0), coalesce(wait[2], 0), coalesce(run[1], 0), coalesce(run[2], 0), coalesce(ended, 0), coalesce(failed, 0)
from (values ('small'), ('large')) l(lane) left join open using (lane) left join past using (lane)`

func lanes(ctx context.Context, tx pgx.Tx, f *jobs.Flow) error {
	rows, err := tx.Query(ctx, lanesSQL)
	if err != nil {
		return err
	}
	f.Lanes, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (l jobs.LaneLoad, err error) {
		var s [4]float64
		err = row.Scan(&l.Lane, &l.Waiting, &l.Running, &l.Backing, &l.PausedCount, &l.Oldest, &l.Slots, &s[0], &s[1], &s[2], &s[3], &l.Ended, &l.Failed)
		l.Wait50, l.Wait95, l.Run50, l.Run95 = seconds(s[0]), seconds(s[1]), seconds(s[2]), seconds(s[3])
		return l, err
	})
	return err
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// lineSQL is who waits in the order of placeSQL, and what stands before each.
const lineSQL = `
with place as materialized (` + placeSQL + `), busy as (
	select lane, project, count(*) as n, min(id::text) filter (where state = 'running') as first from bulkexport.jobs
	where state = 'running' or (state = 'queued' and dispatched_at > now() - interval '10 seconds') group by lane, project
), taken as (select lane, sum(n) as n from busy group by lane), slots as (
	select coalesce(sum(large_slots), 0) as large, coalesce(sum(small_slots), 0) as small from bulkexport.workers where` + alive + `
)
select j.id::text, j.project, j.kind, j.lane, j.created_at, place.place, j.priority > 0, j.next_at, coalesce(j.dispatched_at > now() - interval '10 seconds', false),
	exists (select from bulkexport.pauses p where p.project in ('', j.project)), coalesce(busy.n, 0),
	case j.lane when 'large' then slots.large else slots.small end - coalesce(taken.n, 0), coalesce((select sum(n) from taken), 0), coalesce(busy.first, '')
from place join bulkexport.jobs j using (id) left join busy on busy.lane = j.lane and busy.project = j.project
	left join taken on taken.lane = j.lane, slots
where place.place <= $1 order by j.lane desc, place.place`

func line(ctx context.Context, tx pgx.Tx, f *jobs.Flow) error {
	rows, err := tx.Query(ctx, lineSQL, jobs.LineShown)
	if err != nil {
		return err
	}
	f.Line, err = pgx.CollectRows(rows, pgx.RowToStructByPos[jobs.Place])
	return err
}

func workers(ctx context.Context, tx pgx.Tx, f *jobs.Flow) error {
	rows, err := tx.Query(ctx, selectJobs+`where j.state = 'running' order by j.id`)
	if err != nil {
		return err
	}
	held := make(map[string][]jobs.Job)
	running, err := pgx.CollectRows(rows, scanJob)
	if err != nil {
		return err
	}
	var at []string // the same jobs' workers
	if rows, err = tx.Query(ctx, `select worker from bulkexport.jobs where state = 'running' order by id`); err != nil {
		return err
	}
	if at, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return err
	}
	for i, j := range running {
		held[at[i]] = append(held[at[i]], j)
	}
	if rows, err = tx.Query(ctx, `select id, large_slots, small_slots, seen_at from bulkexport.workers w
		where seen_at > now() - interval '5 minutes' or exists (select from bulkexport.jobs where state = 'running' and worker = w.id) order by id`); err != nil {
		return err
	}
	f.Workers, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (w jobs.WorkerNow, err error) {
		err = row.Scan(&w.ID, &w.Large, &w.Small, &w.SeenAt)
		w.Jobs = held[w.ID]
		return w, err
	})
	return err
}

func hours(ctx context.Context, tx pgx.Tx, f *jobs.Flow) error {
	rows, err := tx.Query(ctx, `select h, count(j.id), count(j.id) filter (where j.state = 'failed'), coalesce(sum(j.rows_done), 0)::bigint,
			coalesce(sum(j.bytes_raw), 0)::bigint, coalesce(sum(j.bytes_stored), 0)::bigint
		from generate_series(date_trunc('hour', now()) - interval '23 hours', date_trunc('hour', now()), interval '1 hour') h
		left join bulkexport.jobs j on j.finished_at >= h and j.finished_at < h + interval '1 hour' and j.started_at is not null
			and j.finished_at > now() - interval '1 day'
		group by h order by h`)
	if err != nil {
		return err
	}
	f.Hours, err = pgx.CollectRows(rows, pgx.RowToStructByPos[jobs.Hour])
	return err
}

func costs(ctx context.Context, tx pgx.Tx, f *jobs.Flow) error {
	rows, err := tx.Query(ctx, `with spent as (
			select project, count(*) as exports, sum(rows_done) as rows, sum(extract(epoch from finished_at - started_at)) as seconds
			from bulkexport.jobs where finished_at > now() - interval '7 days' and started_at is not null group by project
		), kept as (
			select project, count(*) as files, sum(bytes_stored) as bytes from bulkexport.jobs where state = 'succeeded' group by project
		)
		select project, coalesce(exports, 0), coalesce(rows, 0)::bigint, coalesce(seconds, 0)::float8, coalesce(bytes, 0)::bigint, coalesce(files, 0)
		from spent full join kept using (project) order by seconds desc nulls last, bytes desc nulls last, project limit $1`, jobs.CostsShown)
	if err != nil {
		return err
	}
	f.Costs, err = pgx.CollectRows(rows, pgx.RowToStructByPos[jobs.Cost])
	return err
}

func cleanUp(ctx context.Context, tx pgx.Tx, f *jobs.Flow) error {
	c := &f.CleanUp
	err := tx.QueryRow(ctx, `select count(*) filter (where expires_at <= now()), coalesce(sum(bytes_stored) filter (where expires_at <= now()), 0)::bigint,
			count(*) filter (where expires_at > now()), coalesce(sum(bytes_stored) filter (where expires_at > now()), 0)::bigint
		from bulkexport.jobs where state = 'succeeded' and expires_at <= now() + interval '1 day'`).Scan(&c.Overdue, &c.OverdueBytes, &c.Soon, &c.SoonBytes)
	if err != nil {
		return err
	}
	err = tx.QueryRow(ctx, `select count(*), coalesce(sum(bytes_stored), 0)::bigint from bulkexport.jobs where`+doomed).Scan(&c.Doomed, &c.DoomedBytes)
	if err != nil {
		return err
	}
	return tx.QueryRow(ctx, `select swept_at, swept from bulkexport.installation`).Scan(&c.At, &c.Last)
}

func pauses(ctx context.Context, tx pgx.Tx, f *jobs.Flow) error {
	rows, err := tx.Query(ctx, `select p.project, p.paused_by, p.since,
			(select count(*) from bulkexport.jobs j where j.state = 'queued' and p.project in ('', j.project))
		from bulkexport.pauses p order by p.project`)
	if err != nil {
		return err
	}
	f.Pauses, err = pgx.CollectRows(rows, pgx.RowToStructByPos[jobs.Pause])
	return err
}

// Search implements jobs.Desk.
func (s *Store) Search(ctx context.Context, q jobs.SearchQuery) ([]jobs.Job, error) {
	rows, err := s.pool.Query(ctx, selectJobs+`
		where ($1 = '' or j.id::text = lower($1) or strpos(lower(j.project), lower($1)) > 0 or strpos(lower(j.requested_by), lower($1)) > 0)
		  and ($2 = '' or j.project = $2) and ($3 = '' or j.kind = $3)
		  and case when $4 = '' then true
		      when $4 = 'canceling' then j.state in ('queued', 'running') and j.cancel_requested_at is not null
		      else j.state = $4 end
		  and ($5 = '' or j.error_code = $5 or j.state in ('queued', 'running')
		      and exists (select from bulkexport.attempts a where a.job_id = j.id and a.error_code = $5))
		  and ($6 = '' or j.id < nullif($6, '')::uuid)
		order by j.id desc limit $7`, q.Text, q.Project, q.Kind, q.State, q.Error, q.Before, q.Limit)
	if err != nil {
		return nil, classify(err)
	}
	list, err := pgx.CollectRows(rows, scanJob)
	return list, classify(err)
}

// Story implements jobs.Desk.
func (s *Store) Story(ctx context.Context, id string) (t jobs.Story, err error) {
	if t.Job, err = s.Get(ctx, id); err != nil {
		return t, err
	}
	var by *string
	err = s.pool.QueryRow(ctx, `select canceled_by from bulkexport.jobs where id = $1`, id).Scan(&by)
	if errors.Is(err, pgx.ErrNoRows) {
		return t, jobs.ErrNotFound
	}
	if by != nil {
		t.CanceledBy = *by
	}
	if err == nil {
		t.Phases, err = list(ctx, s, pgx.RowToStructByPos[jobs.PhaseMark], `select attempt, phase, at from bulkexport.phases where job_id = $1 order by attempt, at`, id)
	}
	if err == nil {
		t.Points, err = list(ctx, s, pgx.RowToStructByPos[jobs.Point], `select created_at, attempt, (cut->>'rows')::bigint, (cut->>'bytes_raw')::bigint,
			(cut->>'bytes_stored')::bigint from bulkexport.checkpoints where job_id = $1 and nonce = (select upload_nonce from bulkexport.jobs where id = $1) order by number`, id)
	}
	if err == nil {
		t.Letters, err = s.Letters(ctx, id)
	}
	if err == nil {
		t.Audit, err = list(ctx, s, pgx.RowToStructByPos[jobs.AuditEntry], `select id, at, actor, action, project, coalesce(job_id::text, ''), detail, remote
			from bulkexport.audit where job_id = $1 order by id desc limit 200`, id)
	}
	return t, classify(err)
}

// list collects the rows of a statement.
func list[T any](ctx context.Context, s *Store, scan pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}
