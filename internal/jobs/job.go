package jobs

import (
	"path"
	"time"
)

// Kind says what is exported.
type Kind string

// The kinds of export.
const (
	Conversations Kind = "conversations"
	Documents     Kind = "documents"
)

// State is a job's state as it is stored. docs/state-machine.md draws the moves.
type State string

// The states. Succeeded, Failed, Canceled and Expired are final for the export;
// Succeeded moves on to Expired when its data goes.
const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"
	Expired   State = "expired"
)

// Final reports whether no worker will touch the job any more.
func (s State) Final() bool { return s != Queued && s != Running }

// Phase is what a job that is not final is doing.
type Phase string

// The phases: the first two of a queued job, the others of a running one.
const (
	Waiting    Phase = "waiting"
	Retrying   Phase = "retrying"
	Planning   Phase = "planning"
	Streaming  Phase = "streaming"
	Completing Phase = "completing"
	Verifying  Phase = "verifying"
)

// Lane is the queue a job waits in. Small exports have slots of their own, so
// that they never wait behind large ones.
type Lane string

// The lanes.
const (
	Large Lane = "large"
	Small Lane = "small"
)

// SmallLimit is the largest estimate, in bytes as stored in the source, that
// still travels in the small lane. An unknown size counts as large.
const SmallLimit = 64 << 20

// Spec is what was asked for. Two jobs with equal specs export the same rows.
type Spec struct {
	Project string
	Kind    Kind
	// From and To bound created_at, From ≤ created_at < To; nil is unbounded.
	From, To *time.Time
	// AllowSkipped lets an export succeed however many rows could not be written.
	AllowSkipped bool
}

// Job is one export, as its row has it.
type Job struct {
	ID string
	Spec
	State State
	Phase Phase
	Lane  Lane
	// Attempt is the fence: it rises at every claim and never falls.
	Attempt int
	// Failures is the budget: transient errors since the last checkpoint.
	Failures int
	// Dispatch numbers the tasks that were enqueued for this job.
	Dispatch int

	RequestedBy       string
	CreatedAt         time.Time
	StartedAt         *time.Time
	FinishedAt        *time.Time
	ExpiresAt         *time.Time
	NextAt            *time.Time // not before, while retrying
	CancelRequestedAt *time.Time
	// QueuePosition is 1 for the job that is next in its lane; nil unless queued.
	QueuePosition *int
	// Paused: it waits for an operator's word, which holds for its project or all.
	Paused bool
	// Ahead: an operator let it go before all others.
	Ahead bool

	Progress Progress
	// Attempts are the last ones, oldest first; only Records.Get tells them.
	Attempts []Attempt
	Upload   *Upload
	Result   *Result
	Failure  *Failure
	// Trace is the W3C traceparent of the request; empty if it was not traced.
	Trace string
	// Version rises with every change of the row.
	Version int64
}

// Attempt is one claim of a job and what came of it.
type Attempt struct {
	Number    int
	Worker    string
	StartedAt time.Time
	EndedAt   *time.Time
	// Outcome is succeeded, failed, canceled, retried, drained or lost; empty
	// while it runs.
	Outcome string
	// Rows in the file when it ended, those of earlier attempts included.
	Rows    int64
	Code    string // of its error; empty if there was none
	Message string
}

// AttemptsShown is how many attempts a job tells.
const AttemptsShown = 50

// Canceling reports whether a cancel was asked for and has not taken effect.
func (j *Job) Canceling() bool { return j.CancelRequestedAt != nil && !j.State.Final() }

// Progress is how far the current attempt is. Bytes are raw (JSON lines) and
// stored (compressed); RowsTotal is nil until the plan is made.
type Progress struct {
	Rows        int64
	RowsTotal   *int64
	BytesRaw    int64
	BytesStored int64
	// RowsPerSecond is the rate of this attempt, since its first row.
	RowsPerSecond float64
	UpdatedAt     *time.Time
}

// Upload names the object that an attempt writes. The nonce is new in every
// attempt that does not resume an upload, so that a worker that was given up
// can never write to the key that its successor publishes.
type Upload struct {
	Nonce string
	Key   string
	// ID is the store's multipart upload; empty for a file that is put whole.
	ID string
}

// The manifest and the checksums stand beside the file.
const (
	manifestName  = "datapackage.json"
	checksumsName = "SHA256SUMS"
)

// Manifest is the key of the file's description.
func (u Upload) Manifest() string { return path.Dir(u.Key) + "/" + manifestName }

// Checksums is the key of the list that sha256sum -c reads.
func (u Upload) Checksums() string { return path.Dir(u.Key) + "/" + checksumsName }

// Result describes a finished file.
type Result struct {
	Filename    string
	Rows        int64
	Bytes       int64 // of the file, compressed
	BytesRaw    int64
	SHA256      string // of the file, hex
	SHA256Raw   string // of the lines, hex
	ContextsCut int64
	// Skipped rows could not be written; SkippedRows names the first of them.
	Skipped     int64
	SkippedRows []Skipped
	// Deleted and Appeared: rows that went or came while the export was running.
	Deleted, Appeared int64
}

// SkippedShown is how many skipped rows the job itself names.
const SkippedShown = 100

// ETA estimates what is left from the rate so far; false while nothing is known.
func (p Progress) ETA() (time.Duration, bool) {
	if p.RowsTotal == nil || p.RowsPerSecond <= 0 || p.Rows > *p.RowsTotal {
		return 0, false
	}
	left := float64(*p.RowsTotal-p.Rows) / p.RowsPerSecond
	return time.Duration(left * float64(time.Second)), true
}

// Ticket is the payload of a task: the doorbell, not the work. A claim with a
// ticket succeeds only while the row is still at that dispatch number.
type Ticket struct {
	Job      string
	Dispatch int
	Lane     Lane
}

// Fence is what every write of a worker must still match.
type Fence struct {
	Job     string
	Attempt int
}

// Claim is a job in the hands of a worker.
type Claim struct {
	Job   Job
	Fence Fence
	// Resume is where an earlier attempt got to; nil: from the start.
	Resume *Resume
	// Abandoned is an upload of an earlier attempt that this one does not resume.
	Abandoned *Upload
}

// Resume is an upload and its last cut, with all parts and all skipped rows
// since the start of the file.
type Resume struct {
	Upload Upload
	Cut    Cut
}
