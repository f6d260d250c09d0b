package web

import (
	"fmt"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// row is an export as a person sees it.
type row struct {
	jobs.Job
	zone zone
	now  time.Time
}

func (v *visit) row(j jobs.Job) row { return row{j, v.zone, v.now} }

// Look names the state, for the style and for people.
func (r row) Look() string {
	if r.Canceling() {
		return "canceling"
	}
	return string(r.State)
}

// StateWord is the state in a word.
func (r row) StateWord() string { return stateWords[jobs.State(r.Look())] }

// Span is what was asked for, in days.
func (r row) Span() string { return r.zone.days(r.From, r.To) }

// From and To of the form that asks for the same days.
func (r row) FormFrom() string { return r.zone.input(r.From, false) }
func (r row) FormTo() string   { return r.zone.input(r.To, true) }

// Asked and the other times are shown to the minute.
func (r row) Asked() string { return r.zone.moment(r.CreatedAt) }

// Ended is when it was over; empty while it is not.
func (r row) Ended() string {
	if r.FinishedAt == nil {
		return ""
	}
	return r.zone.moment(*r.FinishedAt)
}

// Took is how long it ran.
func (r row) Took() string {
	if r.StartedAt == nil || r.FinishedAt == nil {
		return ""
	}
	return inWords(r.FinishedAt.Sub(*r.StartedAt))
}

// Expires is when the file goes.
func (r row) Expires() string {
	if r.ExpiresAt == nil {
		return ""
	}
	return r.zone.moment(*r.ExpiresAt)
}

// Left is how long the file still is there; empty when it is not.
func (r row) Left() string {
	if r.State != jobs.Succeeded || r.ExpiresAt == nil || !r.ExpiresAt.After(r.now) {
		return ""
	}
	return inWords(r.ExpiresAt.Sub(r.now))
}

// Ready reports whether there is a file to fetch.
func (r row) Ready() bool { return r.Left() != "" }

// Open reports whether it waits or runs.
func (r row) Open() bool { return !r.State.Final() }

// Over says that it came to nothing, or its file is gone: it can be run again.
func (r row) Over() bool { return r.State.Final() && !r.Ready() }

// Doing is what it is doing, in words.
func (r row) Doing() string {
	switch {
	case r.Canceling():
		return "Stopping; what it has written is deleted"
	case r.Paused:
		return "Paused by those who operate this service; it goes on by itself"
	case r.State == jobs.Queued && r.Phase == jobs.Waiting && r.QueuePosition != nil:
		return fmt.Sprintf("%s: number %d in the queue", phaseWords[r.Phase], *r.QueuePosition)
	case r.State == jobs.Queued && r.Phase == jobs.Retrying && r.NextAt != nil && r.NextAt.After(r.now):
		return fmt.Sprintf("%s, in %s", phaseWords[r.Phase], inWords(r.NextAt.Sub(r.now)))
	}
	return phaseWords[r.Phase]
}

// Trouble is why the last attempt ended, while there will be another one.
func (r row) Trouble() string {
	if !r.Open() {
		return ""
	}
	for i := len(r.Attempts) - 1; i >= 0; i-- {
		if a := r.Attempts[i]; a.EndedAt != nil {
			return a.Message
		}
	}
	return ""
}

// Percent is how far it is; -1 while that is not known.
func (r row) Percent() int {
	p := r.Progress
	if p.RowsTotal == nil || r.State != jobs.Running {
		return -1
	}
	if *p.RowsTotal == 0 {
		return 100
	}
	return int(min(100, 100*p.Rows / *p.RowsTotal))
}

// Heard is the percentage that a screen reader is told: not each one.
func (r row) Heard() int { return max(0, r.Percent()) / 10 * 10 }

// Total is how many rows there will be; -1 while that is not known.
func (r row) Total() int64 {
	if r.Progress.RowsTotal == nil {
		return -1
	}
	return *r.Progress.RowsTotal
}

// Rate is in rows a second.
func (r row) Rate() int64 { return int64(r.Progress.RowsPerSecond) }

// TimeLeft is a guess; empty while there is none.
func (r row) TimeLeft() string {
	if left, ok := r.Progress.ETA(); ok && r.State == jobs.Running {
		return "about " + inWords(left)
	}
	return ""
}

// Help says what to do about a failure.
func (r row) Help() string {
	if r.Failure == nil {
		return ""
	}
	return helps[r.Failure.Code]
}

// AllowSkipping reports whether it failed over rows that could be left out.
func (r row) AllowSkipping() bool {
	return r.Failure != nil && r.Failure.Code == jobs.CodeTooManyBadRows
}

// Canceling reports whether it is being stopped.
func (r row) Canceling() bool { return r.Job.Canceling() }
