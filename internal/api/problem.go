package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Problem is an error answer (RFC 9457). Nothing internal stands in it, and
// nothing that the caller sent.
type Problem struct {
	Type     string         `json:"type" doc:"Which kind of problem this is"`
	Title    string         `json:"title" doc:"The kind in words"`
	Status   int            `json:"status" doc:"HTTP status"`
	Detail   string         `json:"detail,omitempty" doc:"What happened, and what to do"`
	Instance string         `json:"instance,omitempty" doc:"The path that was called"`
	Retry    bool           `json:"retryable" doc:"Whether the same request may succeed later"`
	Errors   []ProblemField `json:"errors,omitempty" doc:"The fields that are wrong"`
}

// ProblemField is one field that is wrong and what is allowed there.
type ProblemField struct {
	Field   string `json:"field" doc:"Name of the field"`
	Message string `json:"message" doc:"What is allowed"`
}

var _ huma.StatusError = (*Problem)(nil)

// Error implements error.
func (p *Problem) Error() string { return p.Title }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes huma send application/problem+json.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// typePrefix names the kinds of problems; a URN opens no page that could lie.
const typePrefix = "urn:bulkexport:problem:"

// problems is the one table from errors of the domain to answers. What is not
// in it is a fault of this service: 500, and no word more.
var problems = []struct {
	err    error
	status int
	kind   string
	detail string
	retry  bool
}{
	{jobs.ErrUnauthenticated, http.StatusUnauthorized, "unauthenticated", "Send an API key of the platform, or a token of the sign-in provider, as Authorization: Bearer <token>.", false},
	{jobs.ErrNotFound, http.StatusNotFound, "not-found", "There is no such thing, or you have no role in its project.", false},
	{jobs.ErrKeyReused, http.StatusUnprocessableEntity, "idempotency-key-reused", "This Idempotency-Key was used with another request. Choose a new one.", false},
	{jobs.ErrQueueFull, http.StatusTooManyRequests, "queue-full", "Too many exports of this project are waiting. Try again when one has ended.", true},
	{jobs.ErrFinal, http.StatusConflict, "already-over", "The export is already over; there is nothing to cancel.", false},
	{jobs.ErrNotReady, http.StatusConflict, "not-ready", "The export has no file. Look at its state.", true},
	{jobs.ErrGone, http.StatusGone, "gone", "The file was deleted, after its retention or at somebody's word. Ask for a new export.", false},
	{jobs.ErrFrozen, http.StatusForbidden, "project-frozen", "The project was frozen by the platform's administrator. Ask them to open it.", false},
	{jobs.ErrExtended, http.StatusConflict, "extended-enough", "The file was extended four times, which is the most. Fetch it, or ask for a new export.", false},
	{jobs.ErrNotOver, http.StatusConflict, "not-over", "The export is not over. Cancel it first.", true},
	{jobs.ErrNoOriginal, http.StatusNotFound, "no-original", "This document has no original file here: it may be a web page.", false},
	{jobs.ErrTooMany, http.StatusTooManyRequests, "rate-limited", "You ask too often. Wait as long as Retry-After says.", true},
}

// problemFor turns any error into an answer; unknown reports one that should
// be logged.
func problemFor(err error) (p *Problem, unknown bool) {
	var done *Problem
	var invalid *jobs.Invalid
	var down *jobs.Unavailable
	switch {
	case errors.As(err, &done):
		return done, false
	case errors.As(err, &invalid):
		p := problem(http.StatusBadRequest, "invalid-request", "Some fields are wrong.", false)
		for _, f := range invalid.Fields {
			p.Errors = append(p.Errors, ProblemField{f.Field, f.Message})
		}
		return p, false
	case errors.As(err, &down):
		return problem(http.StatusServiceUnavailable, "unavailable", "Currently "+down.Dependency+" does not answer. Try again in a moment.", true), true
	case errors.Is(err, context.DeadlineExceeded):
		return problem(http.StatusServiceUnavailable, "unavailable", "A part of this service does not answer. Try again in a moment.", true), true
	}
	for _, row := range problems {
		if errors.Is(err, row.err) {
			return problem(row.status, row.kind, row.detail, row.retry), false
		}
	}
	return problem(http.StatusInternalServerError, "internal", "Something went wrong inside this service.", true), true
}

func problem(status int, kind, detail string, retry bool) *Problem {
	return &Problem{Type: typePrefix + kind, Title: http.StatusText(status), Status: status, Detail: detail, Retry: retry}
}

// fromFramework is huma's constructor of errors, replaced: a body or parameter
// that does not fit is 400, and the values that were sent are not echoed.
func fromFramework(status int, message string, errs ...error) huma.StatusError {
	switch status {
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		status = http.StatusBadRequest
		message = "The request does not fit what this address takes."
	case http.StatusRequestEntityTooLarge:
		message = "The body is too large."
	}
	kind := strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "-")
	if status >= http.StatusInternalServerError {
		message = "Something went wrong inside this service."
	}
	if status == http.StatusBadRequest {
		kind = "invalid-request"
	}
	p := problem(status, kind, message, status >= http.StatusInternalServerError)
	for _, err := range errs {
		var d huma.ErrorDetailer
		if errors.As(err, &d) {
			p.Errors = append(p.Errors, field(d.ErrorDetail()))
		} else if err != nil {
			p.Errors = append(p.Errors, ProblemField{"body", "must be valid JSON"})
		}
	}
	return p
}

// required is how huma tells of a missing property: not at its own place.
var required = regexp.MustCompile(`^expected required property (\S+) to be present$`)

// field names what is wrong, without saying where in the request it stands.
func field(d *huma.ErrorDetail) ProblemField {
	f := ProblemField{d.Location, d.Message}
	for _, prefix := range []string{"body.", "query.", "path.", "header."} {
		if name, ok := strings.CutPrefix(d.Location, prefix); ok {
			f.Field = name
		}
	}
	if m := required.FindStringSubmatch(d.Message); m != nil && f.Field == "body" {
		f = ProblemField{m[1], "is required"}
	}
	return f
}
