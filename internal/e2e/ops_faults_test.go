package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// lookout is a service with an operator who looks at the page.
type lookout struct {
	*service
	token string
}

func newLookout(t *testing.T, w *testenv.World, workers int, extra ...string) *lookout {
	t.Helper()
	i := testenv.NewIssuer(t)
	s := start(t, w, workers, append(extra, "OIDC_ISSUER="+i.URL(), "OIDC_CLIENT_ID="+testenv.IssuerClientID,
		"OIDC_CLIENT_SECRET="+testenv.IssuerClientSecret, "OPERATOR_EMAILS="+demodata.OperatorEmail)...)
	return &lookout{s, i.Sign(i.AccessToken(demodata.OperatorEmail))}
}

// shows reports whether the page has a finding now.
func (w *lookout) shows(finding string) bool {
	w.t.Helper()
	a := w.call(http.MethodGet, "/ops/", w.token, "")
	if a.status != http.StatusOK {
		w.t.Fatalf("the operators' page: %d %s", a.status, a.body)
	}
	return strings.Contains(string(a.body), `data-finding="`+finding+`"`)
}

// within a minute of a fault the page has to say so.
func (w *lookout) within(fault time.Time, finding string) {
	w.t.Helper()
	w.eventually(finding, func() bool { return w.shows(finding) })
	took := time.Since(fault)
	w.t.Logf("%s is seen after %s", finding, took.Round(100*time.Millisecond))
	if took > time.Minute {
		w.t.Errorf("%s is seen after %s", finding, took)
	}
}

func slow(t *testing.T) *testenv.World {
	t.Helper()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 1, Conversations: demodata.Volume{Rows: 20_000}})
	return w
}

// A stopped worker is seen while nobody has noticed yet, and after another has
// taken over.
func TestOperatorsSeeAStoppedWorker(t *testing.T) {
	t.Parallel()
	w := newLookout(t, slow(t), 1, "SOURCE_READ_MBPS=1")
	w.create(demodata.DemoProject, conversations)
	w.eventually("it runs", func() bool {
		return strings.Contains(string(w.call(http.MethodGet, "/ops/", w.token, "").body), "Writing the file")
	})
	worker := w.ran[1]
	worker.signal(syscall.SIGSTOP)
	t.Cleanup(func() { worker.signal(syscall.SIGCONT) })
	stopped := time.Now()
	w.within(stopped, "worker-silent")
	w.within(stopped, "no-worker")
	w.within(stopped, "no-progress")
	w.worker()
	w.eventually("another goes on", func() bool { return !w.shows("no-progress") && !w.shows("no-worker") })
	if !w.shows("worker-silent") {
		t.Error("the stopped worker is forgotten")
	}
	worker.signal(syscall.SIGCONT)
	w.eventually("it is back", func() bool { return !w.shows("worker-silent") })
}

// crammed is an object store whose room is used up: what is written is refused, as
// MinIO does it.
func crammed(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(testenv.Var(t, "S3_ENDPOINT"))
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host }}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			pass.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusInsufficientStorage)
		_, _ = io.WriteString(w, `<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive threshold.</Message></Error>`)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestOperatorsSeeAFullBucket(t *testing.T) {
	t.Parallel()
	world := testenv.New(t)
	fill(t, world, demodata.Options{Seed: 1, Conversations: demodata.Volume{Rows: 100}})
	w := newLookout(t, world, 1, "S3_ENDPOINT="+crammed(t))
	asked := time.Now()
	id := w.create(demodata.DemoProject, conversations).ID
	w.within(asked, "store-full")
	if a := w.call(http.MethodGet, "/ops/jobs/"+id, w.token, ""); !strings.Contains(string(a.body), "The object store has no room left.") {
		t.Errorf("its page: %s", a.body)
	}
}

func TestOperatorsSeeADeadRedis(t *testing.T) {
	t.Parallel()
	world := testenv.New(t)
	var p *proxy
	p, world.RedisURL = behindProxy(t, world.RedisURL, 0)
	w := newLookout(t, world, 1)
	w.eventually("all is well", func() bool { return !w.shows("redis-down") && !w.shows("no-worker") })
	p.close()
	w.within(time.Now(), "redis-down")
	if a := w.call(http.MethodGet, "/ops/queue/", w.token, ""); a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "the queue&#39;s Redis does not answer") {
		t.Errorf("the raw queue: %d %s", a.status, a.body)
	}
	p.open()
	w.eventually("all is well again", func() bool { return !w.shows("redis-down") })
}

func TestOperatorsSeeASourceWithoutTheTable(t *testing.T) {
	t.Parallel()
	world := testenv.New(t)
	w := newLookout(t, world, 1)
	if _, err := world.Admin(t).Exec(t.Context(), `alter table "llm-convo-monitor" rename to elsewhere`); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	id := w.create(demodata.DemoProject, conversations).ID
	w.within(asked, "exports-failed")
	a := w.call(http.MethodGet, "/ops/jobs/"+id, w.token, "")
	for _, words := range []string{"source_refused", "a table or column is not there", "failed on"} {
		if !strings.Contains(string(a.body), words) {
			t.Errorf("its page lacks %q: %s", words, a.body)
		}
	}
}
