package store_test

import (
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

func near(got, want time.Duration) bool { return got > want-time.Second && got < want+time.Minute }

// What operators are told of is what the rows say.
func TestStats(t *testing.T) {
	f := open(t)
	stats := func() jobs.Stats {
		t.Helper()
		st, err := f.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := stats(); len(st.Jobs) != 0 || st.Silence != 0 || st.Workers != 0 || len(st.Waiting) != 0 {
		t.Errorf("of nothing: %+v", st)
	}
	f.heartbeat("w1", 2, 3)
	f.exec(`insert into bulkexport.workers values ('gone', 5, 5, now() - interval '1 minute'), ('retired', 0, 0, now())`)
	running := f.claimed("a").Fence.Job
	f.exec(`update bulkexport.jobs set progress_at = now() - interval '40 seconds', phase = 'streaming', moved_at = now() - interval '50 seconds' where id = $1`, running)
	f.exec(`update bulkexport.attempts set started_at = now() - interval '1 minute'`)
	behind, backing, waiting := f.create(newJob("a")).ID, f.create(newJob("b")).ID, f.create(newJob("c")).ID
	f.exec(`update bulkexport.jobs set created_at = now() - interval '1 day' where id = any($1)`, []string{behind, backing})
	f.exec(`update bulkexport.jobs set next_at = now() + interval '1 minute' where id = $1`, backing)
	f.exec(`update bulkexport.jobs set created_at = now() - interval '3 minutes' where id = $1`, waiting)
	f.exec(`update bulkexport.jobs set created_at = now() - interval '1 day' where id = $1`, f.create(newJob("paused")).ID)
	f.exec(`insert into bulkexport.pauses (project, paused_by) values ('paused', 'x')`)
	kept, failed, old := f.ended("d", jobs.Succeeded), f.ended("e", jobs.Failed), f.ended("f", jobs.Failed)
	f.exec(`update bulkexport.jobs set bytes_stored = 7 where id = $1`, kept)
	f.exec(`update bulkexport.jobs set bytes_stored = 5, error_code = 'store_full', finished_at = now() - interval '2 hours' where id = $1`, failed)
	f.exec(`update bulkexport.jobs set finished_at = now() - interval '2 days', data_deleted_at = now() where id = $1`, old)

	st := stats()
	n := map[jobs.State]int64{}
	for _, c := range st.Jobs {
		n[c.State] += c.N
	}
	if n[jobs.Queued] != 4 || n[jobs.Running] != 1 || n[jobs.Succeeded] != 1 || n[jobs.Failed] != 1 || len(n) != 4 {
		t.Errorf("jobs %v", n)
	}
	if len(st.Failed) != 1 || st.Failed[jobs.CodeStoreFull] != 1 {
		t.Errorf("failed %v", st.Failed)
	}
	if st.Workers != 1 || st.Slots[jobs.Large] != 2 || st.Slots[jobs.Small] != 3 {
		t.Errorf("%d workers with %v", st.Workers, st.Slots)
	}
	if !near(st.Waiting[jobs.Large], 3*time.Minute) || !near(st.Silence, 40*time.Second) || !near(st.Standstill, 50*time.Second) || !near(st.Overstayed, 2*time.Hour) {
		t.Errorf("waiting %v, silent %s, standing %s, overstayed %s", st.Waiting, st.Silence, st.Standstill, st.Overstayed)
	}
	if st.Kept != (jobs.Holding{Files: 1, Bytes: 7}) || st.Leaving != (jobs.Holding{Files: 1, Bytes: 5}) {
		t.Errorf("kept %+v, leaving %+v", st.Kept, st.Leaving)
	}
}

// A letter that waits for good reasons is not late.
func TestStatsOfLetters(t *testing.T) {
	f := open(t)
	id := f.ended("a", jobs.Succeeded)
	f.exec(`delete from bulkexport.outbox`)
	for _, l := range []struct{ who, outcome, state, code, age string }{
		{"tried@x", "ready", "due", "smtp_unavailable", "7 minutes"},
		{"new@x", "ready", "due", "", "1 day"},
		{"frozen@x", "ready", "due", jobs.CodeFrozen, "1 day"},
		{"others@x", "exported", "due", "smtp_unavailable", "1 day"},
		{"refused@x", "ready", "refused", "550", "1 hour"},
		{"long ago@x", "ready", "refused", "550", "2 days"},
		{"sent@x", "ready", "sent", "", "1 hour"},
	} {
		f.exec(`insert into bulkexport.outbox (job_id, recipient, outcome, state, last_error, asked_at)
			values ($1, $2, $3, $4, nullif($5, ''), now() - $6::text::interval)`, id, l.who, l.outcome, l.state, l.code, l.age)
	}
	f.exec(`insert into bulkexport.absent_projects values ('young', now()), ('old', now() - interval '8 days')`)
	if err := f.Looked(t.Context(), 5, 3); err != nil {
		t.Fatal(err)
	}
	st, err := f.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Letters[jobs.LetterDue] != 4 || st.Letters[jobs.LetterRefused] != 1 || len(st.Letters) != 2 || !near(st.Undelivered, 7*time.Minute) {
		t.Errorf("%v, undelivered %s", st.Letters, st.Undelivered)
	}
	if st.Orphans != 5 || st.OrphansLeft != 3 || st.AbsentProjects != 1 {
		t.Errorf("%+v", st)
	}
}

// Who takes a lost job back tells which, and to where it went.
func TestLostLeaseIsTold(t *testing.T) {
	f := open(t)
	c := f.claimed("a")
	f.exec(`update bulkexport.jobs set lease_until = now() - interval '1 second', rows_done = 9, trace = 'tp' where id = $1`, c.Fence.Job)
	_, lost, err := f.Dispatch(t.Context(), jobs.DispatchRules{ProjectSlots: 1, MaxFailures: jobs.MaxFailures})
	if err != nil || len(lost) != 1 {
		t.Fatal(lost, err)
	}
	m := lost[0]
	if m.Job != c.Fence.Job || m.From != jobs.Running || m.To != jobs.Queued || m.Attempt != 1 || m.Outcome != "lost" || m.Rows != 9 ||
		m.Trace != "tp" || m.Begun.IsZero() || m.Made.IsZero() || m.Kind != jobs.Conversations || m.Lane != jobs.Large {
		t.Errorf("%+v", m)
	}
	if _, again, err := f.Dispatch(t.Context(), jobs.DispatchRules{ProjectSlots: 1, MaxFailures: jobs.MaxFailures}); err != nil || len(again) != 0 {
		t.Errorf("told twice: %v %v", again, err)
	}
}
