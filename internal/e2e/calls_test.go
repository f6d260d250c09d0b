//go:build faultpoints

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

var every = flag.Int("every", 5, "fail every so-manyth call only; 1 fails each")

// way is how a call fails.
type way string

const (
	refused way = "error"       // the connection is cut before the request arrives
	unheard way = "answer lost" // the request arrives, the answer does not
	silent  way = "silence"     // nothing arrives, for a while
)

// silence is how long; longer than the lease of the suite.
const silence = 10 * time.Second

// tamper is a proxy that fails one call of all that pass: what a client sends
// in one go is one call.
type tamper struct {
	t      *testing.T
	target string
	at     int64 // the call to fail; 0 is none
	way    way
	calls  atomic.Int64
}

// tampered puts a tamper before the server of a URL.
func tampered(t *testing.T, raw string, at int, w way) (*tamper, string) {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	p := &tamper{t: t, target: u.Host, at: int64(at), way: w}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(c)
		}
	}()
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *tamper) pass(c net.Conn) {
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = c.Close()
		return
	}
	end := func() { _ = c.Close(); _ = up.Close() }
	defer end()
	var deaf atomic.Bool // the answer is dropped
	go func() {
		defer end()
		b := make([]byte, 64<<10)
		for {
			n, err := up.Read(b)
			if n > 0 && deaf.Load() {
				return
			}
			if _, w := c.Write(b[:n]); w != nil || err != nil {
				return
			}
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if n > 0 && p.calls.Add(1) == p.at {
			switch p.way {
			case refused:
				return
			case silent:
				<-time.After(silence)
				return
			case unheard:
				deaf.Store(true)
			}
		}
		if _, w := up.Write(b[:n]); w != nil || errors.Is(err, io.EOF) || err != nil {
			return
		}
	}
}

// everyCall fails one call of a worker at a time, from its start to the end of a
// small export: to its own database, the source, Redis, the store.
func everyCall(t *testing.T) {
	t.Parallel()
	type trial struct {
		variable string
		at       int
		way      way
	}
	variables := []string{"DATABASE_URL", "SOURCE_DATABASE_URL", "REDIS_URL", "S3_ENDPOINT"}
	outcomes := make(map[string]*outcome)
	var trials []trial
	for _, v := range variables {
		n := newBench(t).calls(v)
		for _, w := range []way{refused, unheard, silent} {
			outcomes[v+string(w)] = &outcome{fault: fmt.Sprintf("%s: each %d. of %d calls: %s", strings.TrimSuffix(v, "_URL"), *every, n, w)}
			for at := 1; at <= n; at += *every {
				trials = append(trials, trial{v, at, w})
			}
		}
	}
	queue := make(chan trial)
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		b := newBench(t)
		wg.Go(func() {
			for tr := range queue {
				lost, doubled, err := b.run(tr.variable, tr.at, tr.way)
				mu.Lock()
				o := outcomes[tr.variable+string(tr.way)]
				o.trials, o.lost, o.doubled = o.trials+1, o.lost+lost, o.doubled+doubled
				if err != nil {
					t.Errorf("%s, call %d, %s: %v", tr.variable, tr.at, tr.way, err)
				}
				mu.Unlock()
			}
		})
	}
	for _, tr := range trials {
		queue <- tr
	}
	close(queue)
	wg.Wait()
	for _, v := range variables {
		for _, w := range []way{refused, unheard, silent} {
			outcomes[v+string(w)].report(t)
		}
	}
}

// bench is a service whose one worker stands behind a tamper.
type bench struct {
	*service
	db *pgx.Conn
}

const benchRows = 40

func newBench(t *testing.T) *bench {
	t.Helper()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Conversations: demodata.Volume{Rows: benchRows}})
	return &bench{start(t, w, 0, "FAULT_LEASE=3s", "LOG_LEVEL=WARN", "S3_PUBLIC_ENDPOINT="+testenv.Var(t, "S3_ENDPOINT")), w.Admin(t)}
}

// url is what the variable says without a tamper.
func (b *bench) variable(name string) (value string) {
	for _, e := range b.env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}

// calls counts those of a worker that fails none.
func (b *bench) calls(variable string) int {
	b.t.Helper()
	p, via := tampered(b.t, b.variable(variable), 0, refused)
	worker := b.worker(variable + "=" + via)
	b.succeed(b.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID)
	n := p.calls.Load()
	worker.kill()
	return int(n)
}

// run fails one call, and reports what the file lacks or has twice.
func (b *bench) run(variable string, at int, w way) (lost, doubled int, err error) {
	_, via := tampered(b.t, b.variable(variable), at, w)
	worker := b.worker(variable + "=" + via)
	defer worker.kill()
	id := b.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID
	var j job
	for deadline := time.Now().Add(3 * time.Minute); ; <-time.After(100 * time.Millisecond) {
		if j = b.get(id); j.State == "succeeded" {
			break
		}
		if j.State == "failed" || time.Now().After(deadline) {
			return 0, 0, fmt.Errorf("%s ends as %s; the worker says:\n%s", id, j.State, worker.log)
		}
	}
	ids, err := idsOf(b.download(id), j.Result.SHA256)
	if err != nil {
		return 0, 0, err
	}
	for _, n := range ids {
		doubled += n - 1
	}
	lost = int(j.Result.Rows) - len(ids)
	var want int
	if err := b.db.QueryRow(b.t.Context(), `select count(*) from "llm-convo-monitor" where course_name = $1`, demodata.DemoProject).Scan(&want); err != nil {
		return 0, 0, err
	}
	if len(ids) != want || doubled > 0 {
		return want - len(ids), doubled, fmt.Errorf("%d of %d rows", len(ids), want)
	}
	return 0, 0, nil
}
