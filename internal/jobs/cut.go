package jobs

import (
	"context"
	"math"
	"time"
)

// Window is a range of ids, After < id ≤ To, read in one transaction. Rows and
// Stored (bytes as stored, TOAST compression included) are what the plan saw.
type Window struct {
	After, To int64
	Rows      int64
	Stored    int64
}

// Plan is what an export will read: membership is fixed when it is made.
type Plan struct {
	Windows    []Window
	Rows       int64
	Stored     int64
	Membership Membership
}

// Membership says which rows belong to an export: those up to HighWater that
// were there At that time and stay.
type Membership struct {
	At        time.Time `json:"at"`
	HighWater int64     `json:"high_water_id"`
	// OpenWriters had changed the table and not committed then; a row of theirs
	// may come in under a lower id. Nil where the source cannot tell (a replica).
	OpenWriters *int64 `json:"open_writers"`
}

// Range bounds the ids of a plan, After < id ≤ To.
type Range struct{ After, To int64 }

// All is the range of a first attempt.
var All = Range{After: math.MinInt64, To: math.MaxInt64}

// Reading is what came of one window: how many rows it has, by a statement of
// another shape than the one that read them, and how long the source kept the
// reader waiting.
type Reading struct {
	Counted int64
	Waited  time.Duration
}

// Rows takes the rows of a window.
type Rows interface {
	// Begin is called when the window has its transaction, before any row.
	Begin()
	// Row takes one row, in the order of ids. Its bytes are only valid during
	// the call.
	Row(ctx context.Context, r Row) error
	// Skip names a row that could not be read, in its place among the others.
	Skip(ctx context.Context, s Skipped) error
	// Large is called before memory is taken for a row of more than LargeRow
	// bytes, and may wait. The row may still fail to come.
	Large(ctx context.Context) error
}

// LargeRow is the size in bytes beyond which a row passes through a worker
// alone.
const LargeRow = 32 << 20

// Skipped is a row that could not be written, and the class of error it met.
type Skipped struct {
	ID     int64  `json:"id"`
	Reason string `json:"reason"`
}

// Part is one uploaded part of the file.
type Part struct {
	Number  int    `json:"number"`
	ETag    string `json:"etag"`
	CRC32C  string `json:"crc32c"` // base64, as S3 has it
	Bytes   int64  `json:"bytes"`
	Rows    int64  `json:"rows"` // rows that end in this part
	FirstID int64  `json:"first_id"`
	LastID  int64  `json:"last_id"`
}

// Proof says by what a stored file was compared with what was sent.
type Proof string

// The proofs. Not every store tells a checksum of the whole object; each part's
// entity tag was compared by the store itself when it joined them.
const (
	ByChecksum Proof = "crc32c"
	BySize     Proof = "size_and_etags"
)

// CutVersion is the version of what a Cut holds. A checkpoint of another
// version is not resumed: the export starts over.
const CutVersion = 2

// Cut is a part's end that is also a row's end: a point from which an export
// can go on. All counts are totals from the start of the file, over the
// contiguous prefix of parts that are uploaded.
type Cut struct {
	Version int `json:"version"`
	// Membership and Planned (rows) are those of the first attempt.
	Membership Membership `json:"membership"`
	Planned    int64      `json:"planned"`
	// LastID: every row up to it is written, skipped, or not there.
	LastID      int64 `json:"last_id"`
	Rows        int64 `json:"rows"`
	BytesRaw    int64 `json:"bytes_raw"`
	BytesStored int64 `json:"bytes_stored"`
	ContextsCut int64 `json:"contexts_cut"`
	SkippedRows int64 `json:"skipped_rows"`
	// Deleted and Appeared are the rows that the windows had fewer and more than
	// the plan.
	Deleted  int64  `json:"deleted"`
	Appeared int64  `json:"appeared"`
	FileHash []byte `json:"file_hash"` // marshalled state of SHA-256
	RawHash  []byte `json:"raw_hash"`
	// Parts are those since the previous cut, so that what a checkpoint writes
	// does not grow with the file.
	Parts []Part `json:"parts"`
	// Skipped are those since the previous cut.
	Skipped []Skipped `json:"skipped"`
	// Final is the cut at the file's end: the row says completing with it.
	Final bool `json:"final"`
}

// Column is one field of a line, in the order of the file.
type Column struct {
	Name string
	Type ColumnType
}

// ColumnType says how a value arrives from the source and how it is written.
type ColumnType int

// The types. Int and Time arrive as eight bytes, big endian (Time in
// microseconds since 2000-01-01 UTC); Text as UTF-8; JSON as the stored text.
const (
	Int ColumnType = iota
	Time
	Text
	JSON
	// Convo is JSON whose assistant messages carry at most MaxContexts contexts.
	Convo
)

// MaxContexts is how many contexts of an assistant message are exported: the
// platform's documentation promises its users "at most 80 per assistant message".
const MaxContexts = 80

// Columns are the fields of a line of this kind. The first is always the id.
func (k Kind) Columns() []Column {
	if k == Documents {
		return []Column{
			{"id", Int}, {"created_at", Time}, {"course_name", Text}, {"s3_path", Text},
			{"readable_filename", Text}, {"url", Text}, {"base_url", Text},
			{"doc_groups", JSON}, {"contexts", JSON},
		}
	}
	return []Column{
		{"id", Int}, {"created_at", Time}, {"convo_id", Text}, {"course_name", Text},
		{"user_email", Text}, {"convo", Convo},
	}
}

// LeftOut are the columns of the table that are not in the file.
func (k Kind) LeftOut() []string {
	if k == Documents {
		return []string{}
	}
	return []string{"summary", "convo_analysis_tags"}
}

// Row is one row of the source: a value for each column of its kind, nil for
// NULL. The bytes are only valid until the function that got them returns.
type Row [][]byte
