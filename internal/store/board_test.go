package store_test

import (
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

func TestDispatchWithinSlots(t *testing.T) {
	f := open(t)
	for range 4 {
		f.create(newJob("a"))
		f.create(newJob("b"))
		f.create(newJob("c"))
	}
	rules := jobs.DispatchRules{ProjectSlots: 1}
	if got := f.dispatch(rules); len(got) != 0 {
		t.Errorf("%d jobs dispatched to no worker", len(got))
	}
	f.heartbeat("w1", 1, 3)
	f.heartbeat("w2", 1, 3)
	if got := f.dispatch(rules); len(got) != 2 || got[0].Dispatch != 1 {
		t.Errorf("two slots: %v", got)
	}
	if got := f.dispatch(rules); len(got) != 0 {
		t.Errorf("dispatched above the slots: %v", got)
	}
	f.heartbeat("w3", 9, 0)
	// One a project: the third project's.
	if got := f.dispatch(rules); len(got) != 1 {
		t.Errorf("dispatched above the projects' slots: %v", got)
	}
	if got := f.dispatch(jobs.DispatchRules{ProjectSlots: 2, MaxRunning: 5}); len(got) != 2 {
		t.Errorf("MaxRunning 5, 3 under way: %v", got)
	}
}

func TestDispatchTakesTurns(t *testing.T) {
	f := open(t)
	for range 5 {
		f.create(newJob("flood"))
	}
	f.create(newJob("a"))
	f.create(newJob("b"))
	f.heartbeat("w", 1, 0)
	order := []string{}
	for range 4 {
		got := f.dispatch(jobs.DispatchRules{ProjectSlots: 1})
		if len(got) != 1 {
			t.Fatalf("%d jobs for one slot", len(got))
		}
		order = append(order, f.get(got[0].Job).Project)
		f.exec(`update bulkexport.jobs set state = 'canceled' where id = $1`, got[0].Job)
	}
	want := []string{"flood", "a", "b", "flood"}
	for i := range want {
		if order[i] != want[i] {
			t.Fatalf("served %v, want %v", order, want)
		}
	}
}

// A ring that was lost is repeated under a new number.
func TestDispatchAgain(t *testing.T) {
	f := open(t)
	j := f.create(newJob("a"))
	f.heartbeat("w", 1, 0)
	f.dispatch(jobs.DispatchRules{ProjectSlots: 1})
	f.exec(`update bulkexport.jobs set dispatched_at = now() - interval '11 seconds' where id = $1`, j.ID)
	if got := f.dispatch(jobs.DispatchRules{ProjectSlots: 1}); len(got) != 1 || got[0].Dispatch != 2 {
		t.Errorf("not rung again: %v", got)
	}
}

func TestDispatchWaitsForNextAt(t *testing.T) {
	f := open(t)
	c := f.claimed("a")
	f.heartbeat("w", 1, 0)
	state, err := f.End(t.Context(), c.Fence, jobs.Ending{
		State: jobs.Queued, Failure: &jobs.Failure{Code: jobs.CodeStore},
	})
	if err != nil || state != jobs.Queued {
		t.Fatal(state, err)
	}
	if j := f.get(c.Fence.Job); j.Phase != jobs.Retrying || j.NextAt == nil || j.Failures != 1 || j.Failure != nil {
		t.Errorf("%+v", j)
	}
	if a := f.get(c.Fence.Job).Attempts; len(a) != 1 || a[0].Outcome != "retried" || a[0].Code == "" {
		t.Errorf("the attempt and its error are not kept: %+v", a)
	}
	if got := f.dispatch(jobs.DispatchRules{ProjectSlots: 1}); len(got) != 0 {
		t.Error("dispatched before its time")
	}
	again := jobs.Ticket{Job: c.Fence.Job, Dispatch: c.Job.Dispatch, Lane: jobs.Large}
	if _, ok, err := f.Claim(t.Context(), again, "w2", lease); ok || err != nil {
		t.Error("a doubled ticket was claimed before its time", err)
	}
	f.exec(`update bulkexport.jobs set next_at = now() where id = $1`, c.Fence.Job)
	if got := f.dispatch(jobs.DispatchRules{ProjectSlots: 1}); len(got) != 1 {
		t.Error("not dispatched at its time")
	}
}

func TestLostLease(t *testing.T) {
	f := open(t)
	f.heartbeat("w", 1, 0)
	c := f.claimed("a")
	lose := func() {
		f.exec(`update bulkexport.jobs set lease_until = now() - interval '1 second' where id = $1`, c.Fence.Job)
		f.dispatch(jobs.DispatchRules{ProjectSlots: 1})
	}
	reclaim := func() {
		var ok bool
		var err error
		j := f.get(c.Fence.Job)
		c, ok, err = f.Claim(t.Context(), jobs.Ticket{Job: j.ID, Dispatch: j.Dispatch}, "w", lease)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	// A lease lost after a checkpoint costs nothing.
	must(t, f.BeginUpload(t.Context(), c.Fence, jobs.Upload{Nonce: "n", Key: "k"}))
	must(t, f.Commit(t.Context(), c.Fence, jobs.Cut{Version: jobs.CutVersion, Rows: 7, Parts: []jobs.Part{{Number: 1}}}))
	lose()
	if j := f.get(c.Fence.Job); j.State != jobs.Queued || j.Failures != 0 {
		t.Fatalf("%+v", j)
	}
	for n := 1; n <= jobs.MaxFailures; n++ {
		reclaim()
		if c.Resume == nil || c.Resume.Upload.Nonce != "n" || c.Resume.Cut.Rows != 7 || len(c.Resume.Cut.Parts) != 1 || c.Abandoned != nil {
			t.Fatalf("the checkpoint is forgotten: %+v", c)
		}
		lose()
		j := f.get(c.Fence.Job)
		if want := jobs.Queued; n < jobs.MaxFailures && (j.State != want || j.Failures != n) {
			t.Fatalf("loss %d: %+v", n, j)
		}
	}
	j := f.get(c.Fence.Job)
	if j.State != jobs.Failed || j.Failure.Code != jobs.CodeWorkerLost || j.FinishedAt == nil {
		t.Errorf("%+v", j)
	}
	if n := f.count(`select count(*) from bulkexport.outbox where outcome = 'failed'`); n != 1 {
		t.Errorf("%d mails", n)
	}
	if len(j.Attempts) != jobs.MaxFailures+1 {
		t.Fatalf("%d attempts", len(j.Attempts))
	}
	for i, a := range j.Attempts {
		if a.Number != i+1 || a.Outcome != "lost" || a.Worker == "" || a.EndedAt == nil || a.EndedAt.Before(a.StartedAt) {
			t.Errorf("attempt %d: %+v", i+1, a)
		}
	}
}

// What another version of the service left is no point to go on from.
func TestClaimOfAnUnknownCheckpoint(t *testing.T) {
	f := open(t)
	f.heartbeat("w", 1, 0)
	c := f.claimed("a")
	must(t, f.BeginUpload(t.Context(), c.Fence, jobs.Upload{Nonce: "n", Key: "k"}))
	must(t, f.Commit(t.Context(), c.Fence, jobs.Cut{Version: jobs.CutVersion}))
	must(t, f.Commit(t.Context(), c.Fence, jobs.Cut{Version: jobs.CutVersion + 1}))
	f.exec(`update bulkexport.jobs set lease_until = now() - interval '1 second' where id = $1`, c.Fence.Job)
	ticket := f.dispatch(jobs.DispatchRules{ProjectSlots: 1})[0]
	again, ok, err := f.Claim(t.Context(), ticket, "w", lease)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if again.Resume != nil || again.Abandoned == nil || again.Abandoned.Nonce != "n" {
		t.Errorf("resumed: %+v", again)
	}
}

func TestLostLeaseOfACanceledJob(t *testing.T) {
	f := open(t)
	c := f.claimed("a")
	if _, err := f.RequestCancel(t.Context(), c.Fence.Job, jobs.Principal{Email: "a"}); err != nil {
		t.Fatal(err)
	}
	f.exec(`update bulkexport.jobs set lease_until = now() - interval '1 second' where id = $1`, c.Fence.Job)
	f.dispatch(jobs.DispatchRules{ProjectSlots: 1})
	if j := f.get(c.Fence.Job); j.State != jobs.Canceled || j.FinishedAt == nil {
		t.Errorf("%+v", j)
	}
}

func TestLanesAreApart(t *testing.T) {
	f := open(t)
	small := newJob("a")
	small.Lane = jobs.Small
	f.create(newJob("a"))
	f.create(small)
	f.heartbeat("w", 0, 1)
	got := f.dispatch(jobs.DispatchRules{ProjectSlots: 1})
	if len(got) != 1 || got[0].Lane != jobs.Small {
		t.Errorf("one small slot: %v", got)
	}
}

// The place that people are told is the dispatcher's own order.
func TestQueuePosition(t *testing.T) {
	f := open(t)
	var ids []string
	for _, project := range []string{"flood", "flood", "flood", "a", "flood", "b", "a"} {
		ids = append(ids, f.create(newJob(project)).ID)
	}
	small := newJob("flood")
	small.Lane = jobs.Small
	if j := f.create(small); *j.QueuePosition != 1 {
		t.Errorf("alone in its lane at %d", *j.QueuePosition)
	}
	if list, err := f.List(t.Context(), jobs.ListQuery{Project: "b", Limit: 10}); err != nil || *list[0].QueuePosition != 3 {
		t.Error(list, err)
	}
	f.heartbeat("w", 1, 0)
	for want := range ids {
		first := 0
		for _, id := range ids {
			if j := f.get(id); j.QueuePosition != nil && *j.QueuePosition == 1 {
				first++
				f.dispatch(jobs.DispatchRules{ProjectSlots: 1})
				if j := f.get(id); j.Dispatch != 1 || *j.QueuePosition != 1 {
					t.Fatalf("%d.: place 1 was not dispatched: %+v", want, j)
				}
				if _, ok, err := f.Claim(t.Context(), jobs.Ticket{Job: id, Dispatch: 1, Lane: jobs.Large}, "w", lease); !ok || err != nil {
					t.Fatal(ok, err)
				}
				if f.get(id).QueuePosition != nil {
					t.Error("a running job has a place")
				}
				f.exec(`update bulkexport.jobs set state = 'canceled', lease_until = null where id = $1`, id)
				break
			}
		}
		if first != 1 {
			t.Fatalf("%d.: %d jobs at place 1", want, first)
		}
	}
}

// A long queue and a long past cost a pass, and a look at a job, little.
func TestLongQueue(t *testing.T) {
	f := open(t)
	f.exec(`insert into bulkexport.jobs (id, project, kind, requested_by, lane, state, dispatch, dispatched_at, error_code)
		select gen_random_uuid(), 'p' || g % 50, 'documents', 'a@example.edu', 'large', 'failed', 1, now() - g * interval '1 minute', 'c' from generate_series(1, 100000) g`)
	f.exec(`insert into bulkexport.jobs (id, project, kind, requested_by, lane)
		select gen_random_uuid(), 'p' || case when g % 2 = 0 then 0 else g % 50 end, 'documents', 'a@example.edu', 'large' from generate_series(1, 10000) g`)
	f.exec(`analyze bulkexport.jobs`)
	f.heartbeat("w", 20, 0)
	var last string
	if err := f.db.QueryRow(t.Context(), `select id::text from bulkexport.jobs where state = 'queued' order by created_at desc limit 1`).Scan(&last); err != nil {
		t.Fatal(err)
	}
	quickest := func(do func()) time.Duration {
		best := time.Hour
		for range 5 {
			began := time.Now()
			do()
			best = min(best, time.Since(began))
		}
		return best
	}
	pass := quickest(func() { f.dispatch(jobs.DispatchRules{ProjectSlots: 1}) })
	look := quickest(func() { f.get(last) })
	t.Logf("10,000 jobs wait, 100,000 are over: a pass takes %s, a look at a job %s", pass, look)
	if pass > 450*time.Millisecond || look > 300*time.Millisecond {
		t.Errorf("a pass takes %s, a look at a job %s", pass, look)
	}
}
