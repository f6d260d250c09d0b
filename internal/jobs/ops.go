package jobs

import (
	"context"
	"time"
)

// Desk is what operators see of the rows: who waits, who runs, what went wrong.
// It tells no row of a project's data, and no link to any.
type Desk interface {
	// Findings are what needs attention.
	Findings(ctx context.Context, l Limits) ([]Finding, error)
	// Flow is how exports run now, and ran in the last day.
	Flow(ctx context.Context) (Flow, error)
	// Search returns jobs of all projects, newest first, at most q.Limit.
	Search(ctx context.Context, q SearchQuery) ([]Job, error)
	// Story is all that is kept about one job; ErrNotFound if there is none.
	Story(ctx context.Context, id string) (Story, error)
}

// Control is what operators do to who is next. Each method writes its line of
// the audit in the same transaction.
type Control interface {
	// Hasten ends the back-off of a queued job; ErrFinal if it is not queued.
	Hasten(ctx context.Context, id string, by Principal) error
	// Rerun queues the job's request anew as its requester's, under the id fresh,
	// or returns the identical one that waits or runs; ErrNotOver if the job itself does.
	Rerun(ctx context.Context, id, fresh string, by Principal) (string, error)
	// MoveAhead lets a queued job go before all others; ErrFinal if it is not queued.
	MoveAhead(ctx context.Context, id string, by Principal) error
	// Pause keeps a project's exports from starting; an empty one is everybody's.
	Pause(ctx context.Context, project string, by Principal) error
	Resume(ctx context.Context, project string, by Principal) error
}

// Limits are when a finding is one.
type Limits struct {
	Progress time.Duration          // a running export without any for longer
	Wait     map[Lane]time.Duration // of what could start
	Silence  time.Duration          // of a worker that holds an export
	MailDue  time.Duration          // a mail that is late
	Failures int                    // of one export, in a row
	Memory   int                    // percent of what Redis may have
	Sweep    time.Duration          // since the last clean-up
}

// OperatorLimits are those of the operators' page.
var OperatorLimits = Limits{
	Progress: time.Minute, Wait: map[Lane]time.Duration{Small: 2 * time.Minute, Large: time.Hour},
	Silence: 15 * time.Second, MailDue: time.Hour, Failures: 3, Memory: 70, Sweep: 10 * time.Minute,
}

// FindingKind names what needs attention, as docs/runbook.md does.
type FindingKind string

// The findings.
const (
	NoWorker       FindingKind = "no-worker"
	WorkerSilent   FindingKind = "worker-silent"
	NoProgress     FindingKind = "no-progress"
	WaitingTooLong FindingKind = "waiting-too-long"
	RetryStorm     FindingKind = "retry-storm"
	StoreFull      FindingKind = "store-full"
	RedisDown      FindingKind = "redis-down"
	RedisMemory    FindingKind = "redis-memory"
	ExportsFailed  FindingKind = "exports-failed"
	MailsStuck     FindingKind = "mails-undelivered"
	NoCleanUp      FindingKind = "no-clean-up"
	Paused         FindingKind = "paused"
)

// Finding is something that needs attention. What does not apply is empty.
type Finding struct {
	Kind    FindingKind
	Count   int64
	Since   *time.Time // the oldest
	Lane    Lane
	Code    string // of the failure, or of the mails' last error
	Job     string // the only one, or an example
	Project string
	Worker  string
	Who     string // said so
	Percent int    // of Redis's memory
}

// Flow is what happens.
type Flow struct {
	Lanes   []LaneLoad
	Line    []Place // at most LineShown a lane
	Workers []WorkerNow
	Hours   []Hour // of the last day, oldest first
	Costs   []Cost // dearest first, at most CostsShown
	CleanUp CleanUp
	Pauses  []Pause
}

// What one page shows.
const (
	LineShown  = 15
	CostsShown = 20
)

// LaneLoad is a queue. Spans are of what ended in the last day.
type LaneLoad struct {
	Lane                 Lane
	Waiting, Running     int64
	Slots                int64 // of workers that were seen just now
	Oldest               *time.Time
	Wait50, Wait95       time.Duration
	Run50, Run95         time.Duration
	Ended, Failed        int64
	Backing, PausedCount int64 // of those that wait
}

// Place is a job that waits, and what for.
type Place struct {
	Job      string
	Project  string
	Kind     Kind
	Lane     Lane
	Since    time.Time
	Number   int
	Ahead    bool // an operator moved it
	NextAt   *time.Time
	Rung     bool // a worker was told
	Paused   bool
	Busy     int64 // exports of its project that run in the lane
	LaneFree int64
	Running  int64  // in all lanes
	Behind   string // a job of its project that runs or waits before it
}

// Why is what a job waits for.
type Why string

// The reasons, the first that holds.
const (
	WhyPaused   Why = "paused"
	WhyBackoff  Why = "backoff"
	WhyRung     Why = "rung"
	WhyNoWorker Why = "no_worker"
	WhyProject  Why = "project_slots"
	WhyMost     Why = "max_running"
	WhyLane     Why = "lane_full"
	WhyNext     Why = "next"
)

// Why says what a place waits for under the rules.
func (p Place) Why(slots int64, r DispatchRules, now time.Time) Why {
	switch {
	case p.Paused:
		return WhyPaused
	case p.NextAt != nil && p.NextAt.After(now):
		return WhyBackoff
	case p.Rung:
		return WhyRung
	case slots == 0:
		return WhyNoWorker
	case p.Busy >= int64(r.ProjectSlots):
		return WhyProject
	case r.MaxRunning > 0 && p.Running >= int64(r.MaxRunning):
		return WhyMost
	case p.LaneFree <= 0:
		return WhyLane
	}
	return WhyNext
}

// WorkerNow is a worker and what it does.
type WorkerNow struct {
	ID           string
	Large, Small int
	SeenAt       time.Time
	Jobs         []Job
}

// Hour is what ended in one.
type Hour struct {
	At                           time.Time
	Exports, Failed              int64
	Rows, BytesRaw, BytesWritten int64
}

// Cost is what a project asked for in the last week, and what is kept for it.
type Cost struct {
	Project   string
	Exports   int64
	Rows      int64
	Seconds   float64 // of running, and so of reading from the source
	BytesKept int64
	FilesKept int64
}

// CleanUp is what the sweeper will remove, and what it last did.
type CleanUp struct {
	Overdue, OverdueBytes int64 // files whose time is over
	Doomed, DoomedBytes   int64 // data of what failed, was canceled or deleted
	Soon, SoonBytes       int64 // files whose time is over within a day
	At                    *time.Time
	Last                  *Swept
}

// Swept is what a pass of the sweeper removed.
type Swept struct {
	At      time.Time `json:"at"`
	Expired int       `json:"expired"`
	Deleted int       `json:"deleted"` // exports whose data is gone
	Freed   int64     `json:"freed"`   // bytes
	Orphans int       `json:"orphans"`
}

// Pause is an operator's word that nothing starts.
type Pause struct {
	Project string // empty: of none
	By      string
	Since   time.Time
	Waiting int64
}

// SearchQuery asks for jobs. What is empty does not matter.
type SearchQuery struct {
	Text    string // part of a project or of who asked, or an id
	Project string
	Kind    Kind
	State   State // "canceling" is one
	Error   string
	Before  string // an id, exclusive
	Limit   int
}

// Story is all about one job.
type Story struct {
	Job        Job
	Phases     []PhaseMark
	Points     []Point
	Letters    []Letter
	Audit      []AuditEntry
	CanceledBy string
}

// PhaseMark is when an attempt was first seen at what.
type PhaseMark struct {
	Attempt int
	Phase   Phase
	At      time.Time
}

// Point is a checkpoint: what the file had at that time.
type Point struct {
	At        time.Time
	Attempt   int
	Rows, Raw int64
	Stored    int64
}
