package jobs

import (
	"errors"
	"fmt"
	"strings"
)

// What a caller of the Service can be refused with. The API keeps the one table
// from these to problem documents.
var (
	// ErrUnauthenticated: no credentials, or none that are valid.
	ErrUnauthenticated = errors.New("no valid credentials")
	// ErrNotFound: no such job or project, or no role in it; the two must not be told apart.
	ErrNotFound = errors.New("not found")
	// ErrKeyReused: an Idempotency-Key came back with another body.
	ErrKeyReused = errors.New("idempotency key was used with another request")
	// ErrQueueFull: the project has too many exports waiting.
	ErrQueueFull = errors.New("too many exports are waiting in this project")
	// ErrFinal: the job is over and cannot be canceled.
	ErrFinal = errors.New("the export is already over")
	// ErrNotReady: there is no file yet, or there never will be.
	ErrNotReady = errors.New("the export has no file")
	// ErrGone: the file was deleted.
	ErrGone = errors.New("the file has been deleted")
	// ErrFrozen: the platform's administrator has closed the project to everybody.
	ErrFrozen = errors.New("the project is frozen")
	// ErrExtended: the file was kept for longer as often as is allowed.
	ErrExtended = errors.New("the export was extended too often")
	// ErrNotOver: the export waits or runs, and must be canceled first.
	ErrNotOver = errors.New("the export is not over")
	// ErrNoOriginal: the document has no file of its own, or none that is handed out.
	ErrNoOriginal = errors.New("the document has no original file")
	// ErrMoved: the task of the queue is in a state that does not allow this.
	ErrMoved = errors.New("the task has moved on")
	// ErrTooMany: this person asks too often.
	ErrTooMany = errors.New("too many requests")
)

// Invalid is a request that cannot be carried out as it stands.
type Invalid struct{ Fields []FieldError }

// FieldError names a field and says what is allowed there.
type FieldError struct{ Field, Message string }

func (e *Invalid) Error() string {
	parts := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		parts[i] = f.Field + ": " + f.Message
	}
	return "invalid request: " + strings.Join(parts, "; ")
}

// Unavailable is a dependency that did not answer. It is always worth trying again.
type Unavailable struct {
	Dependency string // in a reader's words: "the platform's roles"
	Err        error
}

func (e *Unavailable) Error() string { return e.Dependency + " did not answer: " + e.Err.Error() }
func (e *Unavailable) Unwrap() error { return e.Err }

// Failure is why an attempt, or a whole export, ended badly: what the row keeps
// and the person reads. It holds no data of any row.
type Failure struct {
	Code    string
	Message string
	// Retryable says whether asking for the export again can help.
	Retryable bool
}

// The codes of failures.
const (
	CodeWorkerLost  = "worker_lost"
	CodeSource      = "source_unavailable"
	CodeStore       = "store_unavailable"
	CodeRefused     = "source_refused"
	CodeStoreDenied = "store_refused"
	CodeStoreFull   = "store_full"
	CodeDatabase    = "database_unavailable"
	CodeInternal    = "internal"

	CodeTooManyBadRows = "too_many_bad_rows"
	CodeInconsistent   = "source_inconsistent"
	CodeTooLarge       = "file_too_large"
)

// Codes are all that a failure can have; docs/runbook.md says what to do.
var Codes = []string{
	CodeWorkerLost, CodeSource, CodeRefused, CodeStore, CodeStoreDenied, CodeStoreFull, CodeDatabase, CodeInternal,
	CodeTooManyBadRows, CodeInconsistent, CodeTooLarge,
}

// failureError is an error that an adapter has classified.
type failureError struct {
	Failure
	transient bool
	err       error
}

func (e *failureError) Error() string { return fmt.Sprintf("%s: %v", e.Code, e.err) }
func (e *failureError) Unwrap() error { return e.err }

// Transient classifies err as worth another attempt by the worker itself.
func Transient(code, message string, err error) error {
	return &failureError{Failure{code, message, true}, true, err}
}

// Permanent classifies err as one that the same attempt would meet again.
func Permanent(code, message string, retryable bool, err error) error {
	return &failureError{Failure{code, message, retryable}, false, err}
}

// IsTransient reports whether an adapter classified err as worth another attempt.
func IsTransient(err error) bool {
	var fe *failureError
	return errors.As(err, &fe) && fe.transient
}

// failureOf gives the words for the row and whether to try again. An error that
// no adapter classified is a fault of this program: tried again, within the
// budget, because an export that is given up helps nobody.
func failureOf(err error) (f Failure, transient bool) {
	var fe *failureError
	if errors.As(err, &fe) {
		return fe.Failure, fe.transient
	}
	return Failure{CodeInternal, "The export met an error inside this service.", true}, true
}

// Why the context of a running export was cancelled; found with context.Cause.
var (
	errLost     = errors.New("the lease was lost")
	errCanceled = errors.New("cancel was requested")
)

// ErrDrained is what an Exporter answers that stopped because Session.Draining
// said so, at its last cut.
var ErrDrained = errors.New("the worker is stopping")

// ErrFenced is what a fenced write answers when the row has moved on: the
// worker that gets it stops at once and changes nothing more.
var ErrFenced = errors.New("the job is no longer this attempt's")

// ErrUploadGone is what the store answers when an upload, or one of its parts,
// is no longer there: it was completed, aborted or removed meanwhile.
var ErrUploadGone = errors.New("the upload is gone")

// ErrCancelRequested is what End answers to a success that came too late.
var ErrCancelRequested = errors.New("cancel was requested before the end")
