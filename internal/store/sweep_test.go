package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// ended makes a job that has ended so, with an upload.
func (f *fixture) ended(project string, state jobs.State) string {
	f.t.Helper()
	c := f.claimed(project)
	if err := f.BeginUpload(f.t.Context(), c.Fence, jobs.Upload{Nonce: "n", Key: "k/" + c.Fence.Job, ID: "u"}); err != nil {
		f.t.Fatal(err)
	}
	e := jobs.Ending{State: state, Retention: time.Hour}
	switch state {
	case jobs.Succeeded:
		e.Result = &jobs.Result{Filename: "f", SHA256: "00", SHA256Raw: "00"}
	case jobs.Failed:
		e.Failure = &jobs.Failure{Code: "c", Message: "m"}
	}
	if _, err := f.End(f.t.Context(), c.Fence, e); err != nil {
		f.t.Fatal(err)
	}
	return c.Fence.Job
}

func (f *fixture) doomed() (ids []string) {
	f.t.Helper()
	list, err := f.Doomed(f.t.Context(), 100)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, d := range list {
		if d.Key != "k/"+d.Job || d.Nonce != "n" || d.ID != "u" {
			f.t.Errorf("%+v", d)
		}
		ids = append(ids, d.Job)
	}
	return ids
}

// The data of a job goes when its row has moved, and once.
func TestExpireAndDelete(t *testing.T) {
	f := open(t)
	old, young := f.ended("a", jobs.Succeeded), f.ended("b", jobs.Succeeded)
	failed, canceled := f.ended("c", jobs.Failed), f.ended("d", jobs.Canceled)
	f.claimed("e")
	f.exec(`update bulkexport.jobs set expires_at = now() where id = $1`, old)
	if ids, err := f.Overdue(t.Context(), 10); err != nil || !slices.Equal(ids, []string{old}) {
		t.Fatal(ids, err)
	}
	if got := f.doomed(); !slices.Equal(got, []string{failed, canceled}) {
		t.Errorf("doomed before anything expired: %v", got)
	}
	if _, err := f.Expire(t.Context(), []string{old, failed}); err != nil {
		t.Fatal(err)
	}
	if got := f.doomed(); !slices.Equal(got, []string{old, failed, canceled}) {
		t.Errorf("doomed: %v", got)
	}
	for _, id := range []string{old, failed, young} {
		if err := f.Deleted(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.doomed(); !slices.Equal(got, []string{canceled}) {
		t.Errorf("doomed after the deletion: %v", got)
	}
	if a, b := f.get(old), f.get(young); a.State != jobs.Expired || b.State != jobs.Succeeded {
		t.Errorf("%s, %s", a.State, b.State)
	}
	if n := f.count(`select count(*) from bulkexport.jobs where data_deleted_at is not null`); n != 2 {
		t.Errorf("%d jobs without data: one that has its file was noted too", n)
	}
}

func TestTurn(t *testing.T) {
	f := open(t)
	mine, err := f.Turn(t.Context(), func(ctx context.Context) error {
		if second, err := f.Turn(ctx, func(context.Context) error { t.Error("two at once"); return nil }); second || err != nil {
			t.Error(second, err)
		}
		return nil
	})
	if !mine || err != nil {
		t.Fatal(mine, err)
	}
	if again, err := f.Turn(t.Context(), func(context.Context) error { return nil }); !again || err != nil {
		t.Error("the turn did not end", err)
	}
}

func TestPrune(t *testing.T) {
	f := open(t)
	gone, kept, fresh := f.ended("a", jobs.Failed), f.ended("b", jobs.Failed), f.ended("c", jobs.Failed)
	ready := f.ended("d", jobs.Succeeded)
	if err := f.Deleted(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if err := f.Deleted(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	f.exec(`update bulkexport.jobs set finished_at = now() - interval '31 days' where id <> $1`, fresh)
	f.exec(`insert into bulkexport.workers values ('w', 1, 1, now() - interval '2 days'), ('v', 1, 1, now())`)
	f.exec(`insert into bulkexport.idempotency_keys select 'p', 'x', 'old', '', $1, now() - interval '25 hours'`, kept)
	f.exec(`insert into bulkexport.idempotency_keys select 'p', 'x', 'new', '', $1`, kept)
	want := jobs.Pruned{Jobs: 1, Keys: 1, Workers: 1}
	for _, dry := range []bool{true, false} {
		if p, err := f.Prune(t.Context(), jobs.Keep{Jobs: 30 * 24 * time.Hour, Audit: 400 * 24 * time.Hour}, dry); err != nil || p != want {
			t.Errorf("dry %t: %+v, %v", dry, p, err)
		}
	}
	if n := f.count(`select count(*) from bulkexport.jobs where id = any($1)`, []string{kept, fresh, ready}); n != 3 {
		t.Errorf("%d of 3 rows are left: one went before its data, or its time", n)
	}
	if n := f.count(`select count(*) from bulkexport.jobs`); n != 3 {
		t.Errorf("%d rows are left", n)
	}
}

func TestNamed(t *testing.T) {
	f := open(t)
	ready, failed := f.ended("a", jobs.Succeeded), f.ended("b", jobs.Failed)
	running := f.claimed("c")
	if err := f.BeginUpload(t.Context(), running.Fence, jobs.Upload{Nonce: "n", Key: "k", ID: "u"}); err != nil {
		t.Fatal(err)
	}
	run := running.Fence.Job
	named, err := f.Named(t.Context(), []jobs.UploadName{{Job: ready, Nonce: "n"}, {Job: failed, Nonce: "n"}, {Job: run, Nonce: "n"}, {Job: run, Nonce: "m"}, {Job: "self-test", Nonce: "n"}})
	if err != nil || !named[jobs.UploadName{Job: ready, Nonce: "n"}] || !named[jobs.UploadName{Job: run, Nonce: "n"}] || len(named) != 2 {
		t.Errorf("%v, %v", named, err)
	}
}

func TestInstallation(t *testing.T) {
	f := open(t)
	id, due, err := f.Installation(t.Context(), time.Hour)
	if err != nil || !due || len(id) != 36 {
		t.Fatal(id, due, err)
	}
	if again, due, err := f.Installation(t.Context(), time.Hour); err != nil || due || again != id {
		t.Error("due twice, or another id", again, err)
	}
	if _, due, err := f.Installation(t.Context(), 0); err != nil || !due {
		t.Error("an operator's look is not due", err)
	}
}

func TestAbsentProjects(t *testing.T) {
	f := open(t)
	week := 7 * 24 * time.Hour
	absent := func(projects ...string) []string {
		t.Helper()
		long, err := f.Absent(t.Context(), projects, week)
		if err != nil {
			t.Fatal(err)
		}
		return long
	}
	if got := absent("a", "b"); len(got) != 0 {
		t.Errorf("absent for a week at once: %v", got)
	}
	f.exec(`update bulkexport.absent_projects set since = now() - interval '8 days'`)
	if got := absent("a"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v", got)
	}
	if got := absent("a", "b"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("a project that was back meanwhile: %v", got)
	}
}

func TestPurge(t *testing.T) {
	f := open(t)
	ready, failed, running := f.ended("p", jobs.Succeeded), f.ended("p", jobs.Failed), f.claimed("p").Fence.Job
	other := f.ended("q", jobs.Succeeded)
	waiting := f.create(newJob("p")).ID
	want := []string{ready, failed, running, waiting}
	for _, dry := range []bool{true, false} {
		ids, _, err := f.PurgeProject(t.Context(), "p", jobs.Principal{Email: "operator"}, dry)
		if err != nil || !slices.Equal(ids, want) {
			t.Errorf("dry %t: %v, %v", dry, ids, err)
		}
		if dry && f.get(ready).State != jobs.Succeeded {
			t.Error("a dry run purged")
		}
	}
	if a, b, c := f.get(ready), f.get(waiting), f.get(running); a.State != jobs.Expired || b.State != jobs.Canceled || !c.Canceling() {
		t.Errorf("%s, %s, %s", a.State, b.State, c.State)
	}
	if f.get(other).State != jobs.Succeeded {
		t.Error("another project was purged")
	}
	if n := f.count(`select count(*) from bulkexport.audit where action = 'purge_project' and project = 'p'`); n != 1 {
		t.Errorf("%d lines in the audit", n)
	}
}
