// Package api is the JSON API: requests in, jobs and problem documents out. It
// holds no check of its own; jobs.Service decides.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Service is what people can do; jobs.Service implements it.
type Service interface {
	Exports
	Deliveries
	Oversight
}

// Exports is what they do with exports.
type Exports interface {
	Create(ctx context.Context, p jobs.Principal, r jobs.CreateRequest) (jobs.Created, error)
	Get(ctx context.Context, p jobs.Principal, id string) (jobs.Job, error)
	List(ctx context.Context, p jobs.Principal, q jobs.ListQuery) ([]jobs.Job, error)
	Cancel(ctx context.Context, p jobs.Principal, id string) (jobs.Job, error)
	Extend(ctx context.Context, p jobs.Principal, id string) (jobs.Job, error)
	Purge(ctx context.Context, p jobs.Principal, id string) error
}

// Deliveries hands files out.
type Deliveries interface {
	Link(ctx context.Context, p jobs.Principal, w jobs.Wanted) (jobs.Link, error)
	Open(ctx context.Context, p jobs.Principal, w jobs.Wanted) (jobs.Object, error)
	Check(ctx context.Context, p jobs.Principal, w jobs.Wanted) error
}

// Oversight is what they see beside the exports, and what operators do.
type Oversight interface {
	Preview(ctx context.Context, p jobs.Principal, r jobs.PreviewRequest) (jobs.Preview, error)
	Watch(ctx context.Context, p jobs.Principal, id string) (<-chan jobs.Job, error)
	Audit(ctx context.Context, p jobs.Principal, q jobs.AuditQuery) ([]jobs.AuditEntry, error)
	PurgeProject(ctx context.Context, p jobs.Principal, project string) ([]string, error)
}

// Door is where people come in. Enter says who sent a request, and tells in the
// headers how much they may still ask.
type Door interface {
	Enter(w http.ResponseWriter, r *http.Request) (jobs.Principal, error)
}

// Config is what New needs.
type Config struct {
	Service   Service
	Door      Door
	PublicURL string   // without a slash at the end
	Origins   []string // whose pages may call, in lower case
	Stream    bool     // files go through this service instead of by links
	Probes    http.Handler
	// Seen is told of each request, may give it a context of its own, and returns
	// what to call with the answer's status. The request has its pattern then.
	Seen   func(*http.Request) (*http.Request, func(status int))
	Log    *slog.Logger
	Cookie string // the session's, by name

	Browser      http.Handler // signs people in and out
	BrowserPaths []string
	// Pages are for people, at patterns of http.ServeMux; Absent tells them that
	// there is none. Nil: there are none at all.
	Pages        http.Handler
	PagePatterns []string
	Absent       http.Handler
}

type server struct {
	cfg          Config
	api          huma.API
	origin, base string // of PublicURL
}

// bodyLimit is generous for a request of some lines.
const bodyLimit = 64 << 10

// New makes the API's handler.
func New(cfg Config) http.Handler {
	if cfg.Seen == nil {
		cfg.Seen = func(r *http.Request) (*http.Request, func(int)) { return r, func(int) {} }
	}
	huma.NewError = fromFramework
	mux := http.NewServeMux()
	hc := huma.DefaultConfig("Bulk Export", "1")
	hc.OpenAPIPath, hc.DocsPath, hc.SchemasPath = "", "", ""
	hc.CreateHooks = nil // no $schema in every body
	hc.Info.Description = "Export everything that was said in a project, for its owner and admins."
	hc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer":  {Type: "http", Scheme: "bearer", Description: "An API key of the platform, or a token of the sign-in provider"},
		"session": {Type: "apiKey", In: "cookie", Name: cfg.Cookie, Description: "The page's own sign-in"},
	}
	hc.Servers = []*huma.Server{{URL: cfg.PublicURL}}
	var operations []*huma.Operation
	hc.OnAddOperation = append(hc.OnAddOperation, func(_ *huma.OpenAPI, o *huma.Operation) { operations = append(operations, o) })
	hc.RejectUnknownQueryParameters = true
	s := &server{cfg: cfg}
	s.origin, s.base = public(cfg.PublicURL)
	hc.Transformers = append(hc.Transformers, s.complete)
	s.api = jsonOnly{humago.New(mux, hc), hc}
	s.api.UseMiddleware(s.deadline, s.authenticate)
	s.routes()
	for _, path := range cfg.BrowserPaths {
		mux.Handle(path, cfg.Browser)
	}
	for _, pattern := range cfg.PagePatterns {
		mux.Handle(pattern, cfg.Pages)
	}
	s.described(mux, operations)
	mux.Handle("GET /healthz", cfg.Probes)
	mux.Handle("GET /readyz", cfg.Probes)
	return s.below(s.log(private(s.crossOrigin(s.sameSite(s.strict(mux))))))
}

// jsonOnly answers everybody in JSON. The framework's own look at Accept panics
// at some values, and there is nothing to choose from.
type jsonOnly struct {
	huma.API
	config huma.Config
}

// Negotiate implements huma.API.
func (jsonOnly) Negotiate(string) (string, error) { return "application/json", nil }

// Config is where the framework looks for its settings.
func (j jsonOnly) Config() huma.Config { return j.config }

// tryAgain is what Retry-After tells those who had no luck, in seconds.
const tryAgain = "10"

// complete gives a problem the path that was called, and those who should try
// again a time.
func (s *server) complete(ctx huma.Context, _ string, v any) (any, error) {
	p, ok := v.(*Problem)
	if !ok {
		return v, nil
	}
	u := ctx.URL()
	p.Instance = s.base + u.EscapedPath()
	_, w := humago.Unwrap(ctx)
	if busy := p.Status == http.StatusTooManyRequests || p.Status == http.StatusServiceUnavailable; busy && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", tryAgain)
	}
	return v, nil
}

type principalKey struct{}

// authenticate lets nobody pass without valid credentials.
func (s *server) authenticate(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	p, err := s.cfg.Door.Enter(w, r.WithContext(ctx.Context()))
	if err != nil {
		pr := s.problem(ctx.Context(), err)
		if pr.Status == http.StatusUnauthorized {
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="bulk-export"`)
		}
		s.write(ctx, pr)
		return
	}
	next(huma.WithValue(ctx, principalKey{}, p))
}

func principal(ctx context.Context) jobs.Principal {
	p, _ := ctx.Value(principalKey{}).(jobs.Principal)
	return p
}

// problem finds the answer to an error, and logs what only operators should see.
func (s *server) problem(ctx context.Context, err error) *Problem {
	if errors.Is(ctx.Err(), context.Canceled) {
		return problem(statusGone, "client-gone", "The client did not wait for the answer.", true)
	}
	p, unknown := problemFor(err)
	if unknown {
		s.cfg.Log.Error("request failed", "status", p.Status, "error", err)
	}
	return p
}

// write sends a problem from outside a handler.
func (s *server) write(ctx huma.Context, p *Problem) {
	if _, err := s.complete(ctx, "", p); err != nil {
		s.cfg.Log.Error("problem not written", "error", err)
	}
	ctx.SetHeader("Content-Type", p.ContentType(""))
	ctx.SetStatus(p.Status)
	if err := s.api.Marshal(ctx.BodyWriter(), "application/json", p); err != nil {
		s.cfg.Log.Debug("problem not written", "error", err)
	}
}

// private marks every answer as one person's.
func private(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, no-cache")
		w.Header().Set("Vary", "Authorization, Cookie")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// strict answers what no route takes with a problem too, instead of the mux's
// plain text or a redirect.
func (s *server) strict(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := fromFramework(http.StatusNotFound, "There is no such address.").(*Problem)
		absent := func() {
			if s.cfg.Absent != nil && forPeople(r) {
				s.cfg.Absent.ServeHTTP(w, r)
				return
			}
			s.write(humago.NewContext(&huma.Operation{}, r, w), p)
		}
		if !plain(r.URL.EscapedPath()) {
			absent()
			return
		}
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &statusProbe{header: http.Header{}}
		h.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			p = fromFramework(probe.status, "This address takes other methods: see the Allow header.").(*Problem)
			w.Header().Set("Allow", probe.header.Get("Allow"))
		}
		absent()
	})
}

// forPeople reports whether a browser asks for a page, and not for one of the
// API's addresses.
func forPeople(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") && !strings.HasPrefix(r.URL.Path, "/v1/")
}

// statusProbe learns what the mux would have answered.
type statusProbe struct {
	header http.Header
	status int
}

func (p *statusProbe) Header() http.Header         { return p.header }
func (p *statusProbe) Write(b []byte) (int, error) { return len(b), nil }
func (p *statusProbe) WriteHeader(status int)      { p.status = status }

// log writes one line a request. Paths hold names of projects: the route
// stands for them.
func (s *server) log(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		r, answered := s.cfg.Seen(r)
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		s.guard(rec, r, next)
		answered(rec.status)
		if strings.HasSuffix(r.Pattern, "z") && rec.status < http.StatusBadRequest {
			return // probes come every few seconds
		}
		s.cfg.Log.Info("request", "method", r.Method, "route", r.Pattern, "status", rec.status, "duration", time.Since(start))
	})
}

// guard answers a panic with a problem. Its value may hold data; the stack
// holds none.
func (s *server) guard(w http.ResponseWriter, r *http.Request, next http.Handler) {
	defer func() {
		if recover() != nil {
			s.cfg.Log.Error("handler panicked", "stack", string(debug.Stack()))
			p, _ := problemFor(errors.New("panic"))
			s.write(humago.NewContext(&huma.Operation{}, r, w), p)
		}
	}()
	next.ServeHTTP(w, r)
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the real writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
