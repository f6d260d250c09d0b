package jobs

import (
	"context"
	"time"
)

// Ledger is what the Sweeper does to the job rows. All its clocks are the
// database's.
type Ledger interface {
	// Turn runs f while no other sweeper runs it; false if one does.
	Turn(ctx context.Context, f func(context.Context) error) (bool, error)
	// Overdue are the succeeded jobs whose retention is over, at most n.
	Overdue(ctx context.Context, n int) (ids []string, err error)
	// Expire moves succeeded jobs to expired, and tells which; those that are not
	// succeeded any more stay as they are.
	Expire(ctx context.Context, ids []string) ([]Move, error)
	// Doomed are the jobs that are over, have no file to offer, and whose data
	// was not deleted yet, at most n.
	Doomed(ctx context.Context, n int) ([]Doomed, error)
	// Deleted notes that nothing of a job's data is left.
	Deleted(ctx context.Context, id string) error
	// Prune deletes rows that nobody needs: old jobs without data, old lines of
	// the audit, idempotency keys and workers of yesterday. A dry run counts them.
	Prune(ctx context.Context, keep Keep, dry bool) (Pruned, error)
}

// Holdings is what the Sweeper asks about what belongs to whom.
type Holdings interface {
	// Installation is the id of this installation, and whether its orphans were
	// last looked for longer than that ago; true is told once.
	Installation(ctx context.Context, every time.Duration) (id string, due bool, err error)
	// Looked notes what a look for orphans found, and how many of them it left.
	Looked(ctx context.Context, found, left int) error
	// Named are the uploads, of those given, that an unfinished or succeeded row names.
	Named(ctx context.Context, uploads []UploadName) (map[UploadName]bool, error)
	// Projects are those with exports that are not gone.
	Projects(ctx context.Context) ([]string, error)
	// Absent notes which projects the platform does not have any more, forgets
	// the others, and returns those that were absent for all that time.
	Absent(ctx context.Context, projects []string, since time.Duration) ([]string, error)
	// Swept notes that a pass was made, and what it removed if it did.
	Swept(ctx context.Context, s Swept) error
}

// Shelf is what the Sweeper sees and removes of the object store.
type Shelf interface {
	// Owner returns the installation that the prefix belongs to, empty if nobody
	// has claimed it.
	Owner(ctx context.Context) (string, error)
	Claim(ctx context.Context, installation string) error
	// List hands over every object and every open upload of an export.
	List(ctx context.Context, each func(Stray)) error
	// Discard removes a job's upload, its object, and what stands beside it.
	Discard(ctx context.Context, u Upload) error
	// Remove deletes one object or aborts one open upload.
	Remove(ctx context.Context, s Stray) error
}

// Roll says which projects the platform does not have. It is an error if it
// cannot be sure: a source that does not answer, or answers with nothing at all.
type Roll interface {
	Missing(ctx context.Context, projects []string) ([]string, error)
}

// Archive is the queue's store of dead tasks.
type Archive interface {
	// Prune deletes those older than a day, and counts them; a dry run only counts.
	Prune(ctx context.Context, dry bool) (int, error)
}

// Doomed is a job whose data is to go.
type Doomed struct {
	Job string
	Upload
	// Bytes are those that were stored of its file.
	Bytes int64
}

// UploadName is how a key names an upload.
type UploadName struct{ Job, Nonce string }

// Stray is an object, or an open upload, below the prefix of the exports.
type Stray struct {
	UploadName
	Key      string
	UploadID string // of an open upload; empty for an object
	At       time.Time
}

// Pruned counts what was deleted of the service's own tables.
type Pruned struct{ Jobs, Audit, Keys, Workers int64 }

// Keep is how long rows are kept: those of jobs after their data is gone, and
// those of the audit.
type Keep struct{ Jobs, Audit time.Duration }
