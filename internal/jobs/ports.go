package jobs

import (
	"context"
	"encoding/json"
	"time"
)

// The ports: what coordination needs from the world, by role. Each method is
// one transaction or one call. Adapters classify their errors (Transient,
// Permanent, Unavailable) and never put row data into them.

// Records is what the Service needs of the job rows. What changes a row writes
// its line of the audit in the same transaction.
type Records interface {
	// Create inserts the job, or finds the one that answers the request already.
	// It serialises on the project, so that joining and the queue cap are exact.
	Create(ctx context.Context, n NewJob) (Created, error)
	// Get returns ErrNotFound if there is no such job.
	Get(ctx context.Context, id string) (Job, error)
	// List returns a project's jobs, newest first, at most q.Limit.
	List(ctx context.Context, q ListQuery) ([]Job, error)
	// RequestCancel ends a queued job and marks a running one; ErrFinal if it is over.
	RequestCancel(ctx context.Context, id string, by Principal) (Job, error)
	// Extend lets a succeeded job expire so long from now, at most so often;
	// ErrNotReady, ErrGone or ErrExtended if it cannot.
	Extend(ctx context.Context, id string, by Principal, retention time.Duration, most int) (Job, error)
}

// Eraser gives data up; the sweeper deletes it. The rows stay.
type Eraser interface {
	// Purge moves a succeeded job to expired; ErrNotOver if it waits or runs.
	// Where there is no data, there is nothing to do.
	// It reports whether the job has moved.
	Purge(ctx context.Context, id string, by Principal) (bool, error)
	// PurgeProject ends all exports of a project and returns their ids, and which
	// have moved. A dry run returns the ids alone.
	PurgeProject(ctx context.Context, project string, by Principal, dry bool) ([]string, []Move, error)
}

// Journal is the audit. Nothing in it is ever changed.
type Journal interface {
	Record(ctx context.Context, e AuditEntry) error
	// Entries are a project's or one of its jobs', newest first, at most q.Limit.
	Entries(ctx context.Context, q AuditQuery) ([]AuditEntry, error)
}

// Overview looks at jobs for those who only look. No attempts are told.
type Overview interface {
	// Jobs are those of the ids that exist, in no order.
	Jobs(ctx context.Context, ids []string) ([]Job, error)
	// Twin is the newest job of the same spec that a request would join, or
	// whose file is there; nil if there is none.
	Twin(ctx context.Context, s Spec) (*Job, error)
	// Yardstick is the project's last export of the kind, or else the average of
	// the last of all projects; zero if there is none.
	Yardstick(ctx context.Context, project string, k Kind) (Yardstick, error)
	// Parts are those of an upload, in order.
	Parts(ctx context.Context, job, nonce string) ([]Part, error)
}

// Attempts is what a worker may do to a job. Every method but Claim is fenced
// and returns ErrFenced when the row has moved on.
type Attempts interface {
	// Claim takes a queued job at exactly this dispatch; false if there is none.
	Claim(ctx context.Context, t Ticket, worker string, lease time.Duration) (Claim, bool, error)
	// Renew writes progress and, where b.Lease > 0, prolongs the lease by it from
	// now on the database's clock. It reports whether cancel was requested.
	Renew(ctx context.Context, f Fence, b Beat) (cancel bool, err error)
	// BeginUpload names the object before its first byte is sent.
	BeginUpload(ctx context.Context, f Fence, u Upload) error
	// Commit appends a checkpoint, and sets failures to 0. A final cut moves the
	// phase to completing.
	Commit(ctx context.Context, f Fence, c Cut) error
	// End closes the attempt. It returns the state that the row has then: a job
	// whose cancel was requested is not put back but canceled.
	// Ending.Settle decides; a success whose cancel was requested changes nothing.
	End(ctx context.Context, f Fence, e Ending) (State, error)
}

// Board decides who is next. All its clocks are the database's.
type Board interface {
	// Heartbeat says that a worker lives and how many slots it has.
	Heartbeat(ctx context.Context, w WorkerStatus) error
	// Dispatch takes back expired leases, then marks the jobs that are to start
	// now, fairly over projects, never more than there are free slots. Those that
	// were taken back are told, too.
	Dispatch(ctx context.Context, r DispatchRules) ([]Ticket, []Move, error)
}

// Queue rings the doorbell of a worker. A ticket may be lost, doubled, delayed.
type Queue interface {
	Enqueue(ctx context.Context, t Ticket) error
}

// Roles answers from the platform's own role hash, at every call anew. No role
// is RoleNone without error; an unreachable hash is an *Unavailable.
type Roles interface {
	Role(ctx context.Context, project, email string) (Role, error)
}

// Surveyor tells beforehand what an export would hold.
type Surveyor interface {
	// Estimate guesses, within a second; false if it cannot tell.
	Estimate(ctx context.Context, s Spec) (Size, bool)
	// Measure counts, for as long as ctx allows.
	Measure(ctx context.Context, s Spec) (Size, error)
	// Samples are at most n rows as JSON objects with the file's columns; long
	// values are cut.
	Samples(ctx context.Context, s Spec, n int) ([]json.RawMessage, error)
}

// Size is how much an export reads: rows, and bytes as stored in the source.
type Size struct{ Rows, Stored int64 }

// Yardstick is what earlier exports came to, per row and per raw byte.
type Yardstick struct {
	RawPerRow    float64 // bytes of JSON lines
	FilePerRow   float64 // bytes of the compressed file
	RawPerSecond float64 // bytes of JSON lines, from start to end
}

// Files is a bucket, for those who fetch from it.
type Files interface {
	// Presign mints a link to an object under a download name.
	Presign(ctx context.Context, key, filename string, ttl time.Duration) (Link, error)
	// Open opens an object; ErrGone if it is not there.
	Open(ctx context.Context, key string) (Object, error)
}

// Catalogue knows where the platform keeps what belongs to a document.
type Catalogue interface {
	// Original is the key of a document's file and the name to offer it under;
	// ErrNotFound if the project has no such document, ErrNoOriginal if the
	// document has no file.
	Original(ctx context.Context, project string, document int64) (key, filename string, err error)
}

// Exporter writes one export: plan, read, compress, upload, verify. Its context
// is cancelled when the attempt must stop. Discard removes what an upload left
// behind; it is not an error if nothing is there.
type Exporter interface {
	Export(ctx context.Context, c Claim, s *Session) (Result, error)
	Discard(ctx context.Context, u Upload) error
}

// NewJob is a request that has been authorised and checked.
type NewJob struct {
	ID string
	Spec
	Lane           Lane
	RequestedBy    string
	Notify         []string
	IdempotencyKey string
	// RequestHash is of the body, to tell a repeated key from a reused one.
	RequestHash []byte
	Fresh       bool
	QueueMax    int
	Remote      string // where the request came from, for the audit
	Trace       string
}

// Created is what Create found or made.
type Created struct {
	Job Job
	// New is false when an identical job was joined or a key repeated.
	New bool
}

// ListQuery asks for one page of a project's jobs, older than Before (a job id,
// exclusive; ids are ordered by time).
type ListQuery struct {
	Project string
	State   State // or "canceling"; empty for all
	Before  string
	Limit   int
}

// AuditEntry is one line of who did what. Job is empty for a project's own.
// Detail says what was refused, or which file was fetched.
type AuditEntry struct {
	ID      int64
	At      time.Time
	Actor   string
	Action  string
	Project string
	Job     string
	Detail  string
	Remote  string
}

// The actions of the audit, besides the assets.
const (
	ActionCreate       = "create"
	ActionJoin         = "join"
	ActionGet          = "get"
	ActionList         = "list"
	ActionWatch        = "watch"
	ActionAudit        = "audit"
	ActionPreview      = "preview"
	ActionCancel       = "cancel"
	ActionExtend       = "extend"
	ActionPurge        = "purge"
	ActionPurgeProject = "purge_project"
	ActionOriginal     = "original"
	ActionResend       = "resend"
	ActionOps          = "ops"
	ActionStop         = "ops_cancel"
	ActionRetry        = "retry"
	ActionMoveAhead    = "move_ahead"
	ActionPause        = "pause"
	ActionResume       = "resume"
	ActionQueue        = "ops_queue"
	ActionTask         = "ops_task"
	Refused            = "refused"
)

// AuditQuery asks for one page of a project's audit, or of what it has about one
// job, older than Before (an id, exclusive; 0 is from the newest on).
type AuditQuery struct {
	Project string
	Job     string
	Before  int64
	Limit   int
}

// Beat is what a running attempt tells once a second.
type Beat struct {
	Lease    time.Duration
	Phase    Phase
	Progress Progress
}

// WorkerStatus is a worker's heartbeat.
type WorkerStatus struct {
	ID    string
	Slots map[Lane]int
}

// DispatchRules bound what one pass may start.
type DispatchRules struct {
	ProjectSlots int // in each lane
	MaxRunning   int // over all workers; 0 is no limit
	MaxFailures  int
}

// Link is a presigned link and when it stops working.
type Link struct {
	URL       string
	ExpiresAt time.Time
}

// Role is what a person is in a project.
type Role int

// The roles. Only owners and admins may export.
const (
	RoleNone Role = iota
	RoleAdmin
	RoleOwner
)

// MayExport reports whether the role reaches for everything this service does.
func (r Role) MayExport() bool { return r != RoleNone }

// Principal is a person who proved who they are.
type Principal struct {
	// Email is lower case: the platform compares e-mails without regard to case.
	Email string
	// Remote is the address that the request came from.
	Remote string
}
