package store_test

import (
	"os"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// The statements of docs/privacy.md take an address out of every table, but for
// the audit of the last 30 days, and leave all others alone.
func TestErasePerson(t *testing.T) {
	doc, err := os.ReadFile("../../docs/privacy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(doc), "```sql\n")
	block, _, found := strings.Cut(block, "```")
	if !found {
		t.Fatal("docs/privacy.md has no statements")
	}
	f := open(t)
	gone, other, open := f.ended("a", jobs.Succeeded), f.ended("b", jobs.Canceled), f.claimed("c").Fence.Job
	f.exec(`update bulkexport.jobs set requested_by = 'Ann@example.edu', notify = '{ann@example.edu,bob@example.edu}' where id = $1`, gone)
	f.exec(`update bulkexport.jobs set requested_by = 'bob@example.edu', canceled_by = 'ann@example.edu' where id = $1`, other)
	f.exec(`update bulkexport.jobs set requested_by = 'ann@example.edu' where id = $1`, open)
	f.exec(`insert into bulkexport.outbox (job_id, recipient, outcome) values ($1, 'ann@example.edu', 'announced'), ($1, 'bob@example.edu', 'announced')`, gone)
	f.exec(`insert into bulkexport.idempotency_keys (project, person, key, request_hash, job_id) values ('a', 'ann@example.edu', 'k', '', $1)`, gone)
	f.exec(`insert into bulkexport.audit (at, actor, action, project) values
		(now() - interval '31 days', 'ann@example.edu', 'create', 'a'), (now() - interval '31 days', 'bob@example.edu', 'create', 'a'), (now(), 'ann@example.edu', 'create', 'a')`)
	for statement := range strings.SplitSeq(strings.TrimSpace(block), ";\n") {
		f.exec(strings.ReplaceAll(statement, ":'person'", "'ANN@example.edu'"))
	}
	for _, c := range []struct {
		what, sql string
		want      int
	}{
		{"jobs that have ended", `select count(*) from bulkexport.jobs where state not in ('queued', 'running') and concat(requested_by, canceled_by, notify::text) ilike '%ann@%'`, 0},
		{"a job that runs", `select count(*) from bulkexport.jobs where requested_by = 'ann@example.edu'`, 1},
		{"what others did", `select count(*) from bulkexport.jobs where requested_by = 'bob@example.edu' or notify = '{bob@example.edu}'`, 2},
		{"letters", `select count(*) from bulkexport.outbox where recipient = 'ann@example.edu'`, 0},
		{"others' letters", `select count(*) from bulkexport.outbox where recipient = 'bob@example.edu'`, 1},
		{"keys", `select count(*) from bulkexport.idempotency_keys`, 0},
		{"the audit", `select count(*) from bulkexport.audit where actor = 'ann@example.edu'`, 1},
		{"others in the audit", `select count(*) from bulkexport.audit where actor = 'bob@example.edu'`, 1},
	} {
		if n := f.count(c.sql); n != c.want {
			t.Errorf("%s: %d, want %d", c.what, n, c.want)
		}
	}
}
