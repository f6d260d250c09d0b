package web

import (
	"fmt"
	"strings"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// opsJob is the whole story of one export.
type opsJob struct {
	row
	view
	jobs.Story
	Steps   []step
	Bars    []bar  // of the timeline, 1000 wide
	Curve   string // of rows over time, 400 × 60
	Letters []letter
	Lines   []line
	Answer  string // for who asks why
	Done    string
}

// step is a stretch of an export's time.
type step struct {
	Name, Class string
	Attempt     int // 0: between them
	From        time.Time
	Took        time.Duration
	Open        bool // it lasts
}

func (v *visit) opsJob(s jobs.Story) opsJob {
	o := opsJob{row: v.row(s.Job), view: v.view(), Story: s, Done: opsDone[v.r.URL.Query().Get("done")]}
	o.Steps = steps(s, v.now)
	o.Bars = barsOf(o.Steps)
	o.Curve = curve(s)
	o.Lines = v.lines(s.Audit)
	for i := range o.Lines {
		o.Lines[i].Job = ""
	}
	o.Answer = o.answer()
	return o
}

// steps cut an export's time into what it was at.
func steps(s jobs.Story, now time.Time) (all []step) {
	end := now
	if s.Job.FinishedAt != nil {
		end = *s.Job.FinishedAt
	}
	add := func(name, class string, attempt int, from, to time.Time) {
		if to.After(from) {
			all = append(all, step{name, class, attempt, from, to.Sub(from), false})
		}
	}
	at := s.Job.CreatedAt
	wait := "waiting"
	for _, a := range s.Job.Attempts {
		add(stepWords[wait], wait, 0, at, a.StartedAt)
		closed := end
		if a.EndedAt != nil {
			closed = *a.EndedAt
		}
		phase, from := jobs.Planning, a.StartedAt
		for _, m := range s.Phases {
			if m.Attempt == a.Number && m.Phase != phase && m.At.After(from) && m.At.Before(closed) {
				add(stepWords[string(phase)], string(phase), a.Number, from, m.At)
				phase, from = m.Phase, m.At
			}
		}
		add(stepWords[string(phase)], string(phase), a.Number, from, closed)
		if at, wait = closed, "waiting"; a.Outcome == "retried" {
			wait = "retrying"
		}
	}
	if s.Job.State == jobs.Queued || len(s.Job.Attempts) == 0 {
		add(stepWords[wait], wait, 0, at, end)
	}
	if n := len(all); n > 0 && s.Job.FinishedAt == nil && all[n-1].From.Add(all[n-1].Took).Equal(now) {
		all[n-1].Open = true
	}
	return all
}

// barsOf draws steps to scale; each can be seen.
func barsOf(all []step) (bars []bar) {
	var total time.Duration
	for _, s := range all {
		total += s.Took
	}
	const width, least = 1000, 4
	left := int64(width - least*len(all))
	if total <= 0 || left < 0 {
		return nil
	}
	var x int64
	for _, s := range all {
		w := least + int64(float64(left)*float64(s.Took)/float64(total))
		bars = append(bars, bar{X: x, W: w, H: 24, Class: s.Class, Name: s.Name})
		x += w
	}
	return bars
}

// curve is the rows over time, as points of a line; empty where there are not
// enough checkpoints for one.
func curve(s jobs.Story) string {
	if len(s.Points) < 2 || s.Job.StartedAt == nil {
		return ""
	}
	first, last := *s.Job.StartedAt, s.Points[len(s.Points)-1]
	whole := last.At.Sub(first).Seconds()
	if whole <= 0 || last.Rows <= 0 {
		return ""
	}
	points := []string{"0,60"}
	for _, p := range s.Points {
		points = append(points, fmt.Sprintf("%.1f,%.1f", 400*max(0, p.At.Sub(first).Seconds())/whole, 60-58*float64(p.Rows)/float64(last.Rows)))
	}
	return strings.Join(points, " ")
}

// answer is what can be written to who asks about the export.
func (o opsJob) answer() string {
	var b strings.Builder
	fmt.Fprintf(&b, "The export of %s from %q (%s) that %s asked for on %s ", strings.ToLower(kindWords[o.Job().Kind]), o.Job().Project, o.Span(), o.Job().RequestedBy, o.Asked())
	switch j := o.Job(); {
	case j.Failure != nil:
		fmt.Fprintf(&b, "failed on %s. %s %s", o.Ended(), j.Failure.Message, o.Help())
	case j.State == jobs.Canceled && o.CanceledBy != "":
		fmt.Fprintf(&b, "was stopped by %s on %s. It can be run again at any time.", o.CanceledBy, o.Ended())
	case j.State == jobs.Canceled:
		fmt.Fprintf(&b, "was stopped on %s. It can be run again at any time.", o.Ended())
	case j.State == jobs.Succeeded:
		fmt.Fprintf(&b, "is ready. Its page has the link to the file until %s.", o.Expires())
	case j.State == jobs.Expired:
		b.WriteString("was ready; its file has been deleted since. It can be run again at any time.")
	default:
		fmt.Fprintf(&b, "is not over: %s.", strings.ToLower(o.Doing()[:1])+o.Doing()[1:])
		if t := o.Trouble(); t != "" {
			fmt.Fprintf(&b, " The last try ended: %s It goes on from where it was, by itself.", t)
		}
	}
	fmt.Fprintf(&b, "\nNumber of the export: %s", o.Job().ID)
	return b.String()
}

// Job is the export itself.
func (o opsJob) Job() jobs.Job { return o.row.Job }
