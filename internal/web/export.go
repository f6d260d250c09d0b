package web

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// linesShown are the lines of the audit that an export's page has.
const linesShown = 100

// exportPage is one export, whole.
type exportPage struct {
	row
	Snippets []snippet
	Parts    []jobs.Part
	Letters  []letter
	Lines    []line
	Fetched  bool // somebody fetched the file
	Done     string
	Key      string
}

// line is one of the audit.
type line struct {
	At      time.Time
	When    string
	Actor   string
	Did     string
	Job     string
	Remote  string
	Refused bool
}

func (p *Pages) export(v *visit) error {
	id := v.r.PathValue("id")
	if !isID(id) {
		return jobs.ErrNotFound
	}
	ctx := v.r.Context()
	j, err := p.cfg.Service.Get(ctx, v.who, id)
	if err != nil {
		return err
	}
	page := exportPage{row: v.row(j), Key: p.cfg.NewKey()}
	if d := doneWords[v.r.URL.Query().Get("done")]; d.open == page.Open() {
		page.Done = d.words
	}
	entries, err := p.cfg.Service.Audit(ctx, v.who, jobs.AuditQuery{Project: j.Project, Job: j.ID, Limit: linesShown})
	if err != nil {
		return err
	}
	page.Lines = v.lines(entries)
	for i := range page.Lines {
		page.Lines[i].Job = "" // this is its page
	}
	if page.Letters, err = p.letters(v, id); err != nil {
		return err
	}
	page.Fetched = slices.ContainsFunc(entries, func(e jobs.AuditEntry) bool { return e.Action == string(jobs.File) })
	if page.Ready() {
		if page.Parts, err = p.cfg.Service.Parts(ctx, v.who, id); err != nil {
			return err
		}
		page.Snippets = snippets(p.cfg.PublicURL, j)
	}
	title := kindWords[j.Kind] + ": " + page.StateWord()
	if n := page.Percent(); n >= 0 {
		title = strconv.Itoa(n) + " % · " + kindWords[j.Kind]
	}
	return p.show(v, http.StatusOK, "export", frame{Title: title, Body: page,
		Crumbs: []crumb{{"Your projects", "/"}, {j.Project, projectPath(j.Project)}}})
}

// fetch leads to the file once it is sure that it is there: what a browser gets
// from the object store instead of a file, nobody should have to read.
func (p *Pages) fetch(v *visit) error {
	id, asset := v.r.PathValue("id"), jobs.Asset(v.r.PathValue("asset"))
	if !isID(id) || asset != jobs.File && asset != jobs.Manifest && asset != jobs.Checksums {
		return jobs.ErrNotFound
	}
	if err := p.cfg.Service.Check(v.r.Context(), v.who, jobs.Wanted{Job: id, Asset: asset}); err != nil {
		return err
	}
	p.redirect(v, "/v1/exports/"+id+"/"+string(asset))
	return nil
}

// question is asked before what cannot be undone.
type question struct {
	row
	Cancel bool // else: delete
}

func (p *Pages) ask(v *visit) error {
	j, err := p.job(v)
	if err != nil {
		return err
	}
	q := question{v.row(j), lastSegment(v.r.URL.Path) == "cancel"}
	switch {
	case q.Cancel && !q.Open():
		return jobs.ErrFinal
	case !q.Cancel && q.Open():
		return jobs.ErrNotOver
	}
	title := "Stop this export?"
	if !q.Cancel {
		title = "Delete this file?"
	}
	return p.show(v, http.StatusOK, "ask", frame{Title: title, Body: q,
		Crumbs: []crumb{{"Your projects", "/"}, {j.Project, projectPath(j.Project)}, {kindWords[j.Kind], "/exports/" + j.ID}}})
}

func (p *Pages) job(v *visit) (jobs.Job, error) {
	id := v.r.PathValue("id")
	if !isID(id) {
		return jobs.Job{}, jobs.ErrNotFound
	}
	return p.cfg.Service.Get(v.r.Context(), v.who, id)
}

// act carries an action out, and leads back to the export.
func (p *Pages) act(v *visit, done string, do func(id string) error) error {
	id := v.r.PathValue("id")
	if !isID(id) {
		return jobs.ErrNotFound
	}
	if err := do(id); err != nil {
		return err
	}
	p.redirect(v, "/exports/"+id+"?done="+done)
	return nil
}

func (p *Pages) cancel(v *visit) error {
	return p.act(v, "canceled", func(id string) error {
		_, err := p.cfg.Service.Cancel(v.r.Context(), v.who, id)
		return err
	})
}

func (p *Pages) purge(v *visit) error {
	return p.act(v, "deleted", func(id string) error { return p.cfg.Service.Purge(v.r.Context(), v.who, id) })
}

func (p *Pages) extend(v *visit) error {
	return p.act(v, "extended", func(id string) error {
		_, err := p.cfg.Service.Extend(v.r.Context(), v.who, id)
		return err
	})
}

// letter is a mail as the page tells of it.
type letter struct {
	jobs.Letter
	About, Became string
	When          string
	At            time.Time
	Again         bool // it can be sent once more
}

func (p *Pages) letters(v *visit, id string) ([]letter, error) {
	found, err := p.cfg.Service.Letters(v.r.Context(), v.who, id)
	return v.letters(found), err
}

// letters tells of mails in words.
func (v *visit) letters(found []jobs.Letter) []letter {
	list := make([]letter, len(found))
	for i, l := range found {
		shown := letter{Letter: l, About: aboutWords[l.Outcome], Became: becameWords[l.State], At: l.DueAt, Again: l.State != jobs.LetterDue}
		switch {
		case l.State == jobs.LetterSent && l.SentAt != nil:
			shown.At = *l.SentAt
		case l.State == jobs.LetterDue && l.Code != "":
			shown.Became = "could not be sent yet; tried again"
		}
		shown.When = v.zone.moment(shown.At)
		list[i] = shown
	}
	return list
}

// resend has a mail sent once more.
func (p *Pages) resend(v *visit) error {
	letter, err := strconv.ParseInt(v.r.PathValue("letter"), 10, 64)
	if err != nil {
		return jobs.ErrNotFound
	}
	return p.act(v, "resent", func(id string) error { return p.cfg.Service.Resend(v.r.Context(), v.who, id, letter) })
}

// again asks for the same once more.
func (p *Pages) again(v *visit) error {
	j, err := p.job(v)
	if err != nil {
		return err
	}
	c, err := p.cfg.Service.Create(v.r.Context(), v.who, jobs.CreateRequest{
		Project: j.Project, Kind: string(j.Kind), From: bound(j.From), To: bound(j.To), IdempotencyKey: v.r.FormValue("key"),
		AllowSkipped: j.AllowSkipped || v.r.FormValue("allow_skipped") != "",
	})
	if err != nil {
		return err
	}
	return p.created(v, c)
}

func bound(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// audit shows who did what in a project.
func (p *Pages) audit(v *visit) error {
	name := v.r.PathValue("project")
	q := jobs.AuditQuery{Project: name, Limit: historyPage + 1}
	if s := v.r.URL.Query().Get("before"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			return jobs.ErrNotFound
		}
		q.Before = n
	}
	entries, err := p.cfg.Service.Audit(v.r.Context(), v.who, q)
	if err != nil {
		return err
	}
	page := auditPage{Project: name}
	if len(entries) > historyPage {
		entries = entries[:historyPage]
		page.Older = projectPath(name) + "/audit?before=" + strconv.FormatInt(entries[historyPage-1].ID, 10)
	}
	page.Entries = v.lines(entries)
	return p.show(v, http.StatusOK, "audit", frame{Title: "Who did what", Body: page,
		Crumbs: []crumb{{"Your projects", "/"}, {name, projectPath(name)}}})
}

// lines are the audit's in words.
func (v *visit) lines(entries []jobs.AuditEntry) []line {
	list := make([]line, len(entries))
	for i, e := range entries {
		l := line{At: e.At, When: v.zone.moment(e.At), Actor: e.Actor, Job: e.Job, Remote: e.Remote, Did: didWords[e.Action]}
		switch e.Action {
		case jobs.Refused:
			l.Refused, l.Did = true, "was refused: "+refusedWords(e.Detail)
		case jobs.ActionOriginal, jobs.ActionTask:
			l.Did += " " + e.Detail
		}
		if l.Did == "" {
			l.Did = e.Action
		}
		list[i] = l
	}
	return list
}
