package web

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// view tells times as an operator's browser has them.
type view struct {
	zone zone
	now  time.Time
}

func (v *visit) view() view { return view{v.zone, v.now} }

// Moment is a time to the minute, Clock to the second.
func (v view) Moment(t time.Time) string { return v.zone.moment(t) }
func (v view) Clock(t time.Time) string  { return t.In(v.zone.Location).Format("2 Jan, 15:04:05") }

// Ago is how long ago something was.
func (v view) Ago(t time.Time) string { return inWords(v.now.Sub(t)) + " ago" }

// In is how long until something is; "now" if it is over.
func (v view) In(t time.Time) string {
	if !t.After(v.now) {
		return "now"
	}
	return "in " + inWords(t.Sub(v.now))
}

// span is a length of time to the tenth of a second, for those who compare.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
}

// opsOverview is the first page of the operators.
type opsOverview struct {
	jobs.Situation
	view
	Findings []finding
	Done     string
}

// finding is one in words.
type finding struct {
	Kind             jobs.FindingKind
	Title, Means, Do string
	Link, LinkText   string
	Notice           bool // it is somebody's word, no trouble
	Runbook          string
}

// Headline says in the tab's title whether anything is wrong.
func (o opsOverview) Headline() string {
	n := 0
	for _, f := range o.Findings {
		if !f.Notice {
			n++
		}
	}
	switch n {
	case 0:
		return "All is well"
	case 1:
		return "1 thing needs attention"
	}
	return strconv.Itoa(n) + " things need attention"
}

// Trouble says that something needs attention.
func (o opsOverview) Trouble() bool { return o.Headline() != "All is well" }

// AllPaused says that nothing starts.
func (o opsOverview) AllPaused() bool {
	return len(o.Flow.Pauses) > 0 && o.Flow.Pauses[0].Project == ""
}

// Why is what a place waits for, in words.
func (o opsOverview) Why(p jobs.Place) string {
	var slots int64
	for _, l := range o.Flow.Lanes {
		if l.Lane == p.Lane {
			slots = l.Slots
		}
	}
	switch w := p.Why(slots, o.Rules, o.now); w {
	case jobs.WhyBackoff:
		return "waits before another try, " + o.In(*p.NextAt)
	case jobs.WhyProject:
		return fmt.Sprintf("its project has %d of %d slots busy", p.Busy, o.Rules.ProjectSlots)
	case jobs.WhyMost:
		return fmt.Sprintf("%d exports run, and MAX_RUNNING is %d", p.Running, o.Rules.MaxRunning)
	default:
		return whyWords[w]
	}
}

// Memory is how full Redis is.
func (o opsOverview) Memory() string {
	if o.RedisMost == 0 {
		return ""
	}
	return fmt.Sprintf("%d %%", o.RedisUsed*100/o.RedisMost)
}

// bar is one of a chart; its sizes are in the chart's own units.
type bar struct {
	X, Y, W, H int64
	Class      string
	Name       string
}

// Bars are the rows of each hour, 40 high.
func (o opsOverview) Bars() (bars []bar) {
	most := int64(1)
	for _, h := range o.Flow.Hours {
		most = max(most, h.Rows)
	}
	for i, h := range o.Flow.Hours {
		height := 40 * h.Rows / most
		if h.Rows > 0 {
			height = max(1, height)
		}
		bars = append(bars, bar{X: int64(i) * 10, Y: 40 - height, W: 8, H: height})
	}
	return bars
}

// Day is what all hours came to.
func (o opsOverview) Day() (d jobs.Hour) {
	for _, h := range o.Flow.Hours {
		d.Exports, d.Failed, d.Rows = d.Exports+h.Exports, d.Failed+h.Failed, d.Rows+h.Rows
		d.BytesRaw, d.BytesWritten = d.BytesRaw+h.BytesRaw, d.BytesWritten+h.BytesWritten
	}
	return d
}

// Rate is a project's rows a second of running.
func (o opsOverview) Rate(c jobs.Cost) int64 {
	if c.Seconds < 0.1 {
		return 0
	}
	return int64(float64(c.Rows) / c.Seconds)
}

// Spent is a project's time of running.
func (o opsOverview) Spent(c jobs.Cost) string {
	return span(time.Duration(c.Seconds * float64(time.Second)))
}

// Silent says that a worker was not seen just now.
func (o opsOverview) Silent(w jobs.WorkerNow) bool {
	return o.now.Sub(w.SeenAt) > jobs.OperatorLimits.Silence
}

// Row is a job as the pages show it.
func (v view) Row(j jobs.Job) row { return row{j, v.zone, v.now} }

// opsJobs is a search and what it found.
type opsJobs struct {
	view
	jobs.SearchQuery
	Codes []string
	Rows  []row
	Older string
}

// Filtered says that not all exports are asked for.
func (o opsJobs) Filtered() bool {
	return o.Text+o.Project+string(o.Kind)+string(o.State)+o.Error != ""
}

// opsQueues are the raw queues.
type opsQueues struct {
	jobs.RawQueues
	view
}

// opsTasks is a page of a raw queue.
type opsTasks struct {
	jobs.TaskPage
	view
	TaskQuery jobs.TaskQuery
	Done      string
}

// Count is how many tasks there are in this page's state.
func (o opsTasks) Count() int {
	for _, s := range o.Queue.States {
		if s.State == o.TaskQuery.State {
			return s.Tasks
		}
	}
	return 0
}

// Next and Previous are the addresses of the pages beside this one.
func (o opsTasks) Next() string {
	if o.TaskQuery.Page*o.TaskQuery.Size >= o.Count() {
		return ""
	}
	return o.page(o.TaskQuery.Page + 1)
}

func (o opsTasks) Previous() string {
	if o.TaskQuery.Page <= 1 {
		return ""
	}
	return o.page(o.TaskQuery.Page - 1)
}

func (o opsTasks) page(n int) string {
	return queuePath(o.TaskQuery.Queue, o.TaskQuery.State) + "&page=" + strconv.Itoa(n)
}

// Can says what the state of these tasks allows, for one or for all of them.
func (o opsTasks) Can(do string) bool { return strings.Contains(taskDoes[o.TaskQuery.State], do) }
func (o opsTasks) CanAll(do string) bool {
	return o.Count() > 0 && strings.Contains(allDoes[o.TaskQuery.State], do)
}

// Path is the address of the queue, in a state if that is given.
func (o opsTasks) Path(state string) string { return queuePath(o.TaskQuery.Queue, state) }

// Ask is the address of the question before something is done.
func (o opsTasks) Ask(do, state, task string) string {
	q := url.Values{}
	if state != "" {
		q.Set("state", state)
	}
	if task != "" {
		q.Set("task", task)
	}
	return "/ops/queue/" + url.PathEscape(o.TaskQuery.Queue) + "/" + do + "?" + q.Encode()
}

func queuePath(queue, state string) string {
	path := "/ops/queue/" + url.PathEscape(queue)
	if state != "" {
		path += "?state=" + url.QueryEscape(state)
	}
	return path
}

// maxTaskPage is the last page that can be asked for.
const maxTaskPage = 100_000

func taskQuery(v *visit) jobs.TaskQuery {
	q := jobs.TaskQuery{Queue: v.r.PathValue("queue"), State: v.r.FormValue("state"), Page: 1, Size: opsPage}
	if q.State == "" {
		q.State = "pending"
	}
	if n, err := strconv.Atoi(v.r.FormValue("page")); err == nil {
		q.Page = min(max(n, 1), maxTaskPage)
	}
	return q
}

func taskOrder(v *visit) jobs.TaskOrder {
	return jobs.TaskOrder{Do: v.r.PathValue("action"), Queue: v.r.PathValue("queue"), State: v.r.FormValue("state"), Task: v.r.FormValue("task")}
}
