package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Each of these looks at an index of what is open or young, whatever lies in
// the past.
const (
	countJobsSQL = `select state, kind, lane, count(*) from bulkexport.jobs
		where state in ('queued', 'running') or finished_at > now() - interval '24 hours' group by 1, 2, 3`

	countFailedSQL = `select error_code, count(*) from bulkexport.jobs
		where state = 'failed' and finished_at > now() - interval '24 hours' group by 1`

	waitingSQL = `select lane, extract(epoch from max(now() - since))::float8 from (` + readySQL + `) j
		where not exists (select from bulkexport.jobs r where r.state = 'running' and r.lane = j.lane and r.project = j.project)
		group by lane`

	silenceSQL = `select coalesce(extract(epoch from max(now() - progress_at)), 0)::float8 from bulkexport.jobs where state = 'running'`

	// A worker of the version before leaves the mark of the attempt before.
	standstillSQL = `select coalesce(extract(epoch from max(now() - moved_at)), 0)::float8 from bulkexport.jobs j where state = 'running'
		and phase = 'streaming' and moved_at >= (select max(started_at) from bulkexport.attempts a where a.job_id = j.id)`

	countLettersSQL = `select state, count(*) from bulkexport.outbox
		where state = 'due' or state in ('refused', 'unsure', 'given_up') and asked_at > now() - interval '24 hours' group by 1`

	// Letters about others' exports (exported) are held back for a day on purpose.
	undeliveredSQL = `select coalesce(extract(epoch from max(now() - asked_at)), 0)::float8 from bulkexport.outbox
		where state = 'due' and last_error is not null and last_error <> $1 and outcome <> 'exported'`

	workersSQL = `select count(*), coalesce(sum(large_slots), 0), coalesce(sum(small_slots), 0) from bulkexport.workers
		where` + alive + `and large_slots + small_slots > 0`

	keptSQL = `select count(*), coalesce(sum(bytes_stored), 0)::bigint from bulkexport.jobs where state = 'succeeded'`

	leavingSQL = `select count(*), coalesce(sum(bytes_stored), 0)::bigint,
			coalesce(extract(epoch from max(now() - case when state = 'expired' then expires_at else finished_at end)), 0)::float8
		from bulkexport.jobs where` + doomed

	sweptSQL = `select orphans_found, orphans_left,
		(select count(*) from bulkexport.absent_projects where since <= now() - interval '7 days') from bulkexport.installation`
)

// Stats implements jobs.Census, in one round trip.
func (s *Store) Stats(ctx context.Context) (st jobs.Stats, err error) {
	var b pgx.Batch
	queueCounts(&b, &st)
	queueAges(&b, &st)
	b.Queue(workersSQL).QueryRow(func(row pgx.Row) error {
		var large, small int64
		err := row.Scan(&st.Workers, &large, &small)
		st.Slots = map[jobs.Lane]int64{jobs.Large: large, jobs.Small: small}
		return err
	})
	b.Queue(keptSQL).QueryRow(func(row pgx.Row) error { return row.Scan(&st.Kept.Files, &st.Kept.Bytes) })
	b.Queue(leavingSQL).QueryRow(func(row pgx.Row) error {
		var age float64
		err := row.Scan(&st.Leaving.Files, &st.Leaving.Bytes, &age)
		st.Overstayed = seconds(age)
		return err
	})
	b.Queue(sweptSQL).QueryRow(func(row pgx.Row) error {
		return row.Scan(&st.Orphans, &st.OrphansLeft, &st.AbsentProjects)
	})
	return st, classify(s.pool.SendBatch(ctx, &b).Close())
}

func queueCounts(b *pgx.Batch, st *jobs.Stats) {
	b.Queue(countJobsSQL).Query(func(rows pgx.Rows) (err error) {
		st.Jobs, err = pgx.CollectRows(rows, pgx.RowToStructByPos[jobs.JobCount])
		return err
	})
	b.Queue(countFailedSQL).Query(func(rows pgx.Rows) (err error) {
		st.Failed, err = counts[string](rows)
		return err
	})
	b.Queue(countLettersSQL).Query(func(rows pgx.Rows) (err error) {
		st.Letters, err = counts[jobs.LetterState](rows)
		return err
	})
}

func queueAges(b *pgx.Batch, st *jobs.Stats) {
	b.Queue(waitingSQL).Query(func(rows pgx.Rows) error {
		ages, err := pairs[jobs.Lane, float64](rows)
		st.Waiting = map[jobs.Lane]time.Duration{}
		for lane, age := range ages {
			st.Waiting[lane] = seconds(age)
		}
		return err
	})
	age := func(to *time.Duration, sql string, args ...any) {
		b.Queue(sql, args...).QueryRow(func(row pgx.Row) error {
			var a float64
			err := row.Scan(&a)
			*to = seconds(a)
			return err
		})
	}
	age(&st.Silence, silenceSQL)
	age(&st.Standstill, standstillSQL)
	age(&st.Undelivered, undeliveredSQL, jobs.CodeFrozen)
}

func counts[K comparable](rows pgx.Rows) (map[K]int64, error) { return pairs[K, int64](rows) }

func pairs[K comparable, V any](rows pgx.Rows) (map[K]V, error) {
	m := map[K]V{}
	var k K
	var v V
	_, err := pgx.ForEachRow(rows, []any{&k, &v}, func() error {
		m[k] = v
		return nil
	})
	return m, err
}
