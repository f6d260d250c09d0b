package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// opsPage is how many jobs or tasks a page of the operators' has.
const opsPage = 50

// operate answers the operators' addresses.
func (p *Pages) operate() {
	ops := func(pattern string, h handler) { p.handle(pattern, hidden(h)) }
	ops("GET /ops/{$}", p.situation)
	ops("GET /ops/jobs", p.search)
	ops("GET /ops/jobs/{id}", p.story)
	ops("GET /ops/jobs/{id}/{action}", p.askJob)
	ops("POST /ops/jobs/{id}/{action}", p.orderJob)
	ops("GET /ops/pauses/{action}", p.askPause)
	ops("POST /ops/pauses/{action}", p.orderPause)
	ops("GET /ops/queue/{$}", p.queues)
	ops("GET /ops/queue/{queue}", p.tasks)
	ops("GET /ops/queue/{queue}/{action}", p.askTask)
	ops("POST /ops/queue/{queue}/{action}", p.orderTask)
}

// hidden shows who may not see the page of an address that does not exist.
func hidden(h handler) handler {
	return func(v *visit) error {
		err := h(v)
		if errors.Is(err, jobs.ErrNotFound) {
			v.who = jobs.Principal{}
		}
		return err
	}
}

var opsCrumb = crumb{"Operators", "/ops/"}

func (p *Pages) situation(v *visit) error {
	s, err := p.cfg.Service.Situation(v.r.Context(), v.who)
	if err != nil {
		return err
	}
	page := opsOverview{Situation: s, view: v.view(), Done: opsDone[v.r.URL.Query().Get("done")]}
	for _, f := range s.Findings {
		page.Findings = append(page.Findings, told(f))
	}
	return p.show(v, http.StatusOK, "ops", frame{Title: page.Headline(), Body: page})
}

func (p *Pages) search(v *visit) error {
	form := v.r.URL.Query()
	q := jobs.SearchQuery{
		Text: strings.TrimSpace(form.Get("q")), Project: form.Get("project"), Kind: jobs.Kind(form.Get("kind")),
		State: jobs.State(form.Get("state")), Error: form.Get("error"), Limit: opsPage + 1,
	}
	if kindWords[q.Kind] == "" {
		q.Kind = ""
	}
	if stateWords[q.State] == "" {
		q.State = ""
	}
	for _, s := range []*string{&q.Text, &q.Project, &q.Error} {
		*s = strings.ToValidUTF8(strings.ReplaceAll(*s, "\x00", ""), "")
	}
	if before := form.Get("before"); isID(before) {
		q.Before = before
	}
	list, err := p.cfg.Service.Search(v.r.Context(), v.who, q)
	if err != nil {
		return err
	}
	page := opsJobs{view: v.view(), SearchQuery: q, Codes: jobs.Codes}
	if len(list) > opsPage {
		list = list[:opsPage]
		form.Set("before", list[opsPage-1].ID)
		page.Older = "/ops/jobs?" + form.Encode()
	}
	for _, j := range list {
		page.Rows = append(page.Rows, v.row(j))
	}
	return p.show(v, http.StatusOK, "opsjobs", frame{Title: "All exports", Body: page, Crumbs: []crumb{opsCrumb}})
}

func (p *Pages) storyOf(v *visit) (jobs.Story, error) {
	id := v.r.PathValue("id")
	if !isID(id) {
		id = noID // whose refusal is noted like any other
	}
	return p.cfg.Service.Story(v.r.Context(), v.who, id)
}

// noID is an id that no export has.
const noID = "00000000-0000-0000-0000-000000000000"

func (p *Pages) story(v *visit) error {
	s, err := p.storyOf(v)
	if err != nil {
		return err
	}
	page := v.opsJob(s)
	page.Letters = v.letters(s.Letters)
	return p.show(v, http.StatusOK, "opsjob", frame{Title: kindWords[s.Job.Kind] + ": " + page.StateWord(), Body: page,
		Crumbs: []crumb{opsCrumb, {"All exports", "/ops/jobs"}}})
}

// jobActions are what an operator can do to a job, by the last segment.
var jobActions = map[string]string{"cancel": jobs.ActionStop, "retry": jobs.ActionRetry, "ahead": jobs.ActionMoveAhead}

// opsQuestion is asked before an operator's word takes effect.
type opsQuestion struct {
	Title, About string
	Means        []string
	Do           string // of the button
	Danger       bool
	Action, Back string // addresses
	Fields       []field
}

// field is what a question's form sends along.
type field struct{ Name, Value string }

func (p *Pages) showQuestion(v *visit, q opsQuestion, crumbs ...crumb) error {
	return p.show(v, http.StatusOK, "opsask", frame{Title: q.Title, Body: q, Crumbs: append([]crumb{opsCrumb}, crumbs...)})
}

func (p *Pages) askJob(v *visit) error {
	s, err := p.storyOf(v)
	if err != nil {
		return err
	}
	action := v.r.PathValue("action")
	q, ok := jobQuestions[action]
	if !ok {
		return jobs.ErrNotFound
	}
	waits := s.Job.State == jobs.Queued
	switch {
	case action == "cancel" && s.Job.State.Final(), action == "ahead" && !waits:
		return jobs.ErrFinal
	case action == "retry" && s.Job.State == jobs.Running:
		return jobs.ErrNotOver
	case action == "retry" && waits:
		q = hastenQuestion
	}
	r := v.row(s.Job)
	q.About = kindWords[r.Kind] + " of " + r.Project + ", " + r.Span() + ". Asked for by " + r.RequestedBy + ", " + r.Asked() + "."
	q.Back = "/ops/jobs/" + r.ID
	q.Action = q.Back + "/" + action
	return p.showQuestion(v, q, crumb{kindWords[r.Kind], q.Back})
}

func (p *Pages) orderJob(v *visit) error {
	id, action := v.r.PathValue("id"), v.r.PathValue("action")
	if !isID(id) {
		id = noID
	}
	job, err := p.cfg.Service.Order(v.r.Context(), v.who, jobs.JobOrder{Action: cmp.Or(jobActions[action], jobs.ActionOps), Job: id})
	if err != nil {
		return err
	}
	p.redirect(v, "/ops/jobs/"+job+"?done="+action)
	return nil
}

// pauseActions are what is done to a project's exports, or to all.
var pauseActions = map[string]string{"pause": jobs.ActionPause, "resume": jobs.ActionResume}

func (p *Pages) askPause(v *visit) error {
	if _, err := p.cfg.Service.Situation(v.r.Context(), v.who); err != nil {
		return err
	}
	action, project := v.r.PathValue("action"), v.r.FormValue("project")
	q, ok := pauseQuestions[action]
	if !ok {
		return jobs.ErrNotFound
	}
	q.About = "All exports of all projects."
	if project != "" {
		q.About = "All exports of " + project + "."
	}
	q.Action, q.Back, q.Fields = "/ops/pauses/"+action, "/ops/", []field{{"project", project}}
	return p.showQuestion(v, q)
}

func (p *Pages) orderPause(v *visit) error {
	action := v.r.PathValue("action")
	_, err := p.cfg.Service.Order(v.r.Context(), v.who, jobs.JobOrder{
		Action: cmp.Or(pauseActions[action], jobs.ActionOps), Project: strings.ToValidUTF8(strings.ReplaceAll(v.r.FormValue("project"), "\x00", ""), ""),
	})
	if err != nil {
		return err
	}
	p.redirect(v, "/ops/?done="+action)
	return nil
}

func (p *Pages) queues(v *visit) error {
	all, err := p.cfg.Service.RawQueues(v.r.Context(), v.who)
	if err != nil {
		return err
	}
	return p.show(v, http.StatusOK, "opsqueues", frame{Title: "Raw queue", Body: opsQueues{all, v.view()}, Crumbs: []crumb{opsCrumb}})
}

var queueCrumb = crumb{"Raw queue", "/ops/queue/"}

func (p *Pages) tasks(v *visit) error {
	q := taskQuery(v)
	got, err := p.cfg.Service.Tasks(v.r.Context(), v.who, q)
	if err != nil {
		return err
	}
	page := opsTasks{TaskPage: got, view: v.view(), TaskQuery: q, Done: opsDone[v.r.URL.Query().Get("done")]}
	return p.show(v, http.StatusOK, "opstasks", frame{Title: q.Queue + ": " + q.State, Body: page, Crumbs: []crumb{opsCrumb, queueCrumb}})
}

// askTask asks before a queue, a task, or all tasks in a state are changed.
func (p *Pages) askTask(v *visit) error {
	o := taskOrder(v)
	if _, err := p.cfg.Service.Tasks(v.r.Context(), v.who, jobs.TaskQuery{Queue: o.Queue, State: cmp.Or(o.State, "pending"), Page: 1, Size: 1}); err != nil {
		return err
	}
	q, about := taskQuestions[o.Do], "Task "+o.Task+" in the queue "+o.Queue+"."
	switch {
	case o.Task != "":
	case o.State != "":
		about = "All " + o.State + " tasks in the queue " + o.Queue + "."
	default:
		q, about = queueQuestions[o.Do], "The queue "+o.Queue+"."
	}
	if q.Title == "" {
		return jobs.ErrNotFound
	}
	q.About = about
	q.Back = queuePath(o.Queue, o.State)
	q.Action = "/ops/queue/" + url.PathEscape(o.Queue) + "/" + o.Do
	q.Fields = []field{{"task", o.Task}, {"state", o.State}}
	return p.showQuestion(v, q, queueCrumb, crumb{o.Queue, queuePath(o.Queue, "")})
}

func (p *Pages) orderTask(v *visit) error {
	o := taskOrder(v)
	if _, err := p.cfg.Service.OrderTasks(v.r.Context(), v.who, o); err != nil {
		return err
	}
	to := queuePath(o.Queue, o.State)
	p.redirect(v, to+map[bool]string{true: "&", false: "?"}[strings.Contains(to, "?")]+"done=task")
	return nil
}
