package telemetry_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/telemetry"
)

// shown is what /metrics says.
func shown(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	rec := httptest.NewRecorder()
	m.Handler(http.NotFoundHandler()).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

func series(text string) int { return strings.Count(text, "\nbulkexport_") }

type census struct {
	says  jobs.Stats
	err   error
	asked int
}

func (c *census) Stats(context.Context) (jobs.Stats, error) {
	c.asked++
	return c.says, c.err
}

var quiet = slog.New(slog.DiscardHandler)

// everything is a process's metrics, with all collectors there are.
func everything(c jobs.Census) *telemetry.Metrics {
	m := telemetry.NewMetrics(nil)
	load := func(context.Context) (jobs.QueueLoad, error) {
		return jobs.QueueLoad{Tasks: []jobs.TaskCount{{Queue: "exports", State: "pending", N: 3}}, Memory: 70, MemoryMax: 100}, nil
	}
	probes := &telemetry.Probes{Required: map[string]telemetry.Check{"database": func(context.Context) error { return errors.New("away") }}, Log: quiet}
	m.Collect(telemetry.NewTables(c, quiet), telemetry.NewQueue(load), probes.Up())
	return m
}

// What people and programs can name has no series of its own.
func TestLabelsAreBounded(t *testing.T) {
	m := everything(&census{})
	for i := range 2 {
		var n int
		for range 300 {
			odd := strings.Repeat("x", n%7) + "a@b.example"
			m.Moved(jobs.Move{Job: odd, Kind: jobs.Kind(odd), Lane: jobs.Lane(odd), To: jobs.Failed, Outcome: odd, Code: odd})
			m.Took(jobs.Kind(odd), jobs.Lane(odd), jobs.Linked, time.Second)
			m.Took(jobs.Conversations, jobs.Small, jobs.Moment(odd), time.Second)
			m.Spent(jobs.Kind(odd), jobs.Stage(odd), time.Second)
			m.Wrote(jobs.Kind(odd), 1, 1, 1)
			m.Lettered(jobs.Try{Job: odd, Outcome: jobs.Outcome(odd), State: jobs.LetterState(odd), Code: odd})
			r := httptest.NewRequest("GET", "/v1/exports/"+odd, nil)
			r.Method = "METHOD" + strings.ReplaceAll(odd, "@", "")
			_, answered := m.Request(r)
			answered(404)
			n++
		}
		text := shown(t, m)
		if strings.Contains(text, "a@b.example") {
			t.Fatal("a label holds what was sent")
		}
		if got := series(text); got > 700 {
			t.Errorf("round %d: %d series", i, got)
		}
	}
}

// What is counted is shown, from the start on at 0.
func TestCounts(t *testing.T) {
	m := everything(&census{says: jobs.Stats{
		Jobs: []jobs.JobCount{{State: jobs.Queued, Kind: jobs.Documents, Lane: jobs.Small, N: 4}}, Silence: 21 * time.Second,
		Failed: map[string]int64{jobs.CodeStoreFull: 2}, Orphans: 5, OrphansLeft: 3,
	}})
	if text := shown(t, m); !strings.Contains(text, `bulkexport_attempts_total{code="store_full",kind="documents",outcome="retried"} 0`) {
		t.Error("a failure that never was is not shown at 0")
	}
	m.Moved(jobs.Move{Kind: jobs.Documents, Outcome: "retried", Code: jobs.CodeStoreFull})
	m.Moved(jobs.Move{Kind: jobs.Documents, To: jobs.Queued}) // no attempt has ended
	m.Swept(jobs.Report{Deleted: 2, Freed: 70})
	m.Wrote(jobs.Documents, 10, 100, 30)
	m.Took(jobs.Documents, jobs.Small, jobs.FirstRows, 3*time.Second)
	r := httptest.NewRequest(http.MethodPost, "/v1/projects/secret/exports", nil)
	in, answered := m.Request(r)
	in.Pattern = "POST /v1/projects/{project}/exports"
	answered(http.StatusAccepted)
	text := shown(t, m)
	for _, want := range []string{
		`bulkexport_attempts_total{code="store_full",kind="documents",outcome="retried"} 1`,
		`bulkexport_swept_total{what="data"} 2`, `bulkexport_swept_bytes_total 70`,
		`bulkexport_rows_total{kind="documents"} 10`, `bulkexport_bytes_total{as="stored",kind="documents"} 30`,
		`bulkexport_first_byte_seconds_bucket{kind="documents",lane="small",le="5"} 1`,
		`bulkexport_http_request_seconds_count{method="POST",route="POST /v1/projects/{project}/exports",status="2xx"} 1`,
		`bulkexport_jobs{kind="documents",lane="small",state="queued"} 4`, `bulkexport_longest_silence_seconds 21`,
		`bulkexport_jobs_failed{code="store_full"} 2`, `bulkexport_orphans{what="removed"} 2`, `bulkexport_orphans{what="left"} 3`,
		`bulkexport_queue_tasks{queue="exports",state="pending"} 3`, `bulkexport_queue_memory_max_bytes 100`,
		`bulkexport_up{dependency="database"} 0`, `bulkexport_tables_up 1`, `go_goroutines`, `process_resident_memory_bytes`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not shown: %s", want)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("a path is shown")
	}
}

// Many scrapes ask the database once, and one that is away leaves no old numbers.
func TestTablesAreAskedSeldom(t *testing.T) {
	c := &census{err: errors.New("away")}
	m := everything(c)
	for range 5 {
		text := shown(t, m)
		if !strings.Contains(text, "bulkexport_tables_up 0") || strings.Contains(text, "bulkexport_workers") {
			t.Error("a database that is away is not told")
		}
	}
	if c.asked != 1 {
		t.Errorf("asked %d times", c.asked)
	}
}

var metricType = regexp.MustCompile(`(?m)^# TYPE (bulkexport_\w+) (\w+)$`)

// docs/metrics.md has every metric that there is, and no other.
func TestDocsHaveEveryMetric(t *testing.T) {
	m := everything(&census{})
	m.Took(jobs.Documents, jobs.Small, jobs.Waited, 0)
	for _, moment := range []jobs.Moment{jobs.FirstRows, jobs.Linked, jobs.Ran} {
		m.Took(jobs.Documents, jobs.Small, moment, 0)
	}
	_, answered := m.Request(httptest.NewRequest(http.MethodGet, "/", nil))
	answered(http.StatusOK)
	var is, told []string
	for _, found := range metricType.FindAllStringSubmatch(shown(t, m), -1) {
		is = append(is, found[1]+" "+found[2])
	}
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(bulkexport_\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(page), -1) {
		told = append(told, row[1]+" "+row[2])
	}
	slices.Sort(is)
	slices.Sort(told)
	if !slices.Equal(is, told) {
		t.Errorf("there are\n%s\nand docs/metrics.md has\n%s", strings.Join(is, "\n"), strings.Join(told, "\n"))
	}
}
