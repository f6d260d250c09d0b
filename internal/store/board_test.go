package store_test

import (
	"testing"

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
	if _, err := f.RequestCancel(t.Context(), c.Fence.Job, "a"); err != nil {
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
