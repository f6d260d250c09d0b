package store_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

var admin = jobs.Principal{Email: "b@example.edu", Remote: "192.0.2.7"}

// Lines are added, and go when they are old. Nothing else happens to them.
func TestAuditIsAppendOnly(t *testing.T) {
	f := open(t)
	for _, days := range []int{0, 29, 31, 500} {
		f.exec(`insert into bulkexport.audit (actor, action, project, at) values ('a', 'create', 'p', now() - make_interval(days => $1))`, days)
	}
	for name, sql := range map[string]string{
		"update":          `update bulkexport.audit set actor = 'x'`,
		"update of old":   `update bulkexport.audit set actor = 'x' where at < now() - interval '100 days'`,
		"truncate":        `truncate bulkexport.audit`,
		"delete of young": `delete from bulkexport.audit where at > now() - interval '30 days'`,
		"delete of all":   `delete from bulkexport.audit`,
	} {
		_, err := f.db.Exec(t.Context(), sql)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code != "23001" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := f.count(`select count(*) from bulkexport.audit where actor = 'a'`); n != 4 {
		t.Fatalf("%d of 4 lines are left", n)
	}
	keep := jobs.Keep{Jobs: time.Hour, Audit: 400 * 24 * time.Hour}
	if p, err := f.Prune(t.Context(), keep, false); err != nil || p.Audit != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	// Even a setting below the least leaves the young ones.
	keep.Audit = time.Hour
	if p, err := f.Prune(t.Context(), keep, false); err != nil || p.Audit != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestAuditPages(t *testing.T) {
	f := open(t)
	j := f.create(newJob("p"))
	for _, e := range []jobs.AuditEntry{
		{Actor: "a", Action: jobs.Refused, Detail: jobs.ActionGet, Project: "p", Job: j.ID, Remote: "::1"},
		{Actor: "a", Action: jobs.ActionPreview, Project: "q"},
		{Actor: "b", Action: jobs.ActionOriginal, Detail: "f.pdf", Project: "p"},
	} {
		if err := f.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	all, err := f.Entries(t.Context(), jobs.AuditQuery{Project: "p", Limit: 10})
	if err != nil || len(all) != 3 || all[0].Detail != "f.pdf" || all[2].Action != jobs.ActionCreate || all[1].Job != j.ID || all[1].Remote != "::1" {
		t.Fatalf("%+v, %v", all, err)
	}
	two, err := f.Entries(t.Context(), jobs.AuditQuery{Project: "p", Before: all[0].ID, Limit: 1})
	if err != nil || !reflect.DeepEqual(two, all[1:2]) {
		t.Errorf("%+v, %v", two, err)
	}
}

// last is the newest line about a job.
func (f *fixture) last(id string) jobs.AuditEntry {
	f.t.Helper()
	var e jobs.AuditEntry
	err := f.db.QueryRow(f.t.Context(), `select actor, action, project, remote from bulkexport.audit where job_id = $1 order by id desc limit 1`, id).
		Scan(&e.Actor, &e.Action, &e.Project, &e.Remote)
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

func TestExtend(t *testing.T) {
	f := open(t)
	id := f.ended("p", jobs.Succeeded)
	for n := range 4 {
		f.exec(`update bulkexport.jobs set expires_at = now() + interval '1 minute' where id = $1`, id)
		j, err := f.Extend(t.Context(), id, admin, 72*time.Hour, 4)
		if err != nil || time.Until(*j.ExpiresAt) < 71*time.Hour {
			t.Fatalf("time %d: %v, %v", n, j.ExpiresAt, err)
		}
	}
	if got, want := f.last(id), (jobs.AuditEntry{Actor: admin.Email, Action: jobs.ActionExtend, Project: "p", Remote: admin.Remote}); got != want {
		t.Errorf("audit: %+v", got)
	}
	if _, err := f.Extend(t.Context(), id, admin, 72*time.Hour, 4); !errors.Is(err, jobs.ErrExtended) {
		t.Errorf("a fifth time: %v", err)
	}
	f.exec(`update bulkexport.jobs set expires_at = now() + interval '100 hours', extensions = 0 where id = $1`, id)
	if j, err := f.Extend(t.Context(), id, admin, 72*time.Hour, 4); err != nil || time.Until(*j.ExpiresAt) < 99*time.Hour {
		t.Errorf("became shorter: %v, %v", j.ExpiresAt, err)
	}
	f.exec(`update bulkexport.jobs set expires_at = now() where id = $1`, id)
	expired := f.ended("p", jobs.Succeeded)
	if _, err := f.Expire(t.Context(), []string{expired}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]error{
		id:                        jobs.ErrGone,
		expired:                   jobs.ErrGone,
		f.ended("p", jobs.Failed): jobs.ErrNotReady,
		f.create(newJob("p")).ID:  jobs.ErrNotReady,
		newJob("p").ID:            jobs.ErrNotFound,
	} {
		if _, err := f.Extend(t.Context(), id, admin, time.Hour, 4); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func TestPurgeOfOne(t *testing.T) {
	f := open(t)
	id := f.ended("p", jobs.Succeeded)
	for range 2 {
		if _, err := f.Purge(t.Context(), id, admin); err != nil {
			t.Fatal(err)
		}
	}
	if j := f.get(id); j.State != jobs.Expired || time.Until(*j.ExpiresAt) > 0 {
		t.Errorf("%s until %v", j.State, j.ExpiresAt)
	}
	if n := f.count(`select count(*) from bulkexport.audit where action = 'purge' and job_id = $1 and actor = $2`, id, admin.Email); n != 1 {
		t.Errorf("%d lines in the audit", n)
	}
	doomed, err := f.Doomed(t.Context(), 10)
	if err != nil || len(doomed) != 1 || doomed[0].Job != id {
		t.Errorf("the sweeper sees %v, %v", doomed, err)
	}
	for id, want := range map[string]error{
		f.claimed("p").Fence.Job:  jobs.ErrNotOver,
		f.create(newJob("p")).ID:  jobs.ErrNotOver,
		f.ended("p", jobs.Failed): nil,
		newJob("p").ID:            jobs.ErrNotFound,
	} {
		before := f.count(`select count(*) from bulkexport.audit`)
		if _, err := f.Purge(t.Context(), id, admin); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		if f.count(`select count(*) from bulkexport.audit`) != before {
			t.Error("a purge that did nothing is in the audit")
		}
	}
}

func TestTwin(t *testing.T) {
	f := open(t)
	spec := newJob("p").Spec
	twin := func(s jobs.Spec) string {
		t.Helper()
		j, err := f.Twin(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if j == nil {
			return ""
		}
		return j.ID
	}
	if got := twin(spec); got != "" {
		t.Errorf("of nothing: %s", got)
	}
	f.ended("p", jobs.Failed)
	f.ended("q", jobs.Succeeded)
	ready := f.ended("p", jobs.Succeeded)
	if got := twin(spec); got != ready {
		t.Errorf("%s, want %s", got, ready)
	}
	running := f.claimed("p").Fence.Job
	if got := twin(spec); got != running {
		t.Errorf("%s, want the running %s", got, running)
	}
	f.exec(`update bulkexport.jobs set started_at = now() - interval '11 minutes' where id = $1`, running)
	if got := twin(spec); got != ready {
		t.Errorf("joins what would not be joined: %s", got)
	}
	f.exec(`update bulkexport.jobs set expires_at = now() where id = $1`, ready)
	if got := twin(spec); got != "" {
		t.Errorf("offers what is over: %s", got)
	}
	at := time.Now()
	spec.From = &at
	if got := twin(spec); got != "" {
		t.Errorf("another range: %s", got)
	}
}

func TestYardstick(t *testing.T) {
	f := open(t)
	if y, err := f.Yardstick(t.Context(), "p", jobs.Conversations); err != nil || y != (jobs.Yardstick{}) {
		t.Errorf("of nothing: %+v, %v", y, err)
	}
	id := f.ended("q", jobs.Succeeded)
	f.exec(`update bulkexport.jobs set rows_done = 10, bytes_raw = 100000000, bytes_stored = 20000000,
		started_at = finished_at - interval '4 seconds' where id = $1`, id)
	want := jobs.Yardstick{RawPerRow: 1e7, FilePerRow: 2e6, RawPerSecond: 25e6}
	if y, err := f.Yardstick(t.Context(), "p", jobs.Conversations); err != nil || y != want {
		t.Errorf("of others: %+v, %v", y, err)
	}
	own := f.ended("p", jobs.Succeeded)
	f.exec(`update bulkexport.jobs set rows_done = 2, bytes_raw = 60, bytes_stored = 8 where id = $1`, own)
	want.RawPerRow, want.FilePerRow = 30, 4
	if y, err := f.Yardstick(t.Context(), "p", jobs.Conversations); err != nil || y != want {
		t.Errorf("its own: %+v, %v", y, err)
	}
	if y, err := f.Yardstick(t.Context(), "p", jobs.Documents); err != nil || y != (jobs.Yardstick{}) {
		t.Errorf("of another kind: %+v, %v", y, err)
	}
}
