package jobs

import (
	"context"
	"time"
)

// Stats is what the service's tables hold at one moment, for those who watch
// over it. It names nobody and no project.
type Stats struct {
	// Jobs are those that wait or run, and those that ended in the last 24 hours.
	Jobs []JobCount
	// Failed counts the failures of the last 24 hours by code.
	Failed map[string]int64
	// Waiting is how long the job waits that has waited longest, of those that
	// could run: no back-off and no pause holds it, and its project has nothing running in
	// the lane.
	Waiting map[Lane]time.Duration
	// Silence is the longest time since a running attempt was heard of, Standstill
	// since one that streams got any further.
	Silence, Standstill time.Duration

	// Letters counts those that are due, and those that came to a bad end in the
	// last 24 hours.
	Letters map[LetterState]int64
	// Undelivered is how old the oldest letter is that was tried in vain and will
	// be tried again. Those of frozen projects wait for other reasons.
	Undelivered time.Duration

	Workers int64 // seen within 15 s, with slots
	Slots   map[Lane]int64

	Kept, Leaving Holding
	// Overstayed is how long the data is there that should be gone longest.
	Overstayed time.Duration

	// Orphans were found by the sweeper's last look; OrphansLeft were more than it
	// removes without an operator's word. AbsentProjects wait for one, too.
	Orphans, OrphansLeft, AbsentProjects int64
}

// JobCount is how many jobs are alike.
type JobCount struct {
	State State
	Kind  Kind
	Lane  Lane
	N     int64
}

// Holding is what lies in the object store, by the rows.
type Holding struct{ Files, Bytes int64 }

// Census counts everything at once.
type Census interface {
	Stats(ctx context.Context) (Stats, error)
}

// QueueLoad is what lies in the queue's Redis, and how full it is, in bytes;
// MemoryMax is 0 without a limit.
type QueueLoad struct {
	Tasks             []TaskCount
	Memory, MemoryMax int64
}

// TaskCount is how many tasks of a queue are alike.
type TaskCount struct {
	Queue, State string
	N            int64
}
