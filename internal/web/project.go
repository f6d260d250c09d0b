package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// historyPage is how many exports a page of the history has.
const historyPage = 50

// form is what a person chooses, as they left it.
type form struct {
	Kind     jobs.Kind
	From, To string // days of the browser's zone, both included
	Notify   string
	Key      string
	Errors   []string
}

func formOf(v *visit) form {
	f := form{Kind: jobs.Kind(v.r.FormValue("kind")), From: v.r.FormValue("from"), To: v.r.FormValue("to"), Notify: v.r.FormValue("notify"), Key: v.r.FormValue("key")}
	if f.Kind == "" {
		f.Kind = jobs.Conversations
	}
	return f
}

// projectPage is a project: what to export, and what was exported.
type projectPage struct {
	Project string
	Form    form
	State   string
	Query   string // of the form, for its preview
	Today   string
	Older   string // the address of the page that follows; empty at the end
	Newest  bool
	Rows    []row
	Open    bool // some of them are not over
	Full    bool // the history has a filter, or a page before
}

func (p *Pages) project(v *visit) error { return p.showProject(v, http.StatusOK, formOf(v)) }

func (p *Pages) showProject(v *visit, status int, f form) error {
	name, query := v.r.PathValue("project"), v.r.URL.Query()
	q := jobs.ListQuery{Project: name, Limit: historyPage + 1}
	if s := jobs.State(query.Get("state")); stateWords[s] != "" {
		q.State = s
	}
	if before := query.Get("before"); isID(before) {
		q.Before = before
	}
	list, err := p.cfg.Service.List(v.r.Context(), v.who, q)
	if err != nil {
		return err
	}
	page := projectPage{Project: name, Form: f, State: string(q.State), Today: v.now.In(v.zone.Location).Format(time.DateOnly), Newest: q.Before == ""}
	page.Full = q.Before != "" || q.State != ""
	if len(list) > historyPage {
		list = list[:historyPage]
		page.Older = older(name, q.State, list[historyPage-1].ID)
	}
	for _, j := range list {
		r := v.row(j)
		page.Rows, page.Open = append(page.Rows, r), page.Open || !j.State.Final()
	}
	if page.Form.Key == "" || status == http.StatusOK {
		page.Form.Key = p.cfg.NewKey()
	}
	return p.show(v, status, "project", frame{Title: name, Crumbs: []crumb{{"Your projects", "/"}}, Body: page})
}

func older(project string, state jobs.State, before string) string {
	q := url.Values{"before": {before}}
	if state != "" {
		q.Set("state", string(state))
	}
	return projectPath(project) + "?" + q.Encode() + "#history"
}

func projectPath(project string) string { return "/p/" + url.PathEscape(project) }

// isID reports whether s can be an export's id.
func isID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch dash := i == 8 || i == 13 || i == 18 || i == 23; {
		case dash != (c == '-'):
			return false
		case !dash && !strings.ContainsRune("0123456789abcdef", rune(c)):
			return false
		}
	}
	return true
}

// previewed is what an export would hold, or why that cannot be told.
type previewed struct {
	jobs.Preview
	Samples []string
	Empty   bool
	Twin    *row
	Form    form
	Trouble string
}

// preview answers the form while it is filled in.
func (p *Pages) preview(v *visit) error {
	f := formOf(v)
	from, to := v.zone.span(f.From, f.To)
	got, err := p.cfg.Service.Preview(v.r.Context(), v.who, jobs.PreviewRequest{
		Project: v.r.PathValue("project"), Kind: string(f.Kind), From: from, To: to,
	})
	out := previewed{Preview: got, Form: f, Empty: got.Rows != nil && *got.Rows == 0}
	var invalid *jobs.Invalid
	var down *jobs.Unavailable
	switch {
	case errors.As(err, &invalid):
		out.Form.Errors = fieldWords(invalid)
	case errors.As(err, &down):
		out.Trouble = "What it will contain cannot be told: currently " + down.Dependency + " does not answer. You can start the export all the same."
	case err != nil:
		return err
	}
	for _, s := range got.Samples {
		var b bytes.Buffer
		if json.Indent(&b, s, "", "  ") == nil {
			out.Samples = append(out.Samples, b.String())
		}
	}
	if got.Twin != nil {
		twin := v.row(*got.Twin)
		out.Twin = &twin
	}
	return p.write(v, http.StatusOK, "preview", "preview", out)
}

// fieldNames are the form's words for the service's fields.
var fieldNames = map[string]string{"kind": "What to export", "from": "First day", "to": "Last day", "notify": "Who else is told"}

func fieldWords(e *jobs.Invalid) (words []string) {
	for _, f := range e.Fields {
		name, _, _ := strings.Cut(f.Field, "[")
		if known := fieldNames[name]; known != "" {
			name = known
		}
		words = append(words, name+" "+f.Message+".")
	}
	return words
}

// start asks for an export, or joins one.
func (p *Pages) start(v *visit) error {
	f := formOf(v)
	from, to := v.zone.span(f.From, f.To)
	c, err := p.cfg.Service.Create(v.r.Context(), v.who, jobs.CreateRequest{
		Project: v.r.PathValue("project"), Kind: string(f.Kind), From: from, To: to,
		Notify: addresses(f.Notify), Fresh: v.r.FormValue("fresh") != "", IdempotencyKey: f.Key,
	})
	var invalid *jobs.Invalid
	switch {
	case errors.As(err, &invalid):
		f.Errors = fieldWords(invalid)
		return p.showProject(v, http.StatusBadRequest, f)
	case err != nil:
		return err
	}
	return p.created(v, c)
}

func (p *Pages) created(v *visit, c jobs.Created) error {
	done := "started"
	if !c.New {
		done = "joined"
	}
	p.redirect(v, "/exports/"+c.Job.ID+"?done="+done)
	return nil
}

// addresses are those of a text field, however they are set apart.
func addresses(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ';' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
}

// auditPage is one page of who did what in a project.
type auditPage struct {
	Project string
	Entries []line
	Older   string
}
