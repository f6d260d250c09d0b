package e2e

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// outage is one dependency away, and what people get meanwhile: a row of
// docs/degradation.md.
type outage struct {
	probe string // its name in readyz
	// cut takes it away at once, hush lets it be silent; then it comes back.
	cut, open, hush, speak func()
	byKey, byToken         map[string]int // status by call
	stranger               int            // who shows a token that nobody knows
	ready                  int
	status                 string
	// meanwhile is what else holds while it is cut off; nil: nothing.
	meanwhile func()
}

// usual is what everybody gets who may.
var usual = map[string]int{"create": 202, "list": 200, "get": 200, "preview": 200, "download": 303}

// away is what they get who need what is away.
var away = map[string]int{"create": 503, "list": 503, "get": 503, "preview": 503, "download": 503}

// dependent is a service whose every dependency can be taken away.
type dependent struct {
	*service
	issuer *testenv.Issuer
	ready  string // an export with a file
	looks  atomic.Int64
}

const dependentProject = demodata.EmptyProject

func newDependent(t *testing.T) (*dependent, []*outage) {
	t.Helper()
	w := testenv.New(t)
	d := &dependent{issuer: testenv.NewIssuer(t)}
	via := func(probe, target string) (*outage, string) {
		p, u := behindProxy(t, target, 0)
		return &outage{
			probe: probe, cut: p.close, open: p.open, hush: p.hush, speak: p.speak,
			byKey: usual, byToken: usual, stranger: 401, ready: 200, status: "degraded",
		}, u
	}
	var own, source, queue, roles *outage
	own, w.DatabaseURL = via("database", w.DatabaseURL)
	own.byKey, own.byToken, own.ready, own.status = away, away, 503, "unavailable"
	source, w.SourceURL = via("source", w.SourceURL)
	source.byKey, source.stranger = away, 503
	source.byToken = maps.Clone(usual)
	source.byToken["preview"] = 503 // but an estimate of nothing after five seconds of silence
	hush := source.hush
	source.hush = func() { hush(); source.byToken["preview"] = 200 }
	queue, w.RedisURL = via("queue", w.RedisURL)
	roles, w.PlatformRedisURL = via("roles", w.PlatformRedisURL)
	roles.byKey, roles.byToken = away, away
	endpoint := testenv.Var(t, "S3_ENDPOINT")
	store, storeURL := via("bucket", endpoint)
	store.meanwhile = d.retries
	provider := &outage{
		probe: "provider",
		cut:   d.issuer.Stop, open: d.issuer.Start, speak: func() { d.issuer.Intercept(nil) },
		hush: func() {
			d.issuer.Intercept(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		},
		byKey: usual, byToken: usual, stranger: 503, ready: 200, status: "degraded",
	}
	d.service = start(t, w, 1, "S3_ENDPOINT="+storeURL, "S3_PUBLIC_ENDPOINT="+endpoint, "RATE_LIMIT=100000",
		"OIDC_ISSUER="+d.issuer.URL(), "OIDC_CLIENT_ID="+testenv.IssuerClientID, "OIDC_CLIENT_SECRET="+testenv.IssuerClientSecret,
		"PROJECT_SLOTS=4", "PROJECT_QUEUE_MAX=1000")
	d.ready = d.succeed(d.create(dependentProject, conversations).ID).ID
	return d, []*outage{own, source, queue, roles, store, provider}
}

// seen is what everybody got at one time.
type seen struct {
	statuses map[string]int
	bodies   map[string]string
	slowest  time.Duration
	create   time.Duration // the slower one
}

// look makes every call at once, as whoever may and as a stranger.
func (d *dependent) look() seen {
	d.t.Helper()
	n := d.looks.Add(1)
	person := d.issuer.AccessToken(demodata.OwnerEmail)
	calls := map[string][3]string{"stranger": {"GET", exportsOf(dependentProject), rand.Text()}, "readyz": {"GET", "/readyz", ""}}
	for who, credential := range map[string]string{"key": demodata.OwnerKey, "token": d.issuer.Sign(person)} {
		// Previews are kept: each look asks for another one.
		preview := fmt.Sprintf("%s/preview?kind=conversations&from=%s", exportsOf(dependentProject),
			time.Unix(n, 0).UTC().Format(time.RFC3339))
		calls[who+" create"] = [3]string{"POST", exportsOf(dependentProject), credential}
		calls[who+" list"] = [3]string{"GET", exportsOf(dependentProject), credential}
		calls[who+" get"] = [3]string{"GET", "/v1/exports/" + d.ready, credential}
		calls[who+" preview"] = [3]string{"GET", preview, credential}
		calls[who+" download"] = [3]string{"GET", "/v1/exports/" + d.ready + "/download", credential}
	}
	got := seen{statuses: map[string]int{}, bodies: map[string]string{}}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for name, c := range calls {
		wg.Go(func() {
			body := ""
			if c[0] == http.MethodPost {
				body = `{"kind":"conversations","fresh":true}`
			}
			began := time.Now()
			a := d.call(c[0], c[1], c[2], body)
			took := time.Since(began)
			if a.status == http.StatusServiceUnavailable && name != "readyz" {
				if p := d.problem(d.t, a); p["retryable"] != true || a.header.Get("Retry-After") == "" {
					d.t.Errorf("%s: not to be tried again: %v", name, p)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			got.statuses[name], got.bodies[name] = a.status, string(a.body)
			got.slowest = max(got.slowest, took)
			if c[0] == http.MethodPost {
				got.create = max(got.create, took)
			}
		})
	}
	wg.Wait()
	return got
}

// retries waits until an export has met the outage, and will be tried again.
func (d *dependent) retries() {
	d.t.Helper()
	d.eventually("an export is to be tried again", func() bool {
		a := d.call(http.MethodGet, exportsOf(dependentProject)+"?state=queued", demodata.OwnerKey, "")
		return strings.Contains(string(a.body), `"phase":"retrying"`)
	})
}

// compare reports what is not as an outage has it.
func (o *outage) compare(got seen) (wrong []string) {
	want := map[string]int{"stranger": o.stranger, "readyz": o.ready}
	for call, status := range o.byKey {
		want["key "+call] = status
	}
	for call, status := range o.byToken {
		want["token "+call] = status
	}
	for call, status := range want {
		if got.statuses[call] != status {
			wrong = append(wrong, fmt.Sprintf("%s: %d %.200s, want %d", call, got.statuses[call], got.bodies[call], status))
		}
	}
	checks := got.bodies["readyz"]
	if !strings.Contains(checks, `"status":"`+o.status+`"`) || strings.Count(checks, "failing") != strings.Count(checks, `"`+o.probe+`":"failing"`) {
		wrong = append(wrong, fmt.Sprintf("readyz: %s, want %s for %q alone", checks, o.status, o.probe))
	}
	return wrong
}

// callLimit is the API's own, and then some for a busy machine.
const callLimit = 10*time.Second + 4*time.Second

// One dependency after the other is cut off, and silent: what does not need it
// goes on, the rest is answered with what is worth trying again, in time; and
// when it is back, so is everything, without a restart. No export that was
// accepted meanwhile is lost.
func TestDegradation(t *testing.T) {
	t.Parallel()
	d, outages := newDependent(t)
	normal := &outage{byKey: usual, byToken: usual, stranger: 401, ready: 200, status: "ready"}
	d.normal(normal, "at first")
	for _, o := range outages {
		d.endure(o, "cut off", o.cut, o.meanwhile, o.open)
		d.normal(normal, "after "+o.probe+" was cut off")
		d.endure(o, "silent", o.hush, nil, o.speak)
		d.normal(normal, "after "+o.probe+" was silent")
		if !strings.Contains(d.api.log.String(), `"msg":"probe failed","program":"api","dependency":"`+o.probe+`"`) {
			t.Errorf("the log says nothing of %s", o.probe)
		}
	}
	d.allSucceed()
}

// endure makes every call during an outage.
func (d *dependent) endure(o *outage, how string, begin, meanwhile, end func()) {
	d.t.Helper()
	begin()
	d.says(o.status) // what is known of the provider may be some seconds old
	got := d.look()
	if meanwhile != nil {
		meanwhile()
	}
	end()
	for _, wrong := range o.compare(got) {
		d.t.Errorf("%s %s: %s", o.probe, how, wrong)
	}
	if got.slowest > callLimit {
		d.t.Errorf("%s %s: the slowest answer took %s", o.probe, how, got.slowest)
	}
	if o.probe == "queue" && got.create > 3*time.Second {
		d.t.Errorf("%s %s: create took %s", o.probe, how, got.create)
	}
}

// says waits until readyz does.
func (d *dependent) says(status string) {
	d.t.Helper()
	d.eventually("readyz says "+status, func() bool {
		return strings.Contains(string(d.call(http.MethodGet, "/readyz", "", "").body), `"status":"`+status+`"`)
	})
}

// normal waits until all is as usual.
func (d *dependent) normal(o *outage, when string) {
	d.t.Helper()
	d.says(o.status)
	var wrong []string
	defer func() {
		if len(wrong) > 0 {
			d.t.Logf("%s: %q", when, wrong)
		}
	}()
	d.eventually("all is as usual "+when, func() bool {
		wrong = o.compare(d.look())
		return len(wrong) == 0
	})
}

// allSucceed waits until every export has.
func (d *dependent) allSucceed() {
	d.t.Helper()
	count := func(where string) (n int) {
		d.t.Helper()
		if err := d.Admin(d.t).QueryRow(d.t.Context(), `select count(*) from bulkexport.jobs where `+where).Scan(&n); err != nil {
			d.t.Fatal(err)
		}
		return n
	}
	d.eventually("the exports end", func() bool { return count(`state in ('queued', 'running')`) == 0 })
	if lost, all := count(`state <> 'succeeded'`), count(`true`); lost > 0 || all < 10 {
		d.t.Errorf("%d of %d exports did not succeed", lost, all)
	}
}
