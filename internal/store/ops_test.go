package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

var op = jobs.Principal{Email: "op@example.edu", Remote: "192.0.2.1"}

// noted are the operator's lines of the audit, oldest first.
func (f *fixture) noted() (all []string) {
	f.t.Helper()
	rows, err := f.db.Query(f.t.Context(), `select action || ' ' || project from bulkexport.audit where actor = $1 order by id`, op.Email)
	must(f.t, err)
	defer rows.Close()
	for rows.Next() {
		var s string
		must(f.t, rows.Scan(&s))
		all = append(all, s)
	}
	return all
}

// What is paused does not start, though it was told to; what runs goes on.
func TestPause(t *testing.T) {
	f := open(t)
	f.heartbeat("w", 9, 0)
	rules := jobs.DispatchRules{ProjectSlots: 9}
	running := f.claimed("a")
	told := f.create(newJob("a"))
	ticket := f.dispatch(rules)[0]
	must(t, f.Pause(t.Context(), "a", op))
	must(t, f.Pause(t.Context(), "a", op)) // once more changes nothing
	if _, ok, err := f.Claim(t.Context(), ticket, "w", lease); ok || err != nil {
		t.Error("a paused job was claimed", err)
	}
	f.exec(`update bulkexport.jobs set dispatched_at = now() - interval '11 seconds' where id = $1`, told.ID)
	other := f.create(newJob("b"))
	if got := f.dispatch(rules); len(got) != 1 || got[0].Job != other.ID {
		t.Errorf("dispatched %v, want the other project's alone", got)
	}
	if _, err := f.Renew(t.Context(), running.Fence, jobs.Beat{Lease: lease, Phase: jobs.Streaming}); err != nil {
		t.Errorf("what runs does not go on: %v", err)
	}
	if j := f.get(told.ID); !j.Paused || j.Version == told.Version {
		t.Errorf("who looks does not see it: %+v", j)
	}
	must(t, f.Pause(t.Context(), "", op))
	must(t, f.Resume(t.Context(), "a", op))
	f.create(newJob("c"))
	if got := f.dispatch(rules); len(got) != 0 {
		t.Errorf("all is paused, and %v dispatched", got)
	}
	must(t, f.Resume(t.Context(), "", op))
	must(t, f.Resume(t.Context(), "", op))
	if got := f.dispatch(rules); len(got) != 2 {
		t.Errorf("nothing is paused, and %v dispatched", got)
	}
	if got, want := f.noted(), []string{"pause a", "pause ", "resume a", "resume "}; !slices.Equal(got, want) {
		t.Errorf("noted %q, want %q", got, want)
	}
}

// What was moved ahead goes before the turns of all others, within its
// project's slots, and stands so in the queue.
func TestMoveAhead(t *testing.T) {
	f := open(t)
	f.heartbeat("w", 1, 0)
	rules := jobs.DispatchRules{ProjectSlots: 1}
	f.create(newJob("a"))
	f.create(newJob("b"))
	f.create(newJob("c"))
	last := f.create(newJob("c"))
	must(t, f.MoveAhead(t.Context(), last.ID, op))
	if j := f.get(last.ID); !j.Ahead || j.QueuePosition == nil || *j.QueuePosition != 1 {
		t.Errorf("%+v", j)
	}
	if got := f.dispatch(rules); len(got) != 1 || got[0].Job != last.ID {
		t.Fatalf("dispatched %v", got)
	}
	f.heartbeat("v", 9, 0)
	if got := f.dispatch(rules); len(got) != 2 { // c has its one slot busy
		t.Errorf("dispatched %v", got)
	}
	f.exec(`update bulkexport.jobs set state = 'canceled' where id = $1`, last.ID)
	if err := f.MoveAhead(t.Context(), last.ID, op); !errors.Is(err, jobs.ErrFinal) {
		t.Error(err)
	}
	if got := f.noted(); !slices.Equal(got, []string{"move_ahead c"}) {
		t.Errorf("noted %q", got)
	}
}

// A back-off ends at an operator's word; the failures count on.
func TestHasten(t *testing.T) {
	f := open(t)
	f.heartbeat("w", 1, 0)
	c := f.claimed("a")
	_, err := f.End(t.Context(), c.Fence, jobs.Ending{State: jobs.Queued, Failure: &jobs.Failure{Code: jobs.CodeStore}})
	must(t, err)
	must(t, f.Hasten(t.Context(), c.Job.ID, op))
	if j := f.get(c.Job.ID); j.NextAt != nil || j.Phase != jobs.Waiting || j.Failures != 1 {
		t.Errorf("%+v", j)
	}
	if got := f.dispatch(jobs.DispatchRules{ProjectSlots: 1}); len(got) != 1 {
		t.Error("it does not start")
	}
	if err := f.Hasten(t.Context(), "00000000-0000-0000-0000-000000000000", op); !errors.Is(err, jobs.ErrNotFound) {
		t.Error(err)
	}
}

// What is over runs again for who had asked, once; the audit names who did it.
func TestRerun(t *testing.T) {
	f := open(t)
	n := newJob("a")
	n.Notify = []string{"b@example.edu"}
	j := f.create(n)
	if _, err := f.Rerun(t.Context(), j.ID, newJob("").ID, op); !errors.Is(err, jobs.ErrNotOver) {
		t.Error(err)
	}
	f.exec(`update bulkexport.jobs set state = 'failed', error_code = 'internal', error_message = '', error_retryable = true, finished_at = now() where id = $1`, j.ID)
	fresh := newJob("").ID
	got, err := f.Rerun(t.Context(), j.ID, fresh, op)
	must(t, err)
	k := f.get(got)
	if got != fresh || k.RequestedBy != j.RequestedBy || k.Spec != j.Spec || k.State != jobs.Queued || k.Lane != j.Lane {
		t.Errorf("%+v", k)
	}
	if again, err := f.Rerun(t.Context(), j.ID, newJob("").ID, op); again != fresh || err != nil {
		t.Errorf("twice: %s, %v", again, err)
	}
	if got := f.noted(); !slices.Equal(got, []string{"retry a"}) {
		t.Errorf("noted %q", got)
	}
}

// found are the kinds of what needs attention.
func (f *fixture) found() map[jobs.FindingKind]jobs.Finding {
	f.t.Helper()
	list, err := f.Findings(f.t.Context(), jobs.OperatorLimits)
	must(f.t, err)
	all := make(map[jobs.FindingKind]jobs.Finding)
	for _, n := range list {
		all[n.Kind] = n
	}
	return all
}

func TestFindings(t *testing.T) {
	f := open(t)
	if got := f.found(); len(got) != 1 || got[jobs.NoWorker].Count != 1 {
		t.Errorf("an empty house: %+v", got)
	}
	f.heartbeat("w1", 1, 1)
	if got := f.found(); len(got) != 0 {
		t.Errorf("all is well: %+v", got)
	}
	c := f.claimed("a") // by w1
	f.exec(`update bulkexport.attempts set started_at = now() - interval '2 minutes'`)
	f.create(newJob("a"))
	must(t, f.Swept(t.Context(), jobs.Swept{}))
	if got := f.found(); len(got) != 0 {
		t.Errorf("all is well: %+v", got)
	}
	for kind, sql := range map[jobs.FindingKind]string{
		jobs.WorkerSilent:   `update bulkexport.workers set seen_at = now() - interval '16 seconds'`,
		jobs.NoProgress:     `update bulkexport.jobs set phase = 'streaming', moved_at = now() - interval '61 seconds' where state = 'running'`,
		jobs.WaitingTooLong: `update bulkexport.jobs set created_at = now() - interval '61 minutes' where state = 'queued'`,
		jobs.RetryStorm:     `update bulkexport.jobs set failures = 3 where state = 'running'`,
		jobs.NoCleanUp:      `update bulkexport.installation set swept_at = now() - interval '11 minutes'`,
		jobs.StoreFull:      `update bulkexport.attempts set error_code = 'store_full', ended_at = now()`,
		jobs.MailsStuck:     `insert into bulkexport.outbox (job_id, recipient, outcome, asked_at) select id, 'x', 'ready', now() - interval '61 minutes' from bulkexport.jobs limit 1`,
		jobs.Paused:         `insert into bulkexport.pauses (project, paused_by) values ('z', 'op')`,
		jobs.ExportsFailed: `insert into bulkexport.jobs (id, project, kind, lane, requested_by, state, finished_at, error_code, error_message, error_retryable)
			values (gen_random_uuid(), 'b', 'documents', 'small', 'x', 'failed', now(), 'store_refused', '', true)`,
	} {
		f.exec(sql)
		got, ok := f.found()[kind]
		if !ok || got.Count != 1 {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	got := f.found()
	if got[jobs.WorkerSilent].Worker != "w1" || got[jobs.WorkerSilent].Job != c.Job.ID || got[jobs.ExportsFailed].Code != jobs.CodeStoreDenied ||
		got[jobs.WaitingTooLong].Lane != jobs.Large || got[jobs.Paused].Who != "op" {
		t.Errorf("%+v", got)
	}
}

// What takes its time, or waits at somebody's word, needs nobody's attention.
func TestNoFindings(t *testing.T) {
	f := open(t)
	f.heartbeat("w1", 1, 1)
	c := f.claimed("a")
	f.exec(`update bulkexport.attempts set started_at = now() - interval '2 minutes'`)
	f.create(newJob("a"))
	f.exec(`update bulkexport.jobs set created_at = now() - interval '61 minutes', moved_at = now() - interval '61 seconds'`)
	if _, ok := f.found()[jobs.WaitingTooLong]; !ok {
		t.Error("it may wait for ever")
	}
	// Counting takes as long as it takes, and a beat is no progress.
	if _, ok := f.found()[jobs.NoProgress]; ok {
		t.Error("it may not count for long")
	}
	for range 2 {
		f.exec(`update bulkexport.jobs set moved_at = now() - interval '61 seconds' where state = 'running'`)
		_, err := f.Renew(t.Context(), c.Fence, jobs.Beat{Lease: lease, Phase: jobs.Streaming, Progress: jobs.Progress{Rows: 5}})
		must(t, err)
	}
	if _, ok := f.found()[jobs.NoProgress]; !ok {
		t.Error("a beat alone is taken for progress")
	}
	// What is paused, or in a back-off, may wait for as long as it does.
	for _, sql := range []string{`update bulkexport.jobs set next_at = now() + interval '1 minute' where state = 'queued'`,
		`update bulkexport.jobs set next_at = null where state = 'queued'; insert into bulkexport.pauses (project, paused_by) values ('a', 'op')`} {
		f.exec(sql)
		if _, ok := f.found()[jobs.WaitingTooLong]; ok {
			t.Errorf("it waits too long after %s", sql)
		}
	}
}

func TestFlow(t *testing.T) {
	f := open(t)
	f.heartbeat("w1", 2, 1)
	c := f.claimed("a")
	small := newJob("b")
	small.Lane = jobs.Small
	f.create(small)
	second := f.create(newJob("a"))
	f.exec(`insert into bulkexport.jobs (id, project, kind, lane, requested_by, state, created_at, started_at, finished_at, rows_done, bytes_raw, bytes_stored, expires_at, sha256, upload_key)
		select gen_random_uuid(), 'old', 'documents', 'large', 'x', 'succeeded', now() - g * interval '2 seconds', now() - g * interval '1 second', now(), 10, 1000, 100,
			case g when 1 then now() - interval '1 minute' else now() + interval '1 hour' end, 's', 'k' from generate_series(1, 4) g`)
	must(t, f.Swept(t.Context(), jobs.Swept{Deleted: 2, Freed: 7}))
	must(t, f.Swept(t.Context(), jobs.Swept{})) // finds nothing, and leaves what the last one did
	got, err := f.Flow(t.Context())
	must(t, err)
	lane := got.Lanes[slices.IndexFunc(got.Lanes, func(l jobs.LaneLoad) bool { return l.Lane == jobs.Large })]
	if lane.Waiting != 1 || lane.Running != 1 || lane.Slots != 2 || lane.Ended != 4 || lane.Oldest == nil ||
		lane.Wait50 != 2500*time.Millisecond || lane.Run50 != 2500*time.Millisecond || lane.Run95 < 3*time.Second || lane.Run95 > 4*time.Second {
		t.Errorf("%+v", lane)
	}
	if len(got.Line) != 2 || got.Line[1].Job != second.ID || got.Line[1].Busy != 1 || got.Line[1].LaneFree != 1 || got.Line[1].Behind != c.Job.ID || got.Line[1].Number != 1 {
		t.Errorf("%+v", got.Line)
	}
	if len(got.Workers) != 1 || len(got.Workers[0].Jobs) != 1 || got.Workers[0].Jobs[0].ID != c.Job.ID {
		t.Errorf("%+v", got.Workers)
	}
	if len(got.Hours) != 24 || got.Hours[23].Exports+got.Hours[22].Exports != 4 || got.Hours[23].Rows+got.Hours[22].Rows != 40 {
		t.Errorf("%+v", got.Hours)
	}
	if len(got.Costs) != 1 || got.Costs[0].Project != "old" || got.Costs[0].BytesKept != 400 || got.Costs[0].Seconds < 9.9 || got.Costs[0].Seconds > 10.1 {
		t.Errorf("%+v", got.Costs)
	}
	if u := got.CleanUp; u.Overdue != 1 || u.OverdueBytes != 100 || u.Soon != 3 || u.At == nil || u.Last == nil || u.Last.Freed != 7 || u.Last.Deleted != 2 {
		t.Errorf("%+v %+v", u, u.Last)
	}
}

func TestSearchAndStory(t *testing.T) {
	f := open(t)
	c := f.claimed("Alpha 100%")
	beta := f.create(newJob("beta"))
	for want, q := range map[string]jobs.SearchQuery{
		c.Job.ID: {Text: "PHA 100%"}, beta.ID: {Project: "beta"}, "": {Text: "%"},
	} {
		q.Limit = 9
		got, err := f.Search(t.Context(), q)
		must(t, err)
		if q.Text == "%" {
			want = c.Job.ID // it is no pattern
		}
		if len(got) != 1 || got[0].ID != want {
			t.Errorf("%+v: %v", q, got)
		}
	}
	for _, q := range []jobs.SearchQuery{{State: jobs.Running}, {State: jobs.Queued, Kind: jobs.Conversations}, {Text: beta.ID}} {
		q.Limit = 9
		if got, err := f.Search(t.Context(), q); err != nil || len(got) != 1 {
			t.Errorf("%+v: %v, %v", q, got, err)
		}
	}
	if got, err := f.Search(t.Context(), jobs.SearchQuery{Before: beta.ID, Limit: 9}); err != nil || len(got) != 1 || got[0].ID != c.Job.ID {
		t.Errorf("%v, %v", got, err)
	}

	must(t, f.BeginUpload(t.Context(), c.Fence, jobs.Upload{Nonce: "n", Key: "k"}))
	for _, phase := range []jobs.Phase{jobs.Planning, jobs.Streaming, jobs.Streaming, jobs.Completing} {
		_, err := f.Renew(t.Context(), c.Fence, jobs.Beat{Lease: lease, Phase: phase})
		must(t, err)
	}
	must(t, f.Commit(t.Context(), c.Fence, jobs.Cut{Version: jobs.CutVersion, Rows: 5, BytesRaw: 50, BytesStored: 10}))
	if _, err := f.Renew(t.Context(), jobs.Fence{Job: c.Job.ID, Attempt: 9}, jobs.Beat{Phase: jobs.Verifying}); !errors.Is(err, jobs.ErrFenced) {
		t.Error(err)
	}
	got, err := f.Story(t.Context(), c.Job.ID)
	must(t, err)
	if len(got.Phases) != 3 || got.Phases[2].Phase != jobs.Completing || len(got.Points) != 1 || got.Points[0].Rows != 5 || got.Points[0].Raw != 50 || got.Points[0].Stored != 10 || len(got.Audit) != 1 || len(got.Job.Attempts) != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := f.Story(t.Context(), "00000000-0000-0000-0000-000000000000"); !errors.Is(err, jobs.ErrNotFound) {
		t.Error(err)
	}
}
