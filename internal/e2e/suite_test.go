//go:build faultpoints

package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// The fault suite: the real programs on real components, killed, frozen, cut
// off. docs/reliability.md tells what it shows.
var (
	kills = flag.Int("kills", 20, "random kills")
	lease = flag.Duration("lease", 3*time.Second, "the workers' lease; production has 15s")
	rows  = flag.Int("rows", 100_000, "of each export")
)

func init() { buildFlags = append(buildFlags, "-tags", "faultpoints") }

// results are the lines of the table.
var results struct {
	sync.Mutex
	lines []string
}

// outcome is what a fault's trials came to.
type outcome struct {
	fault                 string
	trials, lost, doubled int
	recovery              []time.Duration // from the fault to the next claim
}

func (o *outcome) report(t *testing.T) {
	t.Helper()
	slices.Sort(o.recovery)
	at := func(percent int) string {
		if len(o.recovery) == 0 {
			return "-"
		}
		return fmt.Sprintf("%.1f", o.recovery[(len(o.recovery)-1)*percent/100].Seconds())
	}
	verdict := "ok"
	if t.Failed() || o.lost+o.doubled > 0 {
		verdict = "FAILED"
	}
	results.Lock()
	defer results.Unlock()
	results.lines = append(results.lines, fmt.Sprintf("| %s | %d | %d | %d | %s | %s | %s | %s |",
		o.fault, o.trials, o.lost, o.doubled, at(50), at(99), at(100), verdict))
}

// TestFaults runs every fault; with -parallel 1 one after the other, for its times.
func TestFaults(t *testing.T) {
	t.Cleanup(func() {
		results.Lock()
		defer results.Unlock()
		t.Logf("lease %s, %d rows an export\n| fault | trials | rows lost | rows doubled | recovery, s: median | 99 %% | worst | |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n%s",
			*lease, *rows, strings.Join(results.lines, "\n"))
	})
	t.Run("kills", randomKills)
	t.Run("points", namedPoints)
	t.Run("killer", killerExport)
	t.Run("frozen", frozenWorker)
	t.Run("restarts", rollingRestarts)
	t.Run("queue", queueLost)
	t.Run("database", databaseLost)
	t.Run("store", storeFails)
	t.Run("cancel", cancels)
	t.Run("identical", identical)
	t.Run("calls", everyCall)
}

// crew are workers that are replaced when they die.
type crew struct {
	f       *field
	workers []*process
	extra   []string
}

func (f *field) crew(n int, extra ...string) *crew {
	c := &crew{f: f, extra: extra}
	for range n {
		c.workers = append(c.workers, f.worker(extra...))
	}
	return c
}

// holder returns which of the crew runs a job, and that job; the worker's id
// has its process id in it.
func (c *crew) holder() (int, string, bool) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	var worker, id string
	err := c.f.db.QueryRow(context.Background(), `select worker, id::text from bulkexport.jobs
		where state = 'running' order by random() limit 1`).Scan(&worker, &id)
	if err != nil {
		return 0, "", false
	}
	for i, p := range c.workers {
		if strings.Contains(worker, fmt.Sprintf("-%d-", p.cmd.Process.Pid)) {
			return i, id, true
		}
	}
	return 0, "", false
}

// recovered measures from a fault to the claim that comes after it.
func (f *field) recovered(id string, since time.Time, attempt int, o *outcome) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		n := query[int](f, `select count(*) from bulkexport.attempts where job_id = $1 and attempt > $2`, id, attempt)
		if n > 0 {
			at := query[time.Time](f, `select started_at from bulkexport.attempts where job_id = $1 and attempt = $2`, id, attempt+1)
			o.recovery = append(o.recovery, at.Sub(since))
			return
		}
		if state := query[string](f, `select state from bulkexport.jobs where id = $1`, id); state != "running" && state != "queued" {
			return // it had just ended
		}
		if time.Now().After(deadline) {
			f.t.Errorf("%s was not taken over", id)
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

// randomKills kills workers with an export in flight, again and again.
func randomKills(t *testing.T) {
	t.Parallel()
	f := newField(t, nil)
	o := &outcome{fault: "SIGKILL at random"}
	defer o.report(t)
	c := f.crew(2)
	var ids []string
	next := func() { ids = append(ids, f.ask(len(ids))) }
	next()
	next()
	for hit := 0; hit < *kills; {
		open := query[int](f, `select count(*) from bulkexport.jobs where state in ('queued', 'running')`)
		for ; open < 2; open++ {
			next()
		}
		<-time.After(time.Duration(500+rand.IntN(5000)) * time.Millisecond)
		i, id, ok := c.holder()
		if !ok {
			continue // a kill counts only if it hits an export
		}
		// Five losses with no part sent between them end an export, rightly.
		if most := query[int](f, `select coalesce(max(failures), 0) from bulkexport.jobs where state in ('queued', 'running')`); most >= jobs.MaxFailures-2 {
			continue
		}
		attempt := query[int](f, `select attempt from bulkexport.jobs where id = $1`, id)
		since := query[time.Time](f, `select clock_timestamp()`)
		c.workers[i].kill()
		c.workers[i] = f.worker(c.extra...)
		hit++
		f.recovered(id, since, attempt, o)
	}
	for _, id := range ids {
		f.verify(id, o)
	}
	o.fault = fmt.Sprintf("SIGKILL at random, %d exports", o.trials)
	o.trials = *kills
	slices.Sort(o.recovery)
	if limit := *lease + 5*time.Second; len(o.recovery) > 0 && o.recovery[(len(o.recovery)-1)*99/100] > limit {
		t.Errorf("99 of 100 are not taken over within %s", limit)
	}
}

// points are where a worker kills itself; see cmd/worker.
var points = []string{
	"claimed", "upload unnamed", "upload named", "in a part", "part sent, no checkpoint", "after a checkpoint",
	"before the last checkpoint", "after the last checkpoint", "completed, not verified", "file complete, row not", "row complete, task not",
}

func namedPoints(t *testing.T) {
	t.Parallel()
	f := newField(t, nil)
	for i, point := range points {
		o := &outcome{fault: "SIGKILL: " + point}
		once := filepath.Join(t.TempDir(), "once")
		if err := os.WriteFile(once, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		first := f.worker("FAULT_POINT="+point, "FAULT_ONCE="+once)
		id := f.ask(i)
		select {
		case <-first.exited:
		case <-time.After(time.Minute):
			t.Fatalf("%s was not reached", point)
		}
		since := query[time.Time](f, `select clock_timestamp()`)
		second := f.worker()
		if point != "row complete, task not" {
			f.recovered(id, since, 1, o)
		}
		f.verify(id, o)
		second.kill()
		o.report(t)
	}
}

// killerExport kills every worker that touches it, and ends.
func killerExport(t *testing.T) {
	t.Parallel()
	f := newField(t, nil)
	o := &outcome{fault: "an export that kills every worker"}
	defer o.report(t)
	id := f.ask(0)
	for lives := 0; ; lives++ {
		if lives > 10 {
			t.Fatal("it goes on for ever")
		}
		p := f.worker("FAULT_POINT=claimed")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for f.get(id).State == "running" || f.get(id).State == "queued" {
				select {
				case <-p.exited:
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		}()
		<-ended
		if s := f.get(id).State; s != "running" && s != "queued" {
			break
		}
	}
	o.trials = 1
	if j := f.get(id); j.State != "failed" || j.Error == nil || j.Error.Code != "worker_lost" || j.Attempt != 5 {
		t.Errorf("ended as %s after %d attempts: %+v", j.State, j.Attempt, j.Error)
	}
}

// frozenWorker stops a worker past its lease and lets it go on.
func frozenWorker(t *testing.T) {
	t.Parallel()
	f := newField(t, nil)
	o := &outcome{fault: "SIGSTOP past the lease, then SIGCONT"}
	defer o.report(t)
	c := f.crew(1)
	id := f.ask(0)
	f.streaming(id)
	frozen := c.workers[0]
	since := query[time.Time](f, `select clock_timestamp()`)
	frozen.signal(syscall.SIGSTOP)
	f.worker()
	f.recovered(id, since, 1, o)
	frozen.signal(syscall.SIGCONT)
	if j := f.verify(id, o); j.Attempt != 2 {
		t.Errorf("%d attempts", j.Attempt)
	}
}

// rollingRestarts stop workers orderly, again and again, under exports.
func rollingRestarts(t *testing.T) {
	t.Parallel()
	f := newField(t, nil)
	const restarts = 20
	o := &outcome{fault: fmt.Sprintf("%d rolling restarts", restarts)}
	defer o.report(t)
	c := f.crew(2)
	ids := []string{f.ask(0), f.ask(1)}
	for i := range restarts {
		if open := query[int](f, `select count(*) from bulkexport.jobs where state in ('queued', 'running')`); open < 2 {
			ids = append(ids, f.ask(i))
		}
		<-time.After(time.Second)
		p := c.workers[i%2]
		c.workers[i%2] = f.worker()
		p.signal(syscall.SIGTERM)
		<-p.exited
	}
	for _, id := range ids {
		f.verify(id, o)
	}
	if n := query[int](f, `select count(*) from bulkexport.attempts where outcome not in ('drained', 'succeeded')`); n > 0 {
		t.Errorf("%d attempts were lost or failed", n)
	}
}

// cancels cancel exports at random times: what is accepted wins.
func cancels(t *testing.T) {
	t.Parallel()
	f := newField(t, nil)
	f.crew(2)
	o := &outcome{fault: "cancel at random times"}
	defer o.report(t)
	for i := range 10 {
		id := f.ask(i)
		<-time.After(time.Duration(rand.IntN(7000)) * time.Millisecond)
		a := f.call(http.MethodPost, "/v1/exports/"+id+"/cancel", demodata.OwnerKey, "")
		j := f.patient(id)
		o.trials++
		if want := map[int]string{http.StatusAccepted: "canceled", http.StatusConflict: "succeeded"}[a.status]; j.State != want {
			t.Errorf("cancel was answered %d, and the export is %s", a.status, j.State)
		}
		if j.State == "canceled" {
			f.eventually("what was uploaded is gone", func() bool {
				return !slices.ContainsFunc(f.objects(), func(key string) bool { return strings.Contains(key, id) })
			})
		}
	}
}

// identical asks a hundred times at once.
func identical(t *testing.T) {
	t.Parallel()
	f := newField(t, nil)
	o := &outcome{fault: "100 identical requests at once"}
	defer o.report(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids := make(map[string]bool)
	for range 100 {
		wg.Go(func() {
			a := f.call(http.MethodPost, exportsOf(f.projects[0]), demodata.OwnerKey, `{"kind":"conversations"}`)
			var j job
			if err := json.Unmarshal(a.body, &j); err != nil || a.status >= 300 {
				t.Errorf("%d %v", a.status, err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[j.ID] = true
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("%d jobs", len(ids))
	}
	f.crew(1)
	for id := range ids {
		f.verify(id, o)
	}
}
