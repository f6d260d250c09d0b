// Package export writes one export: id windows of the source become JSON
// lines, lines become gzip members, members become parts of one upload, and
// every part that ends where a row ends is a cut that the job row remembers.
//
//	readers (two, on alternating windows) → chunks of lines ─┬─ compressors (one a core)
//	                                                         └─ assembler, in the order of ids
//	assembler → parts → uploads (two in flight) → committer → checkpoints
//
// Chunks and part buffers come from fixed pools, so what an export holds in
// memory does not depend on how much it exports: a reader that finds no free
// chunk stops reading from the server, row by row.
package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"golang.org/x/time/rate"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Source is the platform's database. Read hands over the rows of a window.
type Source interface {
	Plan(ctx context.Context, spec jobs.Spec, in jobs.Range) (jobs.Plan, error)
	Read(ctx context.Context, spec jobs.Spec, w jobs.Window, rows jobs.Rows) (jobs.Reading, error)
}

// Bucket is where the file goes. PutPart and Put send the part's checksum
// along, and return the entity tag. Verify tells by what it compared.
type Bucket interface {
	Create(ctx context.Context, key string) (uploadID string, err error)
	PutPart(ctx context.Context, u jobs.Upload, p jobs.Part, data []byte) (etag string, err error)
	Complete(ctx context.Context, u jobs.Upload, parts []jobs.Part) error
	Put(ctx context.Context, key, contentType string, p jobs.Part, data []byte) (etag string, err error)
	Verify(ctx context.Context, key string, parts []jobs.Part) (by jobs.Proof, err error)
	Discard(ctx context.Context, u jobs.Upload) error
}

// Options are the settings of an Exporter.
type Options struct {
	Prefix    string // of every key
	Readers   int
	ReadMBps  int // over all exports, in 10^6 bytes of lines; 0 is no limit
	GzipLevel int
	NewNonce  func() string
	Log       *slog.Logger
}

// Exporter implements jobs.Exporter.
type Exporter struct {
	source Source
	bucket Bucket
	opts   Options

	parts    partRule
	throttle *rate.Limiter
	large    chan struct{} // held by the reader whose large row passes
}

var _ jobs.Exporter = (*Exporter)(nil)

// New makes an Exporter.
func New(s Source, b Bucket, o Options) *Exporter {
	return &Exporter{
		source: s, bucket: b, opts: o,
		parts: s3Parts, throttle: newThrottle(o.ReadMBps), large: make(chan struct{}, 1),
	}
}

// What each step may take before the attempt is taken for hung. Streaming is
// allowed its limit from the last sign of progress on.
const (
	planLimit     = 10 * time.Minute
	streamLimit   = 5 * time.Minute
	completeLimit = 2 * time.Minute
	completeGiB   = time.Minute // more for each GiB: some stores copy the parts
	verifyLimit   = time.Minute
	discardLimit  = 30 * time.Second
)

// Export implements jobs.Exporter.
func (e *Exporter) Export(ctx context.Context, c jobs.Claim, s *jobs.Session) (jobs.Result, error) {
	result, err := e.attempt(ctx, c, s)
	if c.Resume != nil && errors.Is(err, jobs.ErrUploadGone) {
		e.opts.Log.Warn("the upload is gone: the export starts over", "job", c.Fence.Job)
		c.Abandoned, c.Resume = &c.Resume.Upload, nil
		return e.attempt(ctx, c, s)
	}
	return result, err
}

// attempt goes on from the claim's cut, or from the start.
func (e *Exporter) attempt(ctx context.Context, c jobs.Claim, s *jobs.Session) (jobs.Result, error) {
	f, err := newFile(e, c, s)
	if err != nil {
		return jobs.Result{}, err
	}
	if !f.total.Final {
		if err := e.write(ctx, c.Job.Spec, f); err != nil {
			return jobs.Result{}, err
		}
	}
	if err := f.publish(ctx); err != nil {
		return jobs.Result{}, fmt.Errorf("publish: %w", err)
	}
	result := f.result(jobs.Filename(c.Job.Spec))
	return result, f.describe(ctx, c.Job, result)
}

// write reads what is not in the file yet, and ends it.
func (e *Exporter) write(ctx context.Context, spec jobs.Spec, f *file) error {
	f.session.Step(jobs.Planning, planLimit)
	plan, err := e.plan(ctx, spec, f)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	f.planned(plan)
	f.session.Step(jobs.Streaming, streamLimit)
	// The buffers of an export are most of what a worker holds; the next one
	// must not begin before they are gone.
	defer debug.FreeOSMemory()
	if err := e.stream(ctx, spec, plan, f); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return f.finish(ctx)
}

// plan gives up when the worker is to stop: half a plan is of no use.
func (e *Exporter) plan(ctx context.Context, spec jobs.Spec, f *file) (jobs.Plan, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		if _, err := next(ctx, f.session.Draining()); err == nil {
			cancel(jobs.ErrDrained)
		}
	}()
	plan, err := e.source.Plan(ctx, spec, f.rest())
	if errors.Is(context.Cause(ctx), jobs.ErrDrained) {
		return plan, jobs.ErrDrained
	}
	return plan, err
}

// discard removes an earlier attempt's upload, which no row names any more. What
// cannot be removed now is an orphan that the clean-up finds by its key.
func (e *Exporter) discard(ctx context.Context, u jobs.Upload) {
	ctx, cancel := context.WithTimeout(ctx, discardLimit)
	defer cancel()
	_ = e.bucket.Discard(ctx, u)
}

// Discard implements jobs.Exporter.
func (e *Exporter) Discard(ctx context.Context, u jobs.Upload) error {
	return e.bucket.Discard(ctx, u)
}

// Key names an object by nothing that a person typed.
func Key(prefix, job, nonce string) string {
	return prefix + "exports/" + job + "/" + nonce + "/data.jsonl.gz"
}
