package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Heartbeat implements jobs.Board.
func (s *Store) Heartbeat(ctx context.Context, w jobs.WorkerStatus) error {
	_, err := s.pool.Exec(ctx, `insert into bulkexport.workers (id, large_slots, small_slots, seen_at)
		values ($1, $2, $3, now())
		on conflict (id) do update set large_slots = $2, small_slots = $3, seen_at = now()`,
		w.ID, w.Slots[jobs.Large], w.Slots[jobs.Small])
	return classify(err)
}

// dispatchLock lets one pass decide at a time.
const dispatchLock = `select pg_advisory_xact_lock(hashtextextended('bulkexport/dispatch', 0))`

// Dispatch implements jobs.Board.
func (s *Store) Dispatch(ctx context.Context, r jobs.DispatchRules) (tickets []jobs.Ticket, lost []jobs.Move, err error) {
	err = s.in(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, dispatchLock); err != nil {
			return err
		}
		if lost, err = takeBack(ctx, tx, r); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, dispatchSQL, r.ProjectSlots, r.MaxRunning)
		if err != nil {
			return err
		}
		tickets, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (t jobs.Ticket, err error) {
			return t, row.Scan(&t.Job, &t.Dispatch, &t.Lane)
		})
		return err
	})
	if err != nil {
		return nil, nil, err // nothing was committed
	}
	return tickets, lost, nil
}

// takeBack closes the fence of attempts whose lease ran out. A lease that was
// lost without a checkpoint since the claim uses up one failure, so that an
// export that kills every worker that touches it comes to an end.
func takeBack(ctx context.Context, tx pgx.Tx, r jobs.DispatchRules) ([]jobs.Move, error) {
	rows, err := tx.Query(ctx, takeBackSQL, r.MaxFailures, jobs.CodeWorkerLost,
		"The export was interrupted several times in a row at the same point.")
	if err != nil {
		return nil, err
	}
	lost, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (jobs.Move, error) {
		m := jobs.Move{From: jobs.Running, Outcome: "lost", Code: jobs.CodeWorkerLost}
		return m, row.Scan(&m.Job, &m.Kind, &m.Lane, &m.To, &m.Attempt, &m.Rows, &m.Made, &m.Begun, &m.Trace)
	})
	if err != nil {
		return nil, err
	}
	for _, m := range lost {
		if err := notify(ctx, tx, m.Job); err != nil {
			return nil, err
		}
	}
	return lost, nil
}

const takeBackSQL = `
with lost as (
	select id, attempt, rows_done, bytes_raw, failures + case when checkpointed then 0 else 1 end as failures, cancel_requested_at is not null as canceled
	from bulkexport.jobs where state = 'running' and lease_until < now() for update
), closed as (
	update bulkexport.attempts a set ended_at = now(), outcome = 'lost', rows_done = lost.rows_done, bytes_raw = lost.bytes_raw
	from lost where a.job_id = lost.id and a.attempt = lost.attempt
)
update bulkexport.jobs j set version = version + 1, worker = null, lease_until = null, failures = lost.failures,
	state = case when lost.canceled then 'canceled' when lost.failures >= $1 then 'failed' else 'queued' end,
	phase = case when not lost.canceled and lost.failures < $1 then 'waiting' else phase end,
	dispatched_at = null,
	finished_at = case when lost.canceled or lost.failures >= $1 then now() end,
	error_code = case when not lost.canceled and lost.failures >= $1 then $2 end,
	error_message = case when not lost.canceled and lost.failures >= $1 then $3 end,
	error_retryable = case when not lost.canceled and lost.failures >= $1 then true end
from lost where j.id = lost.id
returning j.id::text, j.kind, j.lane, j.state, lost.attempt, lost.rows_done, j.created_at,
	(select started_at from bulkexport.attempts a where a.job_id = lost.id and a.attempt = lost.attempt), coalesce(j.trace, '')`

// dispatchSQL: each project's jobs take turns (its n-th busy or due job in a
// lane has turn n), turns up to the project's slots compete for the lane's free
// slots, and the project that was served longest ago goes first. A job whose
// doorbell may have been lost stops counting as dispatched after 10 seconds. A job
// that moved while the pass was thinking (claimed, canceled) is left alone. What
// an operator moved ahead goes before the turns of others, within its project's
// slots; what is paused does not go at all.
const dispatchSQL = `
with busy as (
	select lane, project, count(*) as n from bulkexport.jobs
	where state = 'running' or (state = 'queued' and dispatched_at > now() - interval '10 seconds')
	group by lane, project
), slots as (
	select 'large' as lane, sum(large_slots) as n from bulkexport.workers where seen_at > now() - interval '15 seconds'
	union all
	select 'small', sum(small_slots) from bulkexport.workers where seen_at > now() - interval '15 seconds'
), free as (
	select lane, coalesce(n, 0) - coalesce((select sum(n) from busy where busy.lane = slots.lane), 0) as n from slots
), due as (
	select j.id, j.version, j.lane, j.project, j.priority, j.created_at, coalesce(busy.n, 0) +
		row_number() over (partition by j.lane, j.project order by j.priority desc, j.created_at, j.id) as turn
	from bulkexport.jobs j left join busy on busy.lane = j.lane and busy.project = j.project
	where j.state = 'queued' and (j.next_at is null or j.next_at <= now())
	  and (j.dispatched_at is null or j.dispatched_at <= now() - interval '10 seconds')
	  and not exists (select from bulkexport.pauses p where p.project in ('', j.project))
), ranked as (
	select due.id, due.version, due.lane, priority, turn, served.at, created_at,
		row_number() over (partition by due.lane order by priority desc, turn, served.at nulls first, created_at, due.id) as rank
	from due, lateral (select max(dispatched_at) as at from bulkexport.jobs h
		where h.lane = due.lane and h.project = due.project and h.dispatched_at is not null) served
	where turn <= $1
), fitting as (
	select ranked.id, ranked.version, row_number() over (order by priority desc, turn, ranked.at nulls first, created_at, ranked.id) as overall
	from ranked join free on free.lane = ranked.lane where rank <= free.n
)
update bulkexport.jobs j set version = j.version + 1, dispatch = dispatch + 1, dispatched_at = now()
from fitting
where j.id = fitting.id and j.version = fitting.version and ($2 = 0 or overall + (select coalesce(sum(n), 0) from busy) <= $2)
returning j.id::text, j.dispatch, j.lane`
