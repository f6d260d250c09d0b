// Package web is the pages for people who export: their projects, a project's
// exports, one export; and those for who operates the service. It holds no check of its own; jobs.Service decides.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Service is what people can do; jobs.Service implements it.
type Service interface {
	Exports
	Sights
	Actions
	Operation
	RawQueue
}

// Exports is how a person comes to exports.
type Exports interface {
	Projects(ctx context.Context, p jobs.Principal) ([]jobs.OwnProject, error)
	Operates(p jobs.Principal) bool
	List(ctx context.Context, p jobs.Principal, q jobs.ListQuery) ([]jobs.Job, error)
	Preview(ctx context.Context, p jobs.Principal, r jobs.PreviewRequest) (jobs.Preview, error)
	Create(ctx context.Context, p jobs.Principal, r jobs.CreateRequest) (jobs.Created, error)
}

// Sights is what there is to see of one.
type Sights interface {
	Get(ctx context.Context, p jobs.Principal, id string) (jobs.Job, error)
	Parts(ctx context.Context, p jobs.Principal, id string) ([]jobs.Part, error)
	Audit(ctx context.Context, p jobs.Principal, q jobs.AuditQuery) ([]jobs.AuditEntry, error)
	Letters(ctx context.Context, p jobs.Principal, id string) ([]jobs.Letter, error)
	Check(ctx context.Context, p jobs.Principal, w jobs.Wanted) error
}

// Actions is what can be done to one.
type Actions interface {
	Cancel(ctx context.Context, p jobs.Principal, id string) (jobs.Job, error)
	Extend(ctx context.Context, p jobs.Principal, id string) (jobs.Job, error)
	Purge(ctx context.Context, p jobs.Principal, id string) error
	Resend(ctx context.Context, p jobs.Principal, id string, letter int64) error
}

// Operation is what operators see and do.
type Operation interface {
	Situation(ctx context.Context, p jobs.Principal) (jobs.Situation, error)
	Search(ctx context.Context, p jobs.Principal, q jobs.SearchQuery) ([]jobs.Job, error)
	Story(ctx context.Context, p jobs.Principal, id string) (jobs.Story, error)
	Order(ctx context.Context, p jobs.Principal, o jobs.JobOrder) (string, error)
}

// RawQueue is the queue as it stands on Redis, for operators.
type RawQueue interface {
	RawQueues(ctx context.Context, p jobs.Principal) (jobs.RawQueues, error)
	Tasks(ctx context.Context, p jobs.Principal, q jobs.TaskQuery) (jobs.TaskPage, error)
	OrderTasks(ctx context.Context, p jobs.Principal, o jobs.TaskOrder) (int, error)
}

// Door says who sent a request, and tells in the headers how much they may
// still ask.
type Door interface {
	Enter(w http.ResponseWriter, r *http.Request) (jobs.Principal, error)
}

// Config is what New needs.
type Config struct {
	Service   Service
	Door      Door
	PublicURL string // without a slash at the end; may have a path
	SignIn    bool   // there is a provider to sign in with
	Log       *slog.Logger
	Now       func() time.Time
	NewKey    func() string // makes an Idempotency-Key for each form
}

// Pages are the handlers of all pages.
type Pages struct {
	cfg  Config
	base string // the path of PublicURL
	mux  *http.ServeMux
	tmpl templates
}

// Patterns are what Pages answers, below the public URL, for http.ServeMux.
var Patterns = []string{"/{$}", "/p/", "/exports/", "/ops/", assetsPath}

// New makes the pages.
func New(cfg Config) (*Pages, error) {
	p := &Pages{cfg: cfg, base: basePath(cfg.PublicURL), mux: http.NewServeMux()}
	var err error
	if p.tmpl, err = parseTemplates(p.base); err != nil {
		return nil, err
	}
	p.handle("GET /{$}", p.home)
	p.handle("GET /p/{project}", p.project)
	p.handle("POST /p/{project}", p.start)
	p.handle("GET /p/{project}/preview", p.preview)
	p.handle("GET /p/{project}/audit", p.audit)
	p.handle("GET /exports/{id}", p.export)
	p.handle("GET /exports/{id}/fetch/{asset}", p.fetch)
	p.handle("GET /exports/{id}/cancel", p.ask)
	p.handle("GET /exports/{id}/delete", p.ask)
	p.handle("POST /exports/{id}/cancel", p.cancel)
	p.handle("POST /exports/{id}/delete", p.purge)
	p.handle("POST /exports/{id}/extend", p.extend)
	p.handle("POST /exports/{id}/again", p.again)
	p.handle("POST /exports/{id}/mails/{letter}", p.resend)
	p.operate()
	p.mux.Handle("GET "+assetsPath, http.HandlerFunc(serveAsset))
	p.mux.Handle("/", http.HandlerFunc(p.Absent))
	return p, nil
}

// ServeHTTP implements http.Handler. The caller has taken the public URL's own
// path off, and keeps other sites' forms out.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// visit is one request of a person who is known.
type visit struct {
	w    http.ResponseWriter
	r    *http.Request
	who  jobs.Principal
	zone zone
	now  time.Time
}

// handler answers a visit; what it returns becomes a page that says so.
type handler func(v *visit) error

// callLimit is how long a page may take to be made, and formLimit how large what
// is sent to it, in bytes.
const (
	callLimit = 10 * time.Second
	formLimit = 64 << 10
)

func (p *Pages) handle(pattern string, h handler) {
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), callLimit)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, formLimit)
		v := &visit{w: w, r: r.WithContext(ctx), zone: zoneOf(r), now: p.cfg.Now()}
		who, err := p.cfg.Door.Enter(w, v.r)
		if err == nil {
			v.who = who
			err = h(v)
		}
		if err != nil {
			p.failed(v, err)
		}
	})
}

// Absent says that there is no such page.
func (p *Pages) Absent(w http.ResponseWriter, r *http.Request) {
	v := &visit{w: w, r: r, zone: zoneOf(r), now: p.cfg.Now()}
	p.failed(v, jobs.ErrNotFound)
}

// redirect sends the browser on by GET to a path of these pages.
func (p *Pages) redirect(v *visit, to string) {
	noStore(v.w)
	http.Redirect(v.w, v.r, p.base+to, http.StatusSeeOther)
}
