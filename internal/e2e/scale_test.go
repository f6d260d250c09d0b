//go:build faultpoints

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// TestScale shows what the number of projects costs: each has had three exports
// and has thirty rows at the platform, and every tenth waits for one. It is what
// the table in docs/scaling.md is made with.
func TestScale(t *testing.T) {
	for _, projects := range []int{10, 1000, 100_000} {
		t.Run(fmt.Sprint(projects), func(t *testing.T) { scale(t, projects) })
	}
}

func scale(t *testing.T, projects int) {
	w := testenv.New(t)
	s := start(t, w, 0, "LOG_LEVEL=WARN", "PROJECT_QUEUE_MAX=1000")
	db := w.Admin(t)
	const own = "p-1"
	for _, sql := range []string{
		`insert into "llm-convo-monitor" (convo_id, course_name, convo)
			select g || '', 'p-' || (g % $1::int + 1), '{"messages":[]}' from generate_series(1, 30 * $1::int) g`,
		`insert into bulkexport.jobs (id, project, kind, lane, requested_by, state, error_code, error_message, error_retryable, dispatched_at, finished_at)
			select gen_random_uuid(), 'p-' || (g % $1::int + 1), 'conversations', 'small', 'a@example.edu', 'failed', 'internal', '', false, now() - g * interval '1 second', now() from generate_series(1, 3 * $1::int) g`,
		`insert into bulkexport.jobs (id, project, kind, lane, requested_by) select gen_random_uuid(), 'p-' || (10 * g), 'conversations', 'small', 'a@example.edu' from generate_series(1, $1::int / 10) g`,
	} {
		if _, err := db.Exec(t.Context(), sql, projects); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec(t.Context(), `analyze`); err != nil {
		t.Fatal(err)
	}
	rdb := w.Roles(t)
	pipe := rdb.Pipeline()
	for i := range projects {
		pipe.HSet(t.Context(), "course_metadatas", fmt.Sprint("p-", i+1), fmt.Sprintf(`{"course_owner":"owner-%d@example.edu","course_admins":["a@example.edu","b@example.edu"],"is_private":true}`, i))
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	owned(t, w, own)

	id := s.create(own, conversations).ID
	measure := func(method, path, body string, times int) (median, worst time.Duration) {
		t.Helper()
		var took []time.Duration
		for range times {
			began := time.Now()
			if a := s.call(method, path, demodata.OwnerKey, body); a.status >= 300 {
				t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)/2], took[len(took)-1]
	}
	for _, c := range []struct {
		name, method, path, body string
		times                    int
		limit                    time.Duration
	}{
		{"create", http.MethodPost, exportsOf(own), `{"kind":"conversations","fresh":true}`, 50, 500 * time.Millisecond},
		{"status", http.MethodGet, "/v1/exports/" + id, "", 50, 500 * time.Millisecond},
		{"list", http.MethodGet, exportsOf(own), "", 50, 500 * time.Millisecond},
		{"preview", http.MethodGet, exportsOf(own) + "/preview?kind=conversations", "", 1, 6 * time.Second},
		{"my projects", http.MethodGet, "/", "", 3, 5 * time.Second},
	} {
		middle, worst := measure(c.method, c.path, c.body, c.times)
		t.Logf("%d projects: %s: %.1f ms, at most %.1f ms", projects, c.name, float64(middle.Microseconds())/1000, float64(worst.Microseconds())/1000)
		if middle > c.limit {
			t.Errorf("%s takes %s", c.name, middle)
		}
	}
	// A worker comes, and the first that waits begins.
	began := time.Now()
	s.worker("MAX_RUNNING=8")
	s.eventually("the queue moves", func() bool {
		var n int
		err := db.QueryRow(t.Context(), `select count(*) from bulkexport.attempts where outcome = 'succeeded'`).Scan(&n)
		return err == nil && n >= min(projects/10, 20)
	})
	t.Logf("%d projects: a worker began and ended %d exports in %.1f s", projects, min(projects/10, 20), time.Since(began).Seconds())
}
