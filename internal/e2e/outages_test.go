//go:build faultpoints

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/testenv"
)

// queueLost takes the queue's Redis away under exports, and empties it.
func queueLost(t *testing.T) {
	t.Parallel()
	var p *proxy
	f := newField(t, func(w *testenv.World) { p, w.RedisURL = behindProxy(t, w.RedisURL, 0) })
	f.crew(2)
	for i, away := range []time.Duration{20 * time.Second, 45 * time.Second} {
		o := &outcome{fault: fmt.Sprintf("queue Redis away for %s", away)}
		id := f.ask(i)
		f.streaming(id)
		p.close()
		second := f.ask(i) // the doorbell cannot be rung
		<-time.After(away)
		p.open()
		f.verify(id, o)
		f.verify(second, o)
		o.report(t)
	}
	o := &outcome{fault: "queue Redis flushed"}
	ids := []string{f.ask(0), f.ask(1), f.ask(0)}
	for range 5 {
		if err := f.QueueRedis(t).FlushDB(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		<-time.After(500 * time.Millisecond)
	}
	for _, id := range ids {
		f.verify(id, o)
	}
	o.report(t)
}

// databaseLost cuts every connection to Postgres, several times, and takes it
// away as a server that restarts.
func databaseLost(t *testing.T) {
	t.Parallel()
	var own, source *proxy
	f := newField(t, func(w *testenv.World) {
		own, w.DatabaseURL = behindProxy(t, w.DatabaseURL, 0)
		source, w.SourceURL = behindProxy(t, w.SourceURL, 0)
	})
	f.crew(2)
	for i, away := range []time.Duration{5 * time.Second, 20 * time.Second} {
		o := &outcome{fault: fmt.Sprintf("Postgres, own and source, away for %s", away)}
		id := f.ask(i)
		f.streaming(id)
		own.close()
		source.close()
		<-time.After(away)
		own.open()
		source.open()
		f.verify(id, o)
		o.report(t)
	}
	o := &outcome{fault: "all backends of Postgres terminated, 5 times"}
	defer o.report(t)
	ids := []string{f.ask(0), f.ask(1)}
	f.streaming(ids[0])
	for range 5 {
		query[int](f, `select count(pg_terminate_backend(pid)) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid()`)
		<-time.After(time.Second)
	}
	for _, id := range ids {
		f.verify(id, o)
	}
}

// storeProxy is an S3 server that fails as it is told.
type storeProxy struct {
	before func(*http.Request) bool // true: the request is not passed on, 503
	after  func(*http.Request)      // before the answer is handed back
}

func behindStore(t *testing.T, p *storeProxy) string {
	t.Helper()
	u, err := url.Parse(testenv.Var(t, "S3_ENDPOINT"))
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host }, // the signature is over the name
		ModifyResponse: func(res *http.Response) error { p.after(res.Request); return nil },
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := &http.Server{Addr: freeAddr(t), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.before(r) {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		pass.ServeHTTP(w, r)
	})}
	go func() { _ = server.ListenAndServe() }()
	t.Cleanup(func() { _ = server.Close() })
	return "http://" + server.Addr
}

func completes(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

func storeFails(t *testing.T) {
	t.Parallel()
	never, quiet := func(*http.Request) bool { return false }, func(*http.Request) {}
	var once atomic.Bool
	for name, p := range map[string]*storeProxy{
		"S3: 5 % of requests 503": {func(*http.Request) bool { return rand.IntN(20) == 0 }, quiet},
		"S3: 30 s of silence in a part": {func(r *http.Request) bool {
			if r.Method == http.MethodPut && r.URL.Query().Get("partNumber") == "2" && once.CompareAndSwap(false, true) {
				<-time.After(30 * time.Second)
			}
			return false
		}, quiet},
		"S3: Complete takes 60 s": {never, func(r *http.Request) {
			if completes(r) {
				<-time.After(time.Minute)
			}
		}},
	} {
		o := &outcome{fault: name}
		f := newField(t, nil, "S3_ENDPOINT="+behindStore(t, p), "S3_PUBLIC_ENDPOINT="+testenv.Var(t, "S3_ENDPOINT"))
		f.crew(2)
		id := f.ask(0)
		if j := f.verify(id, o); strings.Contains(name, "60 s") && j.Attempt != 1 {
			t.Errorf("%s: %d attempts", name, j.Attempt)
		}
		o.report(t)
	}
}
