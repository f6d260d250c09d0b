package jobs

import "time"

// Ending is how an attempt closes.
type Ending struct {
	// State is Succeeded, Failed, Canceled, or Queued to be tried again.
	State  State
	Result *Result
	// Failure is why; nil for a success, a cancel, or a worker that stops.
	Failure *Failure
	// Jitter, in [0, 1), spreads the waits of jobs that failed together.
	Jitter float64
	// Retention is how long the data of a succeeded job is kept.
	Retention time.Duration
	Progress  Progress
}

// MaxFailures in a row, with no checkpoint between them, end a job.
const MaxFailures = 5

// backoff is the wait after the n-th failure in a row.
var backoff = [MaxFailures - 1]time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}

// Outcome is the attempt's, by the state that its job has then.
func (e Ending) Outcome(s State) string {
	switch {
	case s != Queued:
		return string(s)
	case e.Failure != nil:
		return "retried"
	}
	return "drained"
}

// Settled is what an ending makes of its row.
type Settled struct {
	State    State
	Failures int
	// Delay keeps a job that is put back from being dispatched too early.
	Delay time.Duration
}

// Settle decides from what the row itself has: its failures so far (a worker
// cannot know them: the answer to its last checkpoint may have been lost) and
// whether a cancel was requested. A success is then ErrCancelRequested.
func (e Ending) Settle(failures int, canceled bool) (Settled, error) {
	s := Settled{State: e.State, Failures: failures}
	if e.State == Succeeded && canceled {
		return s, ErrCancelRequested
	}
	if e.State != Queued {
		return s, nil
	}
	if e.Failure != nil {
		s.Failures++
	}
	switch {
	case canceled:
		s.State = Canceled
	case s.Failures >= MaxFailures:
		s.State = Failed
	case e.Failure != nil:
		wait := backoff[s.Failures-1]
		s.Delay = wait + time.Duration(e.Jitter*float64(wait)/5)
	}
	return s, nil
}
