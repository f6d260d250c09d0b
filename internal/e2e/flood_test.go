//go:build faultpoints

package e2e

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

var flood = flag.Int("flood", 1000, "exports of 50 projects, half of them of one")

const floodProjects = 50

// TestFlood: one project's thousands do not keep the others waiting.
func TestFlood(t *testing.T) {
	alone, before := floodRun(t, 0)
	beside, memory := floodRun(t, *flood/2)
	t.Logf("%d exports of %d projects: the others wait %.1f s at the median, %.1f s beside a flood of %d (%.2f times); memory (VmHWM): %s; without the flood: %s",
		*flood, floodProjects, alone.Seconds(), beside.Seconds(), *flood/2, beside.Seconds()/alone.Seconds(), memory, before)
	if beside > alone*3/2 {
		t.Errorf("the others wait %s beside the flood, %s without", beside, alone)
	}
}

// floodRun queues the exports of 49 projects, and more of the first one, lets
// two workers do them all, and returns the others' median wait.
func floodRun(t *testing.T, more int) (wait time.Duration, memory string) {
	t.Helper()
	w := testenv.New(t)
	db := w.Admin(t)
	if _, err := db.Exec(t.Context(), `insert into "llm-convo-monitor" (convo_id, course_name, convo)
		select p || '-' || r, 'flood-' || p, '{"messages":[]}' from generate_series(0, $1::int - 1) p, generate_series(1, 20) r`, floodProjects); err != nil {
		t.Fatal(err)
	}
	for i := range floodProjects {
		course := fmt.Sprintf(`{"course_owner":%q,"course_admins":[]}`, demodata.OwnerEmail)
		if err := w.Roles(t).HSet(t.Context(), "course_metadatas", fmt.Sprint("flood-", i), course).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, w, 0, "PROJECT_QUEUE_MAX=100000", "LOG_LEVEL=WARN")
	requests := make(chan string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for project := range requests {
				if a := s.call(http.MethodPost, exportsOf(project), demodata.OwnerKey, `{"kind":"conversations","fresh":true}`); a.status != http.StatusAccepted {
					t.Errorf("create: %d %s", a.status, a.body)
				}
			}
		})
	}
	for range more {
		requests <- "flood-0" // all of the flood stands before the others
	}
	for i := range *flood / 2 {
		requests <- fmt.Sprintf("flood-%d", 1+i%(floodProjects-1))
	}
	close(requests)
	wg.Wait()
	began := time.Now()
	workers := []*process{s.worker(), s.worker()}
	count := func(where string) (n int) {
		if err := db.QueryRow(t.Context(), `select count(*) from bulkexport.jobs where `+where).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for deadline := time.Now().Add(time.Hour); count(`state in ('queued', 'running')`) > 0; <-time.After(time.Second) {
		if time.Now().After(deadline) {
			t.Fatal("they do not end")
		}
	}
	if n := count(`state = 'succeeded'`); n != more+*flood/2 {
		t.Errorf("%d of %d succeeded", n, more+*flood/2)
	}
	var seconds float64
	if err := db.QueryRow(t.Context(), `select percentile_cont(0.5) within group (order by extract(epoch from started_at - $1::timestamptz))
		from bulkexport.jobs where project <> 'flood-0'`, began).Scan(&seconds); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d exports in %s", more+*flood/2, time.Since(began).Round(time.Second))
	return time.Duration(seconds * float64(time.Second)), fmt.Sprintf("API %s, workers %s and %s", highWater(t, s.api), highWater(t, workers[0]), highWater(t, workers[1]))
}

// highWater is the most memory that a process ever held.
func highWater(t *testing.T, p *process) string {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
