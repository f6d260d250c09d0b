//go:build faultpoints

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// Several machines: docs/scaling.md tells what this shows.
func TestMachines(t *testing.T) {
	t.Run("throughput", throughput)
	t.Run("cut off", cutOff)
	t.Run("rolling restart", rollingRestart)
}

// fleet is a field that is worked by machines, and reached through them.
type fleet struct {
	*field
	world *testenv.World
}

func newFleet(t *testing.T, projects, rows int) *fleet {
	t.Helper()
	w := testenv.New(t)
	f := &fleet{field: sow(t, w, projects, rows), world: w}
	f.service = &service{World: w, t: t}
	f.env = append(w.Env(t), "FAULT_LEASE="+lease.String(), "LOG_LEVEL=INFO")
	return f
}

// front is an API on a machine of its own, at an address that stays.
type front struct {
	f    *fleet
	m    *machine
	addr string
	api  *process
}

func (f *fleet) front() *front {
	f.t.Helper()
	a := &front{f: f, m: newMachine(f.t, f.world, 0)}
	a.addr = a.m.port()
	if f.url == "" {
		f.url = "http://" + a.addr
	}
	a.begin()
	return a
}

func (a *front) begin() {
	a.f.t.Helper()
	var probes string
	a.api, probes = a.m.run(a.f.service, "api", "HTTP_ADDR="+a.addr, "PUBLIC_URL=http://"+a.addr)
	a.f.ready(probes, http.StatusOK)
}

// ready waits until a program's readiness is that.
func (f *fleet) ready(probes string, status int) {
	f.t.Helper()
	f.eventually(fmt.Sprintf("readiness says %d", status), func() bool {
		res, err := http.Get("http://" + probes + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == status
	})
}

// throughput runs the same exports with one, two and four workers, each of which
// has a link of its own, slow enough that it and not this machine's cores is the limit.
func throughput(t *testing.T) {
	const exports, rows, rate = 12, 6000, 2 << 20
	took := make(map[int]time.Duration)
	for _, n := range []int{1, 2, 4} {
		f := newFleet(t, exports, rows)
		f.front()
		for range n {
			_, probes := newMachine(t, f.world, rate).run(f.service, "worker", "WORKER_CONCURRENCY=1")
			f.ready(probes, http.StatusOK)
		}
		f.eventually("all workers are seen", func() bool {
			return query[int](f.field, `select count(*) from bulkexport.workers where seen_at > now() - interval '10 seconds'`) == n
		})
		o := &outcome{fault: fmt.Sprintf("%d workers", n)}
		began := time.Now()
		var ids []string
		for i := range exports {
			ids = append(ids, f.ask(i))
		}
		f.eventually("all have ended", func() bool {
			return query[int](f.field, `select count(*) from bulkexport.jobs where state in ('queued', 'running')`) == 0
		})
		took[n] = time.Since(began)
		var raw int64
		for _, id := range ids {
			raw += f.verify(id, o).Result.BytesRaw
		}
		share := query[[]int](f.field, `select array_agg(n::int) from (select count(*) n from bulkexport.attempts group by worker order by n desc) w`)
		t.Logf("%d workers: %d exports, %d MB of lines in %.1f s: %.1f MB/s; exports of each %v",
			n, exports, raw>>20, took[n].Seconds(), float64(raw>>20)/took[n].Seconds(), share)
		if len(share) != n {
			t.Errorf("%d of %d workers did all", len(share), n)
		}
	}
	for n, least := range map[int]float64{2: 1.4, 4: 2} {
		if times := took[1].Seconds() / took[n].Seconds(); times < least {
			t.Errorf("%d workers are %.1f times as fast as one, and not %.1f times", n, times, least)
		}
	}
}

// cutOff loses one worker's link to Redis, then the other's to Postgres.
func cutOff(t *testing.T) {
	f := newFleet(t, 2, 60_000)
	f.front()
	crew, at := &crew{f: f.field}, []*machine{}
	var probes []string
	for range 2 {
		m := newMachine(t, f.world, 8<<20)
		p, addr := m.run(f.service, "worker", "WORKER_CONCURRENCY=1", "PROJECT_SLOTS=2")
		crew.workers, at, probes = append(crew.workers, p), append(at, m), append(probes, addr)
		f.ready(addr, http.StatusOK)
	}
	hold := func() (int, string) {
		t.Helper()
		var i int
		var id string
		f.eventually("a worker has rows", func() (ok bool) {
			i, id, ok = crew.holder()
			return ok && f.get(id).Progress.Rows > 0
		})
		return i, id
	}

	o := &outcome{fault: "a worker cut off from Redis"}
	f.ask(0)
	i, id := hold()
	at[i].links[toRedis].cut()
	next := f.ask(1)
	if j := f.verify(id, o); j.Attempt != 1 {
		t.Errorf("the export of a worker without Redis took %d attempts", j.Attempt)
	}
	// A worker without Redis hears no doorbell; the other one does.
	f.verify(next, o)
	at[i].links[toRedis].mend()
	f.ready(probes[i], http.StatusOK)

	o = &outcome{fault: "a worker cut off from Postgres"}
	f.ask(0)
	i, id = hold()
	attempt, since := f.get(id).Attempt, query[time.Time](f.field, `select clock_timestamp()`)
	at[i].links[toPostgres].cut()
	f.ready(probes[i], http.StatusServiceUnavailable)
	f.recovered(id, since, attempt, o)
	if j := f.verify(id, o); j.Attempt != attempt+1 || j.Attempts[len(j.Attempts)-1].Worker == j.Attempts[0].Worker {
		t.Errorf("not taken over once by the other: %+v", j.Attempts)
	}
	at[i].links[toPostgres].mend()
	f.ready(probes[i], http.StatusOK)
	t.Logf("taken over after %v", o.recovery)

	// Both work again.
	for i := range 2 {
		f.verify(f.ask(i), o)
	}
	if n := query[int](f.field, `select count(*) from bulkexport.attempts where outcome = 'succeeded'`); n != 5 {
		t.Errorf("%d of 5 exports have succeeded", n)
	}
}

// caller is a client that knows two APIs and tries again what may be tried again.
type caller struct {
	t       *testing.T
	client  *http.Client
	addrs   []string
	mu      sync.Mutex
	asked   int
	retried map[string]int
}

// do asks until it is answered, at one API and then at the other.
func (c *caller) do(i int, method, path, body, key string) (answer, error) {
	for try := 0; ; try++ {
		a, err := c.once(c.addrs[(i+try)%len(c.addrs)], method, path, body, key)
		why := retryable(a, err)
		c.mu.Lock()
		if why != "" {
			c.retried[why]++
		} else {
			c.asked++
		}
		c.mu.Unlock()
		if why == "" || try > 50 {
			return a, err
		}
		<-time.After(100 * time.Millisecond)
	}
}

// retryable says why a call may be made again; empty: it has failed, or not.
func retryable(a answer, err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case err == nil && a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") != "":
		return "503 with Retry-After"
	}
	return ""
}

func (c *caller) once(addr, method, path, body, key string) (answer, error) {
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+addr+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+demodata.OwnerKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := c.client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, b}, err
}

// load asks for exports and looks at them until it is told to end,
// and returns what was accepted.
func (c *caller) load(f *fleet, end <-chan struct{}) (ids []string) {
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			var mine []string
			for i := 0; ; i++ {
				select {
				case <-end:
					return
				case <-tick.C:
				}
				method, path, body, want := http.MethodGet, exportsOf(f.projects[n]), "", http.StatusOK
				if i%40 == 0 {
					method, body, want = http.MethodPost, `{"kind":"conversations","fresh":true}`, http.StatusAccepted
				} else if len(mine) > 0 && i%3 > 0 {
					path = "/v1/exports/" + mine[i%len(mine)]
				}
				a, err := c.do(n+i, method, path, body, fmt.Sprintf("%d-%d", n, i))
				// A repeated create finds what the first one made.
				if err != nil || a.status != want && (want != http.StatusAccepted || a.status != http.StatusOK) {
					c.t.Errorf("%s %s: %d %v %s", method, path, a.status, err, a.body)
				} else if method == http.MethodPost {
					var j job
					if err := json.Unmarshal(a.body, &j); err != nil {
						c.t.Error(err)
					}
					mine = append(mine, j.ID)
					c.mu.Lock()
					ids = append(ids, j.ID)
					c.mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return ids
}

// rollingRestart replaces two workers and two APIs, one at a time and each three
// times, while people ask.
func rollingRestart(t *testing.T) {
	f := newFleet(t, 4, 15_000)
	fronts := []*front{f.front(), f.front()}
	at := []*machine{newMachine(t, f.world, 4<<20), newMachine(t, f.world, 4<<20)}
	workers := make([]*process, 2)
	for i, m := range at {
		workers[i], _ = m.run(f.service, "worker")
	}
	c := &caller{t: t, client: &http.Client{Timeout: 30 * time.Second}, addrs: []string{fronts[0].addr, fronts[1].addr}, retried: make(map[string]int)}
	end, ids := make(chan struct{}), make(chan []string, 1)
	go func() { ids <- c.load(f, end) }()
	for round := range 6 {
		<-time.After(2 * time.Second)
		a := fronts[round%2]
		a.api.signal(syscall.SIGTERM)
		<-a.api.exited
		a.ended()
		a.begin()
		old := workers[round%2]
		workers[round%2], _ = at[round%2].run(f.service, "worker")
		old.signal(syscall.SIGTERM)
		<-old.exited
	}
	close(end)
	all := <-ids
	o := &outcome{fault: "rolling restart"}
	for _, id := range all {
		f.verify(id, o)
	}
	jobs := query[int](f.field, `select count(*) from bulkexport.jobs`)
	t.Logf("%d calls, of them %d created an export; tried again: %v; %d of %d exports have all their rows", c.asked, len(all), c.retried, o.trials, jobs)
	if slices.Sort(all); jobs != len(slices.Compact(all)) || len(all) < 8 {
		t.Errorf("%d exports for %d accepted", jobs, len(all))
	}
	if n := query[int](f.field, `select count(*) from bulkexport.attempts where outcome not in ('drained', 'succeeded')`); n > 0 {
		t.Errorf("%d attempts were lost or failed", n)
	}
}

// ended: a program that is told to stop does so without an error.
func (a *front) ended() {
	a.f.t.Helper()
	if code := a.api.cmd.ProcessState.ExitCode(); code != 0 {
		a.f.t.Errorf("an API that was told to stop ended with %d:\n%s", code, a.api.log)
	}
}
