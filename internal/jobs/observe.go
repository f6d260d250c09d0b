package jobs

import (
	"context"
	"log/slog"
	"time"
)

// Observer is told what happens, for metrics and traces. Its methods are called
// beside the work and must not wait; what they cannot note is lost. None of what
// they get names a person, but Move has ids, which no metric may keep.
type Observer interface {
	// Moved: a job has another state, and its row says so already.
	Moved(m Move)
	// Took: a job came to a point in its life, so long after what the moment says.
	Took(k Kind, l Lane, m Moment, d time.Duration)
	// Spent: a step of an export has used time. Steps overlap.
	Spent(k Kind, s Stage, d time.Duration)
	// Wrote: an export's file has so much more, in rows, raw bytes and bytes stored.
	Wrote(k Kind, rows, raw, stored int64)
	// Lettered: a try to send a letter came to this.
	Lettered(t Try)
	// Swept: a pass of the sweeper did this.
	Swept(r Report)
}

// Move is one change of a job's state. What does not apply is empty.
type Move struct {
	Job      string
	Kind     Kind
	Lane     Lane
	From, To State // no From: it was made
	Attempt  int
	// Outcome is the attempt's, if one has ended; as in Attempt.
	Outcome string
	Code    string // of the failure
	Rows    int64
	Made    time.Time  // when the job was
	Begun   time.Time  // when the attempt was
	Steps   []StepTime // of the attempt
	Trace   string     // the W3C traceparent of the request
}

// move is what a job's own row says about one.
func (j *Job) move(from, to State) Move {
	return Move{Job: j.ID, Kind: j.Kind, Lane: j.Lane, From: from, To: to, Made: j.CreatedAt, Trace: j.Trace}
}

// StepTime is when an attempt did what.
type StepTime struct {
	Phase      Phase
	From, Till time.Time
}

// Moment is a point in a job's life.
type Moment string

// The moments. Waited to Linked count from the request, Ran from the claim.
const (
	Waited    Moment = "wait"       // first claimed
	FirstRows Moment = "first_byte" // first rows in the file
	Linked    Moment = "link"       // the file can be fetched
	Ran       Moment = "run"        // the attempt has ended
)

// Stage is what an export's time goes into.
type Stage string

// The stages. Reading is waiting for the source, compressing and uploading are
// sums over what goes on at once; the others pass alone.
const (
	StagePlan     Stage = "plan"
	StageRead     Stage = "read"
	StageCompress Stage = "compress"
	StageUpload   Stage = "upload"
	StageComplete Stage = "complete"
	StageVerify   Stage = "verify"
)

// Try is one attempt at sending a letter.
type Try struct {
	Job     string
	Outcome Outcome
	State   LetterState // due: it will be tried again
	Code    string
	Begun   time.Time
	Trace   string
}

// Moved writes the one line that each change of a job's state has.
func (e Env) Moved(m Move, also ...any) {
	args := []any{"job", m.Job, "from", m.From, "to", m.To}
	if m.Attempt > 0 {
		args = append(args, "attempt", m.Attempt)
	}
	if m.Outcome != "" {
		args = append(args, "outcome", m.Outcome, "rows", m.Rows)
	}
	if m.Code != "" {
		args = append(args, "code", m.Code)
	}
	level := slog.LevelInfo
	if m.To == Failed || m.Outcome == "lost" || m.Outcome == "retried" {
		level = slog.LevelWarn
	}
	e.Log.Log(context.Background(), level, "job moved", append(args, also...)...)
	e.seen().Moved(m)
}

// seen is the observer, or one that looks away.
func (e Env) seen() Observer {
	if e.Observer == nil {
		return nobody{}
	}
	return e.Observer
}

type nobody struct{}

func (nobody) Moved(Move)                             {}
func (nobody) Took(Kind, Lane, Moment, time.Duration) {}
func (nobody) Spent(Kind, Stage, time.Duration)       {}
func (nobody) Wrote(Kind, int64, int64, int64)        {}
func (nobody) Lettered(Try)                           {}
func (nobody) Swept(Report)                           {}

type traceKey struct{}

// WithTrace gives a request's context its W3C traceparent, which a job that it
// makes keeps.
func WithTrace(ctx context.Context, traceparent string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceparent)
}

// TraceOf is what WithTrace gave; empty if it did not.
func TraceOf(ctx context.Context) string {
	t, _ := ctx.Value(traceKey{}).(string)
	return t
}
