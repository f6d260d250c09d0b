package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// bureau is a desk at which operators ask, too.
type bureau struct {
	*desk
	situation jobs.Situation
	story     jobs.Story
	searched  []jobs.SearchQuery
	orders    []jobs.JobOrder
	tasks     []jobs.TaskOrder
}

func (b *bureau) Situation(context.Context, jobs.Principal) (jobs.Situation, error) {
	return b.situation, b.err
}
func (b *bureau) Search(_ context.Context, _ jobs.Principal, q jobs.SearchQuery) ([]jobs.Job, error) {
	b.searched = append(b.searched, q)
	return make([]jobs.Job, q.Limit), b.err
}
func (b *bureau) Story(context.Context, jobs.Principal, string) (jobs.Story, error) {
	return b.story, b.err
}
func (b *bureau) Order(_ context.Context, _ jobs.Principal, o jobs.JobOrder) (string, error) {
	b.orders = append(b.orders, o)
	return o.Job, b.err
}
func (b *bureau) Tasks(context.Context, jobs.Principal, jobs.TaskQuery) (jobs.TaskPage, error) {
	return jobs.TaskPage{}, b.err
}
func (b *bureau) OrderTasks(_ context.Context, _ jobs.Principal, o jobs.TaskOrder) (int, error) {
	b.tasks = append(b.tasks, o)
	return 1, b.err
}

func (b *bureau) call(t *testing.T, method, path string, form url.Values) (*http.Response, string) {
	t.Helper()
	return b.desk.callWith(t, b, method, path, form)
}

// Who may not see the operators' pages gets the page of an address that does
// not exist, to the letter.
func TestOpsAreHidden(t *testing.T) {
	t.Parallel()
	b := &bureau{desk: &desk{err: jobs.ErrNotFound}}
	_, nowhere := b.call(t, http.MethodGet, "/nowhere", nil)
	for _, path := range []string{"/ops/", "/ops/jobs", "/ops/jobs/" + id, "/ops/jobs/x", "/ops/jobs/" + id + "/cancel", "/ops/pauses/pause", "/ops/queue/q", "/ops/nowhere"} {
		res, body := b.call(t, http.MethodGet, path, nil)
		if res.StatusCode != http.StatusNotFound || body != nowhere {
			t.Errorf("%s: %s\n%s", path, res.Status, body)
		}
	}
	_, nowhere = b.call(t, http.MethodPost, "/nowhere", url.Values{})
	for _, path := range []string{"/ops/jobs/" + id + "/cancel", "/ops/pauses/pause", "/ops/queue/q/pause"} {
		if res, body := b.call(t, http.MethodPost, path, url.Values{}); res.StatusCode != http.StatusNotFound || body != nowhere {
			t.Errorf("%s: %s\n%s", path, res.Status, body)
		}
	}
}

// A question does nothing; what answers it does what was asked, and no more.
func TestOpsAskFirst(t *testing.T) {
	t.Parallel()
	b := &bureau{desk: &desk{}, story: jobs.Story{Job: jobs.Job{ID: id, State: jobs.Queued, Spec: jobs.Spec{Project: "<p>"}}}}
	for path, want := range map[string]string{
		"/ops/jobs/" + id + "/cancel": "Stop this export?", "/ops/jobs/" + id + "/ahead": "Move it ahead of all others?", "/ops/jobs/" + id + "/retry": "Try it again now?",
		"/ops/pauses/pause?project=a%26b": "All exports of a&amp;b.", "/ops/pauses/resume": "All exports of all projects.",
		"/ops/queue/q/delete?state=retry": "All retry tasks in the queue q.", "/ops/queue/q/run?task=t": "Task t in the queue q.", "/ops/queue/q/pause": "The queue q.",
	} {
		if res, body := b.call(t, http.MethodGet, path, nil); res.StatusCode != http.StatusOK || !strings.Contains(body, want) || strings.Contains(body, "<p>,") {
			t.Errorf("%s: %s\n%s", path, res.Status, body)
		}
	}
	if len(b.orders)+len(b.tasks) > 0 {
		t.Fatalf("a question did %v %v", b.orders, b.tasks)
	}
	for _, c := range []struct {
		path string
		form url.Values
		to   string
	}{
		{"/ops/jobs/" + id + "/retry", url.Values{}, "/ops/jobs/" + id + "?done=retry"},
		{"/ops/pauses/pause", url.Values{"project": {"a&b"}}, "/ops/?done=pause"},
		{"/ops/queue/q/delete", url.Values{"state": {"retry"}}, "/ops/queue/q?state=retry&done=task"},
	} {
		if res, _ := b.call(t, http.MethodPost, c.path, c.form); res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/base"+c.to {
			t.Errorf("%s: %s to %s", c.path, res.Status, res.Header.Get("Location"))
		}
	}
	if len(b.orders) != 2 || b.orders[0] != (jobs.JobOrder{Action: jobs.ActionRetry, Job: id}) || b.orders[1] != (jobs.JobOrder{Action: jobs.ActionPause, Project: "a&b"}) ||
		len(b.tasks) != 1 || b.tasks[0] != (jobs.TaskOrder{Do: "delete", Queue: "q", State: "retry"}) {
		t.Errorf("did %+v %+v", b.orders, b.tasks)
	}
	// What cannot be done any more is not asked about.
	b.story.Job.State = jobs.Failed
	if res, _ := b.call(t, http.MethodGet, "/ops/jobs/"+id+"/cancel", nil); res.StatusCode != http.StatusConflict {
		t.Error(res.Status)
	}
}

func TestOpsSearch(t *testing.T) {
	t.Parallel()
	b := &bureau{desk: &desk{}}
	_, body := b.call(t, http.MethodGet, "/ops/jobs?q=+x%00%ff+&kind=nonsense&state=nonsense&error=internal&before=nonsense", nil)
	if got := b.searched[0]; got != (jobs.SearchQuery{Text: "x", Error: "internal", Limit: 51}) {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(body, "Older ones") || strings.Count(body, `<td data-name="Export">`) != 50 {
		t.Error(body)
	}
}

// Every finding says what it means and what to do.
func TestFindingsInWords(t *testing.T) {
	t.Parallel()
	for _, kind := range jobs.FindingKinds {
		f := told(jobs.Finding{Kind: kind, Count: 2, Lane: jobs.Large, Code: jobs.CodeRefused, Who: "op", Worker: "w", Percent: 71})
		if f.Title == "" || f.Means == "" || f.Do == "" || f.Runbook == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, code := range jobs.Codes {
		if failureWords[code] == "" || helps[code] == "" {
			t.Errorf("nothing is said about %s", code)
		}
	}
}

// An export's time is cut into what it was at, from the first to the last second.
func TestSteps(t *testing.T) {
	t.Parallel()
	at := func(s int) time.Time { return time.Unix(1_800_000_000+int64(s), 0) }
	end := func(s int) *time.Time { e := at(s); return &e }
	s := jobs.Story{
		Job: jobs.Job{CreatedAt: at(0), State: jobs.Running, Attempts: []jobs.Attempt{
			{Number: 1, StartedAt: at(10), EndedAt: end(30), Outcome: "retried"}, {Number: 2, StartedAt: at(35)},
		}},
		Phases: []jobs.PhaseMark{{Attempt: 1, Phase: jobs.Planning, At: at(11)}, {Attempt: 1, Phase: jobs.Streaming, At: at(15)}, {Attempt: 2, Phase: jobs.Streaming, At: at(36)}, {Attempt: 2, Phase: jobs.Completing, At: at(90)}},
	}
	want := []struct {
		class string
		took  int
	}{{"waiting", 10}, {"planning", 5}, {"streaming", 15}, {"retrying", 5}, {"planning", 1}, {"streaming", 54}, {"completing", 10}}
	got := steps(s, at(100))
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		if got[i].Class != w.class || got[i].Took != time.Duration(w.took)*time.Second || got[i].Open != (i == len(want)-1) || got[i].Name == "" {
			t.Errorf("%d: %+v, want %+v", i, got[i], w)
		}
	}
	var width int64
	for _, b := range barsOf(got) {
		width += b.W
	}
	if width < 990 || width > 1000 {
		t.Errorf("the bar is %d wide", width)
	}
	if got := steps(jobs.Story{Job: jobs.Job{CreatedAt: at(0), State: jobs.Queued}}, at(7)); len(got) != 1 || got[0].Took != 7*time.Second || !got[0].Open {
		t.Errorf("%+v", got)
	}
}
