package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/api"
	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// noting keeps who called, and about which project.
type noting struct {
	api.Service
	who      []jobs.Principal
	projects []string
	wait     func(context.Context) error
}

func (n *noting) Create(ctx context.Context, p jobs.Principal, r jobs.CreateRequest) (jobs.Created, error) {
	n.who, n.projects = append(n.who, p), append(n.projects, r.Project)
	return jobs.Created{Job: jobs.Job{ID: id, State: jobs.Queued}, New: true}, n.wait(ctx)
}

func (n *noting) List(ctx context.Context, p jobs.Principal, q jobs.ListQuery) ([]jobs.Job, error) {
	n.who, n.projects = append(n.who, p), append(n.projects, q.Project)
	return nil, n.wait(ctx)
}

func (n *noting) Cancel(ctx context.Context, p jobs.Principal, _ string) (jobs.Job, error) {
	n.who = append(n.who, p)
	return jobs.Job{ID: id, State: jobs.Canceled}, n.wait(ctx)
}

func atOnce(context.Context) error { return nil }

// edge is an API whose service notes its calls, and its log.
type edge struct {
	*noting
	http.Handler
	log *bytes.Buffer
}

func newEdge(change func(*api.Config)) edge {
	e := edge{&noting{wait: atOnce}, nil, &bytes.Buffer{}}
	cfg := api.Config{
		Service: e.noting, Door: &auth.Door{People: anyone{}}, PublicURL: "https://export.example.org/base",
		Probes: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }),
		Log:    slog.New(slog.NewTextHandler(e.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	e.Handler = api.New(cfg)
	return e
}

func (e edge) call(method, target string, header ...string) *http.Response {
	var body *strings.Reader = strings.NewReader("")
	if method == http.MethodPost {
		body = strings.NewReader(`{"kind":"documents"}`)
	}
	r := httptest.NewRequest(method, target, body)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, r)
	return rec.Result()
}

// kind reads a problem.
func kind(t *testing.T, res *http.Response) string {
	t.Helper()
	var p api.Problem
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil || p.Status != res.StatusCode || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%d %v is no problem: %v", res.StatusCode, res.Header, err)
	}
	if p.Detail == "" || p.Instance == "" {
		t.Errorf("says too little: %+v", p)
	}
	return strings.TrimPrefix(p.Type, "urn:bulkexport:problem:")
}

// A name that a person gave is found, however odd it is; a path that means
// another thing to a mux than to a person is no address.
func TestPaths(t *testing.T) {
	for _, below := range []string{"", "/base"} {
		for _, name := range []string{
			"p", "a/b", "//", "100%", "%2F", "a b", "a+b", "a;b=c", "a?b#c", "a&b=c", "ünï", "プロジェクト", "مشروع", ".a", "...", "a..b",
			`"\<>{}|^`, "\t\n", "base", "exports", "v1", "..", "健康/../z",
		} {
			e := newEdge(nil)
			escaped := strings.ReplaceAll(url.PathEscape(name), ".", "%2E")
			res := e.call(http.MethodGet, below+"/v1/projects/"+escaped+"/exports")
			if res.StatusCode != 200 || len(e.projects) != 1 || e.projects[0] != name {
				t.Errorf("%s, %q: %d %q", below, name, res.StatusCode, e.projects)
			}
			if log := e.log.String(); !strings.Contains(log, `route="GET /v1/projects/{project}/exports" status=200`) || name != "p" && len(name) > 3 && strings.Contains(log, name+"/") {
				t.Errorf("the log for %q: %s", name, log)
			}
		}
		for _, target := range []string{
			"/", "", "//", "/v1", "/v1/", "/v1/exports/", "/v1/projects//exports", "/v1/projects/secret/./exports", "/v1/projects/secret/../exports",
			"/v1/projects/secret/exports/", "/v1//projects/secret/exports", "//v1/projects/secret/exports", "/v1/projects/./exports",
			"/v1/projects/../exports", "/v1/projects/secret%2Fexports", "/v1/projects/secret/exports/../../x", "/healthz/", "/./healthz", "/V1/exports/secret",
			"/basement/v1/exports/secret", "/base/base/v1/projects/secret/exports", "/v1/projects/secret/exports%00", "/v1/projects/%2F/exports", "/v1/projects/secret/exports;x",
		} {
			if below == "" && target == "" {
				continue // no server gets that
			}
			e := newEdge(nil)
			res := e.call(http.MethodGet, below+target)
			if res.StatusCode != 404 || kind(t, res) != "not-found" || res.Header.Get("Location") != "" || len(e.projects) > 0 {
				t.Errorf("%s%s: %d %v %q", below, target, res.StatusCode, res.Header, e.projects)
			}
			if strings.Contains(e.log.String(), "secret") {
				t.Errorf("the log for %s: %s", target, e.log)
			}
		}
		for _, target := range []string{"/healthz", "/readyz", "/openapi.json"} {
			if res := newEdge(nil).call(http.MethodGet, below+target); res.StatusCode != 200 {
				t.Errorf("%s%s: %d", below, target, res.StatusCode)
			}
		}
	}
}

// counting lets so many requests pass.
type counting struct{ left int }

func (c *counting) Take(_ context.Context, who string) jobs.Allowance {
	c.left--
	a := jobs.Allowance{OK: c.left >= 0 && who == "a@example.edu", Limit: 600, Remaining: max(c.left, 0), Reset: 100 * time.Millisecond}
	if !a.OK {
		a.RetryAfter = 1500 * time.Millisecond
	}
	return a
}

// absent is a limiter without its Redis.
type absent struct{}

func (absent) Take(context.Context, string) jobs.Allowance { return jobs.Allowance{OK: true} }

func TestRateLimit(t *testing.T) {
	e := newEdge(func(c *api.Config) { door(c).Limiter = &counting{2} })
	for _, left := range []string{"1", "0"} {
		res := e.call(http.MethodGet, "/v1/projects/p/exports")
		if res.StatusCode != 200 || res.Header.Get("RateLimit-Policy") != `"person";q=600;w=60` || res.Header.Get("RateLimit") != `"person";r=`+left+`;t=1` {
			t.Errorf("%d %v", res.StatusCode, res.Header)
		}
	}
	res := e.call(http.MethodPost, "/v1/projects/p/exports")
	if res.StatusCode != 429 || res.Header.Get("Retry-After") != "2" || res.Header.Get("RateLimit") == "" || len(e.projects) != 2 {
		t.Errorf("one too many: %d %v %q", res.StatusCode, res.Header, e.projects)
	}
	if k := kind(t, res); k != "rate-limited" {
		t.Error(k)
	}
	// What asks nobody who they are is not counted.
	if res := e.call(http.MethodGet, "/healthz"); res.StatusCode != 200 || res.Header.Get("RateLimit") != "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	res = newEdge(func(c *api.Config) { door(c).Limiter = absent{} }).call(http.MethodGet, "/v1/projects/p/exports")
	if res.StatusCode != 200 || res.Header.Get("RateLimit") != "" || res.Header.Get("RateLimit-Policy") != "" {
		t.Errorf("nobody counts: %d %v", res.StatusCode, res.Header)
	}
}

// What a page of another site makes a browser send changes nothing.
func TestCrossSitePost(t *testing.T) {
	for name, c := range map[string]struct {
		method, site, origin string
		passes               bool
	}{
		"a program":          {"POST", "", "", true},
		"our own page":       {"POST", "same-origin", "https://export.example.org", true},
		"typed":              {"POST", "none", "", true},
		"another site":       {"POST", "cross-site", "https://evil.example", false},
		"a sister's site":    {"POST", "same-site", "https://chat.example.net", false},
		"an old browser":     {"POST", "", "https://evil.example", false},
		"no origin":          {"POST", "", "null", false},
		"without an origin":  {"POST", "cross-site", "", false},
		"DELETE":             {"DELETE", "cross-site", "https://evil.example", false},
		"GET":                {"GET", "cross-site", "https://evil.example", true},
		"an allowed origin":  {"POST", "cross-site", "https://chat.example.org", true},
		"a longer origin":    {"POST", "cross-site", "https://chat.example.org.evil.example", false},
		"another scheme":     {"POST", "cross-site", "http://chat.example.org", false},
		"our own, rewritten": {"POST", "", "https://export.example.org", true},
	} {
		e := newEdge(func(cfg *api.Config) { cfg.Origins = []string{"https://chat.example.org"} })
		var header []string
		if c.site != "" {
			header = append(header, "Sec-Fetch-Site", c.site)
		}
		if c.origin != "" {
			header = append(header, "Origin", c.origin)
		}
		res := e.call(c.method, "/v1/projects/p/exports", header...)
		if passed := len(e.who) == 1; passed != c.passes {
			t.Errorf("%s: %d, the call reached the service: %v", name, res.StatusCode, passed)
		}
		if !c.passes && (res.StatusCode != 403 || kind(t, res) != "cross-site") {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
}

// cookies says whose session came along.
type cookies struct{}

func (cookies) Authenticate(_ context.Context, header http.Header) (jobs.Principal, error) {
	if header.Get("Authorization")+header.Get("Cookie") == "" {
		return jobs.Principal{}, jobs.ErrUnauthenticated
	}
	return jobs.Principal{Email: header.Get("Cookie") + "a@example.edu"}, nil
}

func TestOrigins(t *testing.T) {
	const chat = "https://chat.example.org"
	e := newEdge(func(c *api.Config) { c.Origins, door(c).People = []string{chat}, cookies{} })
	ask := []string{"Origin", chat, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers",
		"authorization,content-type,idempotency-key,if-match,if-none-match,if-range,last-event-id,range"}
	res := e.call(http.MethodOptions, "/base/v1/projects/p/exports", ask...)
	h := res.Header
	if res.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != chat || h.Get("Access-Control-Allow-Methods") != "POST" ||
		h.Get("Access-Control-Allow-Headers") != ask[5] || h.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%d %v", res.StatusCode, h)
	}
	for _, refused := range [][]string{
		{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"},
		{"Origin", chat, "Access-Control-Request-Method", "PUT"},
		{"Origin", chat, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-other"},
	} {
		if h := e.call(http.MethodOptions, "/v1/projects/p/exports", refused...).Header; h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q: %v", refused, h)
		}
	}
	res = e.call(http.MethodGet, "/v1/projects/p/exports", "Origin", chat, "Authorization", "Bearer x")
	if h := res.Header; res.StatusCode != 200 || h.Get("Access-Control-Allow-Origin") != chat || h.Get("Access-Control-Allow-Credentials") != "" ||
		strings.Join(h["Vary"], ", ") != "Authorization, Cookie, Origin" {
		t.Errorf("%d %v", res.StatusCode, h)
	}
	exposed := res.Header.Get("Access-Control-Expose-Headers")
	for _, name := range []string{"Location", "Link", "Retry-After", "Etag", "Ratelimit", "Ratelimit-Policy", "Content-Range", "Content-Disposition", "Accept-Ranges"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("%s is not exposed: %s", name, exposed)
		}
	}
	// A refusal can be read, too, and nobody's cookies come along.
	res = e.call(http.MethodPost, "/v1/projects/p/exports", "Origin", chat, "Cookie", "session=x")
	if res.StatusCode != 401 || res.Header.Get("Access-Control-Allow-Origin") != chat {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	res = e.call(http.MethodPost, "/v1/projects/p/exports", "Origin", "https://export.example.org", "Cookie", "session=x")
	if res.StatusCode != 202 || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("our own page: %d %v", res.StatusCode, res.Header)
	}
	// By default nobody is told anything.
	e = newEdge(nil)
	res = e.call(http.MethodOptions, "/v1/projects/p/exports", ask...)
	if res.StatusCode != 405 || kind(t, res) != "method-not-allowed" || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	res = e.call(http.MethodGet, "/v1/projects/p/exports", "Origin", chat)
	if res.Header.Get("Access-Control-Allow-Origin") != "" || strings.Join(res.Header["Vary"], ", ") != "Authorization, Cookie" {
		t.Errorf("%v", res.Header)
	}
}

// A client that has gone is no fault of anybody's.
func TestClientGone(t *testing.T) {
	for _, err := range []error{context.Canceled, &jobs.Unavailable{Dependency: "x", Err: errors.New("SQLSTATE 57014")}} {
		e := newEdge(nil)
		ctx, cancel := context.WithCancel(t.Context())
		e.wait = func(context.Context) error { cancel(); return err }
		rec := httptest.NewRecorder()
		e.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v1/projects/p/exports", nil).WithContext(ctx))
		if log := e.log.String(); rec.Code != 499 || strings.Contains(log, "ERROR") || !strings.Contains(log, "status=499") {
			t.Errorf("%v: %d %s", err, rec.Code, log)
		}
	}
}

// Who waits for others says when it is worth trying again.
func TestRetryAfter(t *testing.T) {
	for err, want := range map[error]string{
		jobs.ErrQueueFull: "10", &jobs.Unavailable{Dependency: "x", Err: context.DeadlineExceeded}: "10", jobs.ErrFinal: "", errors.New("x"): "",
	} {
		e := newEdge(nil)
		e.wait = func(context.Context) error { return err }
		if res := e.call(http.MethodPost, "/v1/exports/"+id+"/cancel"); res.Header.Get("Retry-After") != want {
			t.Errorf("%v: %v", err, res.Header)
		}
	}
}

func TestRemote(t *testing.T) {
	e := newEdge(func(c *api.Config) {
		door(c).Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("fe80::/10")}
	})
	for _, c := range []struct {
		name, peer string
		said       []string
		want       string
	}{
		{"direct", "203.0.113.5:1234", nil, "203.0.113.5"},
		{"a stranger who says so", "203.0.113.5:1234", []string{"198.51.100.1"}, "203.0.113.5"},
		{"a proxy that says nothing", "10.0.0.1:1234", nil, "10.0.0.1"},
		{"a proxy", "10.0.0.1:1234", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a client that made some up", "10.0.0.1:1234", []string{"192.0.2.99, 10.0.0.9 ,198.51.100.1"}, "198.51.100.1"},
		{"two proxies", "10.0.0.1:1234", []string{"192.0.2.99, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"two lines", "10.0.0.1:1234", []string{"192.0.2.99, 198.51.100.1", "10.0.0.2"}, "198.51.100.1"},
		{"proxies only", "10.0.0.1:1234", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"nonsense", "10.0.0.1:1234", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"nonsense behind a proxy", "10.0.0.1:1234", []string{"198.51.100.1, _hidden, 10.0.0.2"}, "10.0.0.2"},
		{"an empty one", "10.0.0.1:1234", []string{"198.51.100.1,,10.0.0.2"}, "10.0.0.2"},
		{"nothing", "10.0.0.1:1234", []string{""}, "10.0.0.1"},
		{"with a port", "10.0.0.1:1234", []string{"198.51.100.1:50123"}, "198.51.100.1"},
		{"IPv6", "[fd00::1]:1234", []string{"2001:DB8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", "[fd00::1]:1234", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with a port", "[fd00::1]:1234", []string{"[2001:db8::1]:443"}, "2001:db8::1"},
		{"a zone", "[fe80::1%eth0]:1234", []string{"fe80::2%eth1, 10.0.0.2"}, "fe80::2"},
		{"IPv4 in disguise", "[::ffff:10.0.0.1]:1234", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"a peer without an address", "@", []string{"198.51.100.1"}, "@"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/v1/projects/p/exports", nil)
		r.RemoteAddr, r.Header["X-Forwarded-For"] = c.peer, c.said
		e.ServeHTTP(httptest.NewRecorder(), r)
		if got := e.who[len(e.who)-1]; got.Remote != c.want || got.Email != "a@example.edu" {
			t.Errorf("%s: came from %s, want %s", c.name, got.Remote, c.want)
		}
	}
}
