package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// page is what every list takes. (The framework does not fill embedded structs
// that are not exported.)
type page struct {
	Project string `path:"project" doc:"Name of the project"`
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
	Cursor  string `query:"cursor" doc:"From the Link header of the page before"`
}

// after reads the cursor, which valid must take.
func (p page) after(valid func(string) bool) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || p.Cursor != "" && !valid(string(b)) {
		return "", &jobs.Invalid{Fields: []jobs.FieldError{{Field: "cursor", Message: "must come from the Link header of the page before"}}}
	}
	return string(b), nil
}

// next is the Link header to what follows the entry last.
func (s *server) next(p page, list, last string, more url.Values) string {
	q := url.Values{"cursor": {base64.RawURLEncoding.EncodeToString([]byte(last))}, "limit": {strconv.Itoa(p.Limit)}}
	for name, values := range more {
		q[name] = values
	}
	return fmt.Sprintf(`<%s/v1/projects/%s/%s?%s>; rel="next"`, s.cfg.PublicURL, url.PathEscape(p.Project), list, q.Encode())
}

type listInput struct {
	Project string `path:"project" doc:"Name of the project"`
	Limit   int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
	Cursor  string `query:"cursor" doc:"From the Link header of the page before"`
	State   string `query:"state" enum:"queued,running,canceling,succeeded,failed,canceled,expired" doc:"Only these"`
}

type listOutput struct {
	Link string `header:"Link" doc:"rel=\"next\": the page that follows, if there is one"`
	Body struct {
		Exports []Job `json:"exports"`
	}
}

func (s *server) list(ctx context.Context, in *listInput) (*listOutput, error) {
	p := page{in.Project, in.Limit, in.Cursor}
	before, err := p.after(isID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	q := jobs.ListQuery{Project: in.Project, State: jobs.State(in.State), Before: before, Limit: in.Limit + 1}
	found, err := s.cfg.Service.List(ctx, principal(ctx), q)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &listOutput{}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		more := url.Values{}
		if in.State != "" {
			more.Set("state", in.State)
		}
		out.Link = s.next(p, "exports", found[in.Limit-1].ID, more)
	}
	out.Body.Exports = make([]Job, len(found))
	for i, j := range found {
		out.Body.Exports[i] = s.show(j)
	}
	return out, nil
}

// AuditEntry is one line of the audit.
type AuditEntry struct {
	At     time.Time `json:"at"`
	Actor  string    `json:"actor" doc:"E-mail of who did it"`
	Action string    `json:"action" doc:"create, join, cancel, extend, download, manifest, checksums, original, preview, purge, purge_project, or refused"`
	Export *string   `json:"export" doc:"Id of the export; null for what concerns the project"`
	Detail string    `json:"detail,omitempty" doc:"What was refused, or which file was fetched"`
	Remote string    `json:"remote" doc:"Address that the request came from"`
}

type auditOutput struct {
	Link string `header:"Link" doc:"rel=\"next\": the page that follows, if there is one"`
	Body struct {
		Entries []AuditEntry `json:"entries"`
	}
}

func (s *server) audit(ctx context.Context, in *page) (*auditOutput, error) {
	before, err := in.after(isNumber)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	q := jobs.AuditQuery{Project: in.Project, Limit: in.Limit + 1}
	if before != "" {
		q.Before, _ = strconv.ParseInt(before, 10, 64) // isNumber has seen it
	}
	found, err := s.cfg.Service.Audit(ctx, principal(ctx), q)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &auditOutput{}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Link = s.next(*in, "audit", strconv.FormatInt(found[in.Limit-1].ID, 10), nil)
	}
	out.Body.Entries = make([]AuditEntry, len(found))
	for i, e := range found {
		out.Body.Entries[i] = AuditEntry{At: e.At.UTC(), Actor: e.Actor, Action: e.Action, Detail: e.Detail, Remote: e.Remote}
		if e.Job != "" {
			out.Body.Entries[i].Export = &found[i].Job
		}
	}
	return out, nil
}

func isNumber(s string) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n > 0
}

type previewInput struct {
	Project string `path:"project" doc:"Name of the project"`
	Kind    string `query:"kind" enum:"conversations,documents" required:"true" doc:"What to export"`
	From    string `query:"from" doc:"A date (2024-05-31) or a time with offset; rows created at or after it"`
	To      string `query:"to" doc:"A date, that whole day included, or a time with offset, excluded"`
}

// Preview is what an export would hold.
type Preview struct {
	Kind         string            `json:"kind" enum:"conversations,documents"`
	From         *time.Time        `json:"from"`
	To           *time.Time        `json:"to"`
	Estimate     bool              `json:"estimate" doc:"Counting would have taken too long: rows and bytes are guessed from statistics"`
	Rows         *int64            `json:"rows" doc:"null where not even a guess can be made; then bytes and seconds are, too"`
	BytesRaw     *int64            `json:"bytes_raw" doc:"Size of the lines, about"`
	Bytes        *int64            `json:"bytes" doc:"Size of the file, about"`
	SecondsLeast *int64            `json:"seconds_least" doc:"It will hardly take less, once it has begun"`
	SecondsMost  *int64            `json:"seconds_most" doc:"It will hardly take more"`
	Samples      []json.RawMessage `json:"samples" doc:"Up to three rows; long values are cut"`
	Identical    *Job              `json:"identical,omitempty" doc:"The same export, already running (it would be joined) or ready to be fetched"`
}

type previewOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         Preview
}

func (s *server) preview(ctx context.Context, in *previewInput) (*previewOutput, error) {
	v, err := s.cfg.Service.Preview(ctx, principal(ctx), jobs.PreviewRequest{Project: in.Project, Kind: in.Kind, From: in.From, To: in.To})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &previewOutput{CacheControl: noStore, Body: Preview{
		Kind: string(v.Spec.Kind), From: v.Spec.From, To: v.Spec.To, Estimate: v.Estimate,
		Rows: v.Rows, BytesRaw: v.BytesRaw, Bytes: v.Bytes, Samples: v.Samples,
	}}
	if v.Rows != nil {
		least, most := int64(v.Least.Seconds()), int64(v.Most.Seconds())
		out.Body.SecondsLeast, out.Body.SecondsMost = &least, &most
	}
	if v.Twin != nil {
		twin := s.show(*v.Twin)
		out.Body.Identical = &twin
	}
	return out, nil
}

type projectInput struct {
	Project string `path:"project" doc:"Name of the project"`
}

type purgedOutput struct {
	Body struct {
		Purged []string `json:"purged" doc:"Ids of the exports that were ended or whose data goes"`
	}
}

func (s *server) purgeProject(ctx context.Context, in *projectInput) (*purgedOutput, error) {
	ids, err := s.cfg.Service.PurgeProject(ctx, principal(ctx), in.Project)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	out := &purgedOutput{}
	out.Body.Purged = append([]string{}, ids...)
	return out, nil
}
