package api

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// pollAfter is what Retry-After tells those who wait.
const pollAfter = "2"

func (s *server) routes() {
	const project, export = "/v1/projects/{project}", "/v1/exports/{id}"
	huma.Register(s.api, s.withJob(s.op(http.MethodPost, project+"/exports", "create-export", "Ask for an export", http.StatusAccepted),
		"200", "An identical export was joined, or the request was a repeated one"), s.create)
	huma.Register(s.api, s.op(http.MethodGet, project+"/exports", "list-exports", "List a project's exports, newest first", http.StatusOK), s.list)
	huma.Register(s.api, s.op(http.MethodGet, project+"/exports/preview", "preview-export", "See what an export would hold, before it is asked for", http.StatusOK), s.preview)
	huma.Register(s.api, s.op(http.MethodDelete, project+"/exports", "purge-project", "Operators: end and delete all exports of a project", http.StatusOK), s.purgeProject)
	huma.Register(s.api, s.op(http.MethodGet, project+"/audit", "list-audit", "See who did what in a project, newest first", http.StatusOK), s.audit)
	huma.Register(s.api, unmodified(s.op(http.MethodGet, export, "get-export", "Look at an export", http.StatusOK)), s.get)
	huma.Register(s.api, s.op(http.MethodPost, export+"/cancel", "cancel-export", "Stop an export, for all who wait for it", http.StatusAccepted), s.cancel)
	huma.Register(s.api, s.op(http.MethodPost, export+"/extend", "extend-export", "Keep the file for another retention, four times at most", http.StatusOK), s.extend)
	huma.Register(s.api, s.op(http.MethodDelete, export, "purge-export", "Delete the file; the record stays", http.StatusNoContent), s.purge)
	s.registerEvents(export + "/events")
	s.registerDeliveries(project, export)
}

func (s *server) op(method, path, id, summary string, status int) huma.Operation {
	return huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary, DefaultStatus: status,
		MaxBodyBytes: bodyLimit, Security: []map[string][]string{{"bearer": {}}, {"session": {}}},
		Responses: map[string]*huma.Response{
			"default": s.response("Every error", "application/problem+json", reflect.TypeFor[Problem](), "Problem"),
		},
	}
}

// withJob documents a second status that a job comes with.
func (s *server) withJob(o huma.Operation, status, description string) huma.Operation {
	o.Responses[status] = s.response(description, "application/json", reflect.TypeFor[Job](), "Job")
	return o
}

// unmodified documents the answer to an If-None-Match.
func unmodified(o huma.Operation) huma.Operation {
	o.Responses["304"] = &huma.Response{Description: "Nothing has changed since the ETag that If-None-Match names"}
	return o
}

func (s *server) response(description, contentType string, t reflect.Type, name string) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{
		contentType: {Schema: s.api.OpenAPI().Components.Schemas.Schema(t, true, name)},
	}}
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
	Location   string `header:"Location" doc:"Address of the job, where it was asked for"`
	RetryAfter string `header:"Retry-After" doc:"Seconds until it is worth looking again; until the job is over"`
	ETag       string `header:"ETag" doc:"Changes with the job"`
	Body       Job
}

func (s *server) output(status int, j jobs.Job) *jobOutput {
	out := &jobOutput{Status: status, ETag: etag(j), Body: s.show(j)}
	if !j.State.Final() {
		out.RetryAfter = pollAfter
	}
	return out
}

// etag is weak: it stands for what the job says, not for the bytes.
func etag(j jobs.Job) string {
	position := 0
	if j.QueuePosition != nil {
		position = *j.QueuePosition
	}
	return fmt.Sprintf(`W/"%d-%d"`, j.Version, position)
}

// matches reports whether an If-None-Match names an ETag, by RFC 9110's weak
// comparison.
func matches(header, etag string) bool {
	for one := range strings.SplitSeq(header, ",") {
		if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == strings.TrimPrefix(etag, "W/") {
			return true
		}
	}
	return false
}

func (s *server) create(ctx context.Context, in *createInput) (*jobOutput, error) {
	c, err := s.cfg.Service.Create(ctx, principal(ctx), jobs.CreateRequest{
		Project: in.Project, Kind: in.Body.Kind, From: in.Body.From, To: in.Body.To, Notify: in.Body.Notify,
		Fresh: in.Body.Fresh, AllowSkipped: in.Body.AllowSkipped, IdempotencyKey: in.IdempotencyKey,
	})
	if err != nil {
		return nil, s.problem(ctx, err)
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

type getInput struct {
	ID          string `path:"id" doc:"Id of the export"`
	IfNoneMatch string `header:"If-None-Match" doc:"ETag of what you have: 304 if nothing has changed"`
}

func (s *server) get(ctx context.Context, in *getInput) (*jobOutput, error) {
	out, err := s.one(ctx, &idInput{in.ID}, http.StatusOK, s.cfg.Service.Get)
	if err == nil && matches(in.IfNoneMatch, out.ETag) {
		out.Status = http.StatusNotModified
	}
	return out, err
}

func (s *server) cancel(ctx context.Context, in *idInput) (*jobOutput, error) {
	return s.one(ctx, in, http.StatusAccepted, s.cfg.Service.Cancel)
}

func (s *server) extend(ctx context.Context, in *idInput) (*jobOutput, error) {
	return s.one(ctx, in, http.StatusOK, s.cfg.Service.Extend)
}

func (s *server) purge(ctx context.Context, in *idInput) (*struct{}, error) {
	id, err := jobID(in.ID)
	if err == nil {
		err = s.cfg.Service.Purge(ctx, principal(ctx), id)
	}
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

func (s *server) one(ctx context.Context, in *idInput, status int, do func(context.Context, jobs.Principal, string) (jobs.Job, error)) (*jobOutput, error) {
	id, err := jobID(in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	j, err := do(ctx, principal(ctx), id)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return s.output(status, j), nil
}
