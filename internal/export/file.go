package export

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// partBuffers: two parts are in flight while a third is filled.
const partBuffers = 3

// partRule says how large parts are. A part ends at the first member end at or
// beyond its size.
type partRule struct {
	least int64 // bytes; what an ordinary file has
	aim   int64 // parts that a file of the planned size has at most
	most  int64 // parts that a store takes
	drain int   // bytes; what a worker that stops still sends
}

// s3Parts: 16 MiB up to 100 GiB. Beyond, the parts grow, and more than a third
// of the 10,000 that S3 takes are left for a plan that was too low, and for the
// gaps that resumed uploads leave. S3 takes no part below 5 MiB but the last.
var s3Parts = partRule{least: 16 << 20, aim: 6000, most: 10000, drain: 5 << 20}

// lineOverhead is what a line may have beside its large value, compressed.
const lineOverhead = 256

// size is that of a file's parts, in bytes. What is stored compressed in the
// source is an upper estimate: gzip compresses better.
func (r partRule) size(p jobs.Plan) int {
	return int(max(r.least, (p.Stored+lineOverhead*p.Rows)/r.aim))
}

// memberOverhead is what a member may have beyond its raw bytes, where they
// cannot be compressed at all.
const memberOverhead = 4 << 10

// partGap is how many part numbers a resumed upload leaves out: parts of the
// worker that was given up may still arrive under the next few.
const partGap = 16

// file assembles members into the parts of one upload. add, seal, finish and
// publish are called by one goroutine after the other; commit runs beside add
// and seal.
type file struct {
	e       *Exporter
	session *jobs.Session
	endsRow bool // what is added so far
	upload  jobs.Upload
	former  *jobs.Upload       // that the row names until it names upload
	spawn   func(func() error) // runs an upload beside the stream

	fileHash, rawHash hash.Hash
	total             jobs.Cut // so far, with no parts
	cur               part
	partSize          int
	buffers           chan []byte
	made              int // buffers
	sealed            chan *part
	parts             []jobs.Part // uploaded
	pending           []jobs.Part // uploaded since the last cut
	allSkipped        []jobs.Skipped
	allowSkipped      bool
	skipped           []jobs.Skipped // since the last cut
	whole             *part          // the file, where it is not uploaded in parts
	proof             jobs.Proof
}

// part is a part of the upload, being filled or on its way.
type part struct {
	jobs.Part
	data []byte
	cut  *jobs.Cut // where the part's end is a row's end
	done chan struct{}
}

// newFile is an empty file under a new name, or the one to go on with.
func newFile(e *Exporter, c jobs.Claim, s *jobs.Session) (*file, error) {
	f := &file{
		e: e, session: s,
		fileHash: sha256.New(), rawHash: sha256.New(),
		total:        jobs.Cut{Version: jobs.CutVersion},
		cur:          part{Part: jobs.Part{Number: 1}},
		buffers:      make(chan []byte, partBuffers),
		sealed:       make(chan *part, partBuffers),
		allowSkipped: c.Job.AllowSkipped,
	}
	if c.Resume != nil {
		return f, f.restore(*c.Resume)
	}
	nonce := e.opts.NewNonce()
	f.upload = jobs.Upload{Nonce: nonce, Key: Key(e.opts.Prefix, c.Fence.Job, nonce)}
	f.former = c.Abandoned
	return f, nil
}

// restore sets the file to the state of a cut. A hash that another version of
// Go saved, and this one cannot read, leaves nothing to go on from.
func (f *file) restore(r jobs.Resume) error {
	for _, h := range []struct {
		hash  hash.Hash
		state []byte
	}{{f.fileHash, r.Cut.FileHash}, {f.rawHash, r.Cut.RawHash}} {
		if err := h.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(h.state); err != nil {
			return fmt.Errorf("%w: %w", jobs.ErrUploadGone, err)
		}
	}
	f.upload, f.total, f.parts, f.allSkipped = r.Upload, r.Cut, r.Cut.Parts, r.Cut.Skipped
	f.total.Parts, f.total.Skipped = nil, nil
	if n := len(f.parts); n > 0 {
		f.cur.Number = f.parts[n-1].Number + 1 + partGap
	}
	f.session.Planned(f.total.Planned)
	f.session.Wrote(f.total.Rows, f.total.BytesRaw, f.total.BytesStored)
	return nil
}

// resumed reports whether the file has a beginning.
func (f *file) resumed() bool { return len(f.parts) > 0 }

// rest is what is not in the file yet.
func (f *file) rest() jobs.Range {
	if !f.resumed() {
		return jobs.All
	}
	return jobs.Range{After: f.total.LastID, To: f.total.Membership.HighWater}
}

// planned takes the plan of what is not in the file yet. Membership was fixed
// by the first one; what came or went since then, in the rows that it saw and
// that are not written, is only known as a difference.
func (f *file) planned(p jobs.Plan) {
	t := &f.total
	if f.resumed() {
		left := t.Planned - (t.Rows + t.SkippedRows - t.Appeared + t.Deleted)
		t.Appeared += max(0, p.Rows-left)
		t.Deleted += max(0, left-p.Rows)
	} else {
		t.Membership, t.Planned = p.Membership, p.Rows
	}
	f.partSize = f.e.parts.size(p)
	f.session.Planned(t.Planned)
}

// add appends a chunk's member to the file.
func (f *file) add(ctx context.Context, c *chunk) error {
	f.rawHash.Write(c.raw)
	f.total.Rows += c.rows
	f.total.BytesRaw += int64(len(c.raw))
	f.total.ContextsCut += c.contextsCut
	if c.rows > 0 || len(c.skipped) > 0 {
		f.total.LastID = c.upTo
	}
	if c.rows > 0 {
		if f.cur.Rows == 0 {
			f.cur.FirstID = c.first
		}
		f.cur.Rows += c.rows
		f.cur.LastID = c.last
	}
	if err := f.reconcile(c); err != nil {
		return err
	}
	// A window without rows leaves no empty member behind.
	if len(c.raw) > 0 {
		if err := f.append(ctx, c.gz); err != nil {
			return err
		}
	}
	f.session.Wrote(f.total.Rows, f.total.BytesRaw, f.total.BytesStored)
	f.session.Extend(streamLimit)
	f.endsRow = c.endsRow
	if len(f.cur.data) < f.partSize {
		return nil
	}
	// A row that ends soon makes the part's end a cut.
	if !c.endsRow && cap(f.cur.data)-len(f.cur.data) > chunkSize+memberOverhead {
		return nil
	}
	return f.send(ctx, c.endsRow)
}

// reconcile notes what a chunk and its window had beside rows. More than 1 % of
// rows that cannot be read end the export, unless the person allowed it.
func (f *file) reconcile(c *chunk) error {
	t := &f.total
	t.SkippedRows += int64(len(c.skipped))
	t.Deleted += max(0, -c.change)
	t.Appeared += max(0, c.change)
	f.skipped = append(f.skipped, c.skipped...)
	f.allSkipped = append(f.allSkipped, c.skipped...)
	if t.SkippedRows*100 > t.Planned && t.SkippedRows > 0 && !f.allowSkipped {
		return jobs.Permanent(jobs.CodeTooManyBadRows,
			"More than 1 % of the rows cannot be read from the platform's database. Ask with allow_skipped to get the others.",
			false, fmt.Errorf("%d of %d rows cannot be read", t.SkippedRows, t.Planned))
	}
	return nil
}

func (f *file) append(ctx context.Context, member []byte) (err error) {
	if f.cur.data == nil {
		if f.cur.data, err = f.buffer(ctx); err != nil {
			return err
		}
	}
	f.cur.data = append(f.cur.data, member...)
	f.fileHash.Write(member)
	f.total.BytesStored += int64(len(member))
	return nil
}

// buffer takes one that an upload has given back. A new one is made only where
// all are on their way: most exports need one, and a fast store keeps it at two.
func (f *file) buffer(ctx context.Context) ([]byte, error) {
	select {
	case b := <-f.buffers:
		return b, nil
	default:
	}
	if f.made < partBuffers {
		f.made++
		return make([]byte, 0, f.partSize+2*chunkSize), nil
	}
	return next(ctx, f.buffers)
}

// send closes the current part and starts its upload.
func (f *file) send(ctx context.Context, isCut bool) error {
	if int64(f.cur.Number) > f.e.parts.most {
		return jobs.Permanent(jobs.CodeTooLarge, "The file would be larger than the object store takes. Ask for a shorter range of dates.",
			false, fmt.Errorf("part %d", f.cur.Number))
	}
	if f.upload.ID == "" {
		if err := f.begin(ctx); err != nil {
			return err
		}
	}
	p := f.closePart()
	if isCut {
		cut, err := f.cut()
		if err != nil {
			return err
		}
		p.cut = &cut
	}
	f.spawn(func() (err error) {
		defer close(p.done)
		if !f.session.Holds() {
			return jobs.ErrFenced
		}
		begun := time.Now()
		p.ETag, err = f.e.bucket.PutPart(ctx, f.upload, p.Part, p.data)
		f.session.Spent(jobs.StageUpload, time.Since(begun))
		return err
	})
	select {
	case f.sealed <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin opens the multipart upload; the row names it before its first byte.
func (f *file) begin(ctx context.Context) (err error) {
	if f.upload.ID, err = f.e.bucket.Create(ctx, f.upload.Key); err != nil {
		return err
	}
	return f.name(ctx)
}

// name puts the upload into the row, and removes the one that stood there. The
// store has no fence: as long as the row names an upload, whoever has the job
// now may publish it, and this worker may be the last to learn that it is over.
func (f *file) name(ctx context.Context) error {
	if err := f.session.BeginUpload(ctx, f.upload); err != nil {
		return err
	}
	if f.former != nil {
		f.e.discard(ctx, *f.former)
		f.former = nil
	}
	return nil
}

// closePart takes the current part and opens the next.
func (f *file) closePart() *part {
	p := f.cur
	p.Bytes, p.CRC32C = int64(len(p.data)), crc32c(p.data)
	p.done = make(chan struct{})
	f.cur = part{Part: jobs.Part{Number: p.Number + 1}}
	return &p
}

// cut is the state from which a successor could go on here.
func (f *file) cut() (c jobs.Cut, err error) {
	c = f.total
	c.Skipped, f.skipped = f.skipped, nil
	if c.FileHash, err = f.fileHash.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return c, fmt.Errorf("save hash: %w", err)
	}
	if c.RawHash, err = f.rawHash.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return c, fmt.Errorf("save hash: %w", err)
	}
	return c, nil
}

// commit waits for the uploads in the order of the file, and makes a
// checkpoint of each part's end that is a cut.
func (f *file) commit(ctx context.Context) error {
	for {
		p, err := next(ctx, f.sealed)
		if err != nil || p == nil {
			return err
		}
		if _, err := next(ctx, p.done); err != nil {
			return err
		}
		if p.ETag == "" { // the upload failed, and ends the stream itself
			return nil
		}
		f.buffers <- p.data[:0]
		f.parts = append(f.parts, p.Part)
		f.pending = append(f.pending, p.Part)
		f.session.Extend(streamLimit)
		if p.cut == nil {
			continue
		}
		p.cut.Parts = f.pending
		if err := f.session.Commit(ctx, *p.cut); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
		f.pending = nil
	}
}

// drain stops the file at a cut: what fills a part that the store takes becomes
// one, less is dropped. It waits until what was sent has its checkpoints.
func (f *file) drain(ctx context.Context, committed <-chan struct{}) error {
	if f.endsRow && len(f.cur.data) >= f.e.parts.drain {
		if err := f.send(ctx, true); err != nil {
			return err
		}
	}
	close(f.sealed)
	if _, err := next(ctx, committed); err != nil {
		return err
	}
	return jobs.ErrDrained
}

// seal sends the last part of a multipart upload. A smaller file stays in its
// buffer, to be put whole.
func (f *file) seal(ctx context.Context) error {
	defer close(f.sealed)
	if f.total.BytesStored == 0 {
		empty, err := emptyMember()
		if err != nil {
			return err
		}
		return f.append(ctx, empty)
	}
	if f.upload.ID == "" || len(f.cur.data) == 0 {
		return nil
	}
	return f.send(ctx, false)
}

// finish writes the last cut: the row says completing, with all parts, before
// the object appears.
func (f *file) finish(ctx context.Context) error {
	if f.upload.ID == "" {
		if err := f.name(ctx); err != nil {
			return err
		}
		f.whole = f.closePart()
		f.parts = []jobs.Part{f.whole.Part}
		f.pending = f.parts
	}
	f.total.Final = true
	final, err := f.cut()
	if err != nil {
		return err
	}
	final.Parts = f.pending
	if err := f.session.Commit(ctx, final); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// publish makes the object appear at its key and compares it with what was
// sent. An upload that is gone was perhaps completed already, by an attempt that
// never heard of it; so was a file put whole, whose bytes are gone with that
// attempt. The object itself tells.
func (f *file) publish(ctx context.Context) error {
	gib := time.Duration(f.total.BytesStored >> 30)
	f.session.Step(jobs.Completing, completeLimit+gib*completeGiB)
	if !f.session.Holds() {
		return jobs.ErrFenced
	}
	var err error
	switch {
	case f.whole != nil:
		_, err = f.e.bucket.Put(ctx, f.upload.Key, contentType, f.whole.Part, f.whole.data)
	case f.upload.ID != "":
		err = f.e.bucket.Complete(ctx, f.upload, f.parts)
	}
	if err != nil && !errors.Is(err, jobs.ErrUploadGone) {
		return err
	}
	f.session.Step(jobs.Verifying, verifyLimit)
	f.proof, err = f.e.bucket.Verify(ctx, f.upload.Key, f.parts)
	return err
}

func (f *file) result(filename string) jobs.Result {
	return jobs.Result{
		Filename: filename, Rows: f.total.Rows, Bytes: f.total.BytesStored, BytesRaw: f.total.BytesRaw,
		SHA256: hex.EncodeToString(f.fileHash.Sum(nil)), SHA256Raw: hex.EncodeToString(f.rawHash.Sum(nil)),
		ContextsCut: f.total.ContextsCut, Skipped: f.total.SkippedRows, SkippedRows: f.allSkipped[:min(len(f.allSkipped), jobs.SkippedShown)],
		Deleted: f.total.Deleted, Appeared: f.total.Appeared,
	}
}
