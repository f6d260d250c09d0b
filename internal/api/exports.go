package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// pollAfter is what Retry-After tells those who wait.
const pollAfter = "2"

func (s *server) routes() {
	huma.Register(s.api, op(http.MethodPost, "/v1/projects/{project}/exports", "create-export", "Ask for an export", http.StatusAccepted), s.create)
	huma.Register(s.api, op(http.MethodGet, "/v1/projects/{project}/exports", "list-exports", "List a project's exports, newest first", http.StatusOK), s.list)
	huma.Register(s.api, op(http.MethodGet, "/v1/exports/{id}", "get-export", "Look at an export", http.StatusOK), s.get)
	huma.Register(s.api, op(http.MethodPost, "/v1/exports/{id}/cancel", "cancel-export", "Stop an export, for all who wait for it", http.StatusAccepted), s.cancel)
	s.registerAsset(jobs.File, "Get a link to the file, made at this moment")
	s.registerAsset(jobs.Manifest, "Get a link to the manifest, a Frictionless data package")
	s.registerAsset(jobs.Checksums, "Get a link to SHA256SUMS, for sha256sum -c")
}

func (s *server) registerAsset(a jobs.Asset, summary string) {
	o := op(http.MethodGet, "/v1/exports/{id}/"+string(a), "get-"+string(a), summary, http.StatusSeeOther)
	o.Responses = map[string]*huma.Response{
		"200": {Description: "The link, for Accept: application/json", Content: map[string]*huma.MediaType{
			"application/json": {Schema: s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Link](), true, "Link")},
		}},
		"303": {Description: "Redirect to the link"},
	}
	huma.Register(s.api, o, func(ctx context.Context, in *downloadInput) (*huma.StreamResponse, error) {
		return s.download(ctx, in, a)
	})
}

func op(method, path, id, summary string, status int) huma.Operation {
	return huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary, DefaultStatus: status,
		MaxBodyBytes: bodyLimit, Security: []map[string][]string{{"bearer": {}}},
	}
}

type createInput struct {
	Project        string `path:"project" doc:"Name of the project"`
	IdempotencyKey string `header:"Idempotency-Key" doc:"Repeating the request with the same key within a day returns the same job"`
	Body           struct {
		Kind         string   `json:"kind" enum:"conversations,documents" doc:"What to export"`
		From         string   `json:"from,omitempty" doc:"A date (2024-05-31) or a time with offset; rows created at or after it" nullable:"true"`
		To           string   `json:"to,omitempty" doc:"A date, that whole day included, or a time with offset, excluded" nullable:"true"`
		Notify       []string `json:"notify,omitempty" maxItems:"20" doc:"Who else is told: people with a role in the project"`
		Fresh        bool     `json:"fresh,omitempty" doc:"Do not join an identical export that waits or has just begun"`
		AllowSkipped bool     `json:"allow_skipped,omitempty" doc:"Succeed however many rows cannot be written"`
	}
}

type jobOutput struct {
	Status     int
	Location   string `header:"Location"`
	RetryAfter string `header:"Retry-After"`
	Body       Job
}

func (s *server) output(status int, j jobs.Job) *jobOutput {
	out := &jobOutput{Status: status, Body: s.show(j)}
	if !j.State.Final() {
		out.RetryAfter = pollAfter
	}
	return out
}

func (s *server) create(ctx context.Context, in *createInput) (*jobOutput, error) {
	c, err := s.cfg.Service.Create(ctx, principal(ctx), jobs.CreateRequest{
		Project: in.Project, Kind: in.Body.Kind, From: in.Body.From, To: in.Body.To, Notify: in.Body.Notify,
		Fresh: in.Body.Fresh, AllowSkipped: in.Body.AllowSkipped, IdempotencyKey: in.IdempotencyKey,
	})
	if err != nil {
		return nil, s.problem(err)
	}
	status := http.StatusOK
	if c.New {
		status = http.StatusAccepted
	}
	out := s.output(status, c.Job)
	out.Location = out.Body.Links.Self
	return out, nil
}

type idInput struct {
	ID string `path:"id" doc:"Id of the export"`
}

// jobID checks the form of an id: what is none names nothing.
func jobID(s string) (string, error) {
	if !isID(s) {
		return "", jobs.ErrNotFound
	}
	return strings.ToLower(s), nil
}

func isID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

func (s *server) get(ctx context.Context, in *idInput) (*jobOutput, error) {
	return s.one(ctx, in, http.StatusOK, s.cfg.Service.Get)
}

func (s *server) cancel(ctx context.Context, in *idInput) (*jobOutput, error) {
	return s.one(ctx, in, http.StatusAccepted, s.cfg.Service.Cancel)
}

func (s *server) one(ctx context.Context, in *idInput, status int, do func(context.Context, jobs.Principal, string) (jobs.Job, error)) (*jobOutput, error) {
	id, err := jobID(in.ID)
	if err != nil {
		return nil, s.problem(err)
	}
	j, err := do(ctx, principal(ctx), id)
	if err != nil {
		return nil, s.problem(err)
	}
	return s.output(status, j), nil
}

type listInput struct {
	Project string `path:"project" doc:"Name of the project"`
	State   string `query:"state" enum:"queued,running,canceling,succeeded,failed,canceled,expired" doc:"Only these"`
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
	Cursor  string `query:"cursor" doc:"From the Link header of the page before"`
}

type listOutput struct {
	Link string `header:"Link"`
	Body struct {
		Exports []Job `json:"exports"`
	}
}

func (s *server) list(ctx context.Context, in *listInput) (*listOutput, error) {
	before, err := base64.RawURLEncoding.DecodeString(in.Cursor)
	if err != nil || in.Cursor != "" && !isID(string(before)) {
		return nil, s.problem(&jobs.Invalid{Fields: []jobs.FieldError{{Field: "cursor", Message: "must come from the Link header of the page before"}}})
	}
	q := jobs.ListQuery{Project: in.Project, State: jobs.State(in.State), Before: string(before), Limit: in.Limit + 1}
	page, err := s.cfg.Service.List(ctx, principal(ctx), q)
	if err != nil {
		return nil, s.problem(err)
	}
	out := &listOutput{}
	if len(page) > in.Limit {
		page = page[:in.Limit]
		next := url.Values{"cursor": {base64.RawURLEncoding.EncodeToString([]byte(page[in.Limit-1].ID))}, "limit": {fmt.Sprint(in.Limit)}}
		if in.State != "" {
			next.Set("state", in.State)
		}
		out.Link = fmt.Sprintf(`<%s/v1/projects/%s/exports?%s>; rel="next"`, s.cfg.PublicURL, url.PathEscape(in.Project), next.Encode())
	}
	out.Body.Exports = make([]Job, len(page))
	for i, j := range page {
		out.Body.Exports[i] = s.show(j)
	}
	return out, nil
}

// Link opens the file for some minutes, to whoever holds it.
type Link struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

type downloadInput struct {
	ID     string `path:"id" doc:"Id of the export"`
	Accept string `header:"Accept" doc:"application/json for the link in a body instead of a redirect"`
}

func (s *server) download(ctx context.Context, in *downloadInput, a jobs.Asset) (*huma.StreamResponse, error) {
	id, err := jobID(in.ID)
	if err != nil {
		return nil, s.problem(err)
	}
	link, err := s.cfg.Service.Download(ctx, principal(ctx), id, a)
	if err != nil {
		return nil, s.problem(err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Cache-Control", "no-store")
		if !strings.Contains(in.Accept, "application/json") {
			hc.SetHeader("Location", link.URL)
			hc.SetStatus(http.StatusSeeOther)
			return
		}
		hc.SetHeader("Content-Type", "application/json")
		hc.SetStatus(http.StatusOK)
		if err := s.api.Marshal(hc.BodyWriter(), "application/json", Link(link)); err != nil {
			s.cfg.Log.Debug("link not written", "error", err)
		}
	}}, nil
}
