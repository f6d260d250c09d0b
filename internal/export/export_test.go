package export_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// rows is a source of made-up rows: the i-th has sizes[i] bytes of noise.
type rows struct {
	sizes  []int
	failAt int64 // the id at which reading fails; 0 never
	lost   int64 // the id of a row that is counted and not returned
}

var errSource = errors.New("the source failed")

func (r rows) Plan(_ context.Context, _ jobs.Spec, in jobs.Range) (jobs.Plan, error) {
	var p jobs.Plan
	for id := max(0, in.After) + 1; id <= min(in.To, int64(len(r.sizes))); id++ {
		if p.Rows%7 == 0 {
			p.Windows = append(p.Windows, jobs.Window{After: id - 1})
		}
		w := &p.Windows[len(p.Windows)-1]
		w.To, w.Rows = id, w.Rows+1
		p.Rows++
	}
	p.Membership.HighWater = int64(len(r.sizes))
	// A window whose rows were all deleted since the plan.
	p.Windows = append(p.Windows, jobs.Window{After: int64(len(r.sizes)), To: int64(len(r.sizes) + 10)})
	return p, nil
}

func (r rows) Read(ctx context.Context, _ jobs.Spec, w jobs.Window, to jobs.Rows) (got jobs.Reading, err error) {
	to.Begin()
	for id := w.After + 1; id <= w.To && id <= int64(len(r.sizes)); id++ {
		if id == r.failAt {
			return got, errSource
		}
		got.Counted++
		if id == r.lost {
			continue
		}
		if err := to.Row(ctx, r.row(id)); err != nil {
			return got, err
		}
	}
	return got, ctx.Err()
}

func (r rows) row(id int64) jobs.Row {
	number := binary.BigEndian.AppendUint64(nil, uint64(id))
	return jobs.Row{number, number, []byte("c"), []byte("p"), nil, noise(id, r.sizes[id-1])}
}

// noise is a JSON string that gzip cannot make much smaller.
func noise(seed int64, n int) []byte {
	b := make([]byte, 0, n+2)
	b = append(b, '"')
	for at := int(seed) * 7919 % len(block); n > 0; at = 0 {
		piece := block[at:min(len(block), at+n)]
		b = append(b, piece...)
		n -= len(piece)
	}
	return append(b, '"')
}

// block is long enough that gzip does not see it repeat.
var block = func() []byte {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	rng := rand.New(rand.NewPCG(1, 1))
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = letters[rng.IntN(len(letters))]
	}
	return b
}()

// store keeps objects and open uploads in memory, and checks the order of things.
type store struct {
	t  *testing.T
	mu sync.Mutex
	// failPart is the number of the part whose upload fails; slow holds part 1
	// back until part 2 is there.
	failPart int
	slow     bool
	second   chan struct{}

	named    bool // the row names the upload
	uploaded map[int][]byte
	object   []byte
	cuts     []jobs.Cut
	parts    []jobs.Part // committed
	dropped  int
	ending   *jobs.Ending
	beside   []string // keys put beside the file
}

var errStore = errors.New("the store failed")

func (s *store) Create(context.Context, string) (string, error) { return "upload", nil }

func (s *store) PutPart(_ context.Context, _ jobs.Upload, p jobs.Part, data []byte) (string, error) {
	if s.slow && p.Number == 1 {
		<-s.second
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.named {
		s.t.Error("bytes were sent before the row named the upload")
	}
	if p.Number == s.failPart {
		return "", errStore
	}
	s.uploaded[p.Number] = bytes.Clone(data)
	if p.Number == 2 && s.slow {
		close(s.second)
	}
	return fmt.Sprint("etag-", p.Number), nil
}

func (s *store) Complete(_ context.Context, _ jobs.Upload, parts []jobs.Part) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cuts) == 0 || !s.cuts[len(s.cuts)-1].Final {
		s.t.Error("completed before the row said so")
	}
	for i, p := range parts {
		if p.Number != i+1 || p.ETag != fmt.Sprint("etag-", i+1) {
			s.t.Errorf("part %d is %+v", i+1, p)
		}
		s.object = append(s.object, s.uploaded[p.Number]...)
	}
	return nil
}

func (s *store) Put(_ context.Context, key, _ string, _ jobs.Part, data []byte) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key != "x/exports/j/n/data.jsonl.gz" {
		if s.object == nil {
			s.t.Errorf("%s was written before the file was there", key)
		}
		s.beside = append(s.beside, key)
		return "etag", nil
	}
	if len(s.cuts) != 1 || !s.cuts[0].Final || !s.named {
		s.t.Error("put before the row said so")
	}
	s.object = bytes.Clone(data)
	return "etag", nil
}

func (s *store) Verify(_ context.Context, _ string, parts []jobs.Part) (jobs.Proof, error) {
	var n int64
	for _, p := range parts {
		n += p.Bytes
	}
	if n != int64(len(s.object)) {
		s.t.Errorf("%d bytes in parts, %d in the object", n, len(s.object))
	}
	return jobs.ByChecksum, nil
}

func (s *store) Discard(context.Context, jobs.Upload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped++
	return nil
}

// The row's side.

func (s *store) Claim(_ context.Context, t jobs.Ticket, _ string, _ time.Duration) (jobs.Claim, bool, error) {
	return jobs.Claim{
		Job:   jobs.Job{ID: t.Job, Spec: jobs.Spec{Project: "p", Kind: jobs.Conversations}},
		Fence: jobs.Fence{Job: t.Job, Attempt: 1},
	}, true, nil
}

func (s *store) Renew(context.Context, jobs.Fence, jobs.Beat) (bool, error) { return false, nil }

func (s *store) BeginUpload(context.Context, jobs.Fence, jobs.Upload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named = true
	return nil
}

// Commit checks a cut against what is uploaded at that moment.
func (s *store) Commit(_ context.Context, _ jobs.Fence, c jobs.Cut) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts = append(s.parts, c.Parts...)
	var prefix []byte
	for i, p := range s.parts {
		if p.Number != i+1 {
			s.t.Errorf("a cut over parts with a gap: %+v", s.parts)
		}
		prefix = append(prefix, s.uploaded[p.Number]...)
	}
	if !c.Final {
		s.check(c, prefix)
	}
	s.cuts = append(s.cuts, c)
	return nil
}

// check compares a cut with the bytes that it claims.
func (s *store) check(c jobs.Cut, prefix []byte) {
	if int64(len(prefix)) != c.BytesStored {
		s.t.Errorf("a cut at %d bytes, %d are uploaded", c.BytesStored, len(prefix))
		return
	}
	text := gunzip(s.t, prefix)
	if int64(len(text)) != c.BytesRaw || int64(strings.Count(text, "\n")) != c.Rows || !strings.HasSuffix(text, "\n") {
		s.t.Errorf("a cut at %d rows and %d raw bytes; uploaded are %d and %d", c.Rows, c.BytesRaw, strings.Count(text, "\n"), len(text))
	}
	last := text[strings.LastIndex(strings.TrimSuffix(text, "\n"), "\n")+1:]
	if !strings.HasPrefix(last, fmt.Sprintf(`{"id":%d,`, c.LastID)) {
		s.t.Errorf("a cut at id %d, the last line is %.30s", c.LastID, last)
	}
	for name, pair := range map[string]struct {
		state []byte
		data  string
	}{"file": {c.FileHash, string(prefix)}, "raw": {c.RawHash, text}} {
		h := sha256.New()
		if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(pair.state); err != nil {
			s.t.Errorf("%s hash: %v", name, err)
		} else if want := sha256.Sum256([]byte(pair.data)); !bytes.Equal(h.Sum(nil), want[:]) {
			s.t.Errorf("the %s hash at a cut is not that of what is uploaded", name)
		}
	}
}

func (s *store) End(_ context.Context, _ jobs.Fence, e jobs.Ending) (jobs.State, error) {
	s.ending = &e
	return e.State, nil
}

func gunzip(t *testing.T, b []byte) string {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Error(err)
		return ""
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// run exports all rows through a real Runner.
func run(t *testing.T, r rows, s *store) jobs.Ending {
	t.Helper()
	return runWith(t, exporter(r, s), s)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func exporter(r export.Source, s *store) *export.Exporter {
	return export.New(r, s, export.Options{Prefix: "x/", Readers: 2, GzipLevel: 1, NewNonce: func() string { return "n" }, Log: quiet})
}

func runWith(t *testing.T, x *export.Exporter, s *store) jobs.Ending {
	t.Helper()
	s.t, s.uploaded, s.second = t, map[int][]byte{}, make(chan struct{})
	env := jobs.Env{Now: time.Now, Jitter: func() float64 { return 0 }, Log: quiet}
	jobs.NewRunner(s, x, env, jobs.RunnerOptions{Worker: "w", Slots: map[jobs.Lane]int{jobs.Large: 1}, Freed: func() {}}).
		Handle(jobs.Ticket{Job: "j", Lane: jobs.Large})
	if s.ending == nil {
		t.Fatal("the attempt has no ending")
	}
	return *s.ending
}

// want checks a success against the rows.
func want(t *testing.T, r rows, s *store, e jobs.Ending) {
	t.Helper()
	if e.State != jobs.Succeeded {
		t.Fatalf("%+v", e)
	}
	text := gunzip(t, s.object)
	i := int64(0)
	for line := range strings.Lines(text) {
		i++
		if !strings.HasPrefix(line, fmt.Sprintf(`{"id":%d,`, i)) || !strings.HasSuffix(line, `"convo":`+string(noise(i, r.sizes[i-1]))+"}\n") {
			t.Fatalf("line %d is not row %d", i, i)
		}
	}
	file, raw := sha256.Sum256(s.object), sha256.Sum256([]byte(text))
	got := *e.Result
	if i != int64(len(r.sizes)) || got.Rows != i || got.Bytes != int64(len(s.object)) || got.BytesRaw != int64(len(text)) ||
		got.SHA256 != hex.EncodeToString(file[:]) || got.SHA256Raw != hex.EncodeToString(raw[:]) {
		t.Errorf("%d lines in %d bytes, result %+v", i, len(s.object), got)
	}
}

func repeat(n, size int) []int {
	sizes := make([]int, n)
	for i := range sizes {
		sizes[i] = size
	}
	return sizes
}

func TestSmallFileIsPutWhole(t *testing.T) {
	for _, sizes := range [][]int{{}, {0}, {1, 2, 3}, repeat(100, 1000), {5 << 20}} {
		s := &store{}
		e := run(t, rows{sizes: sizes}, s)
		want(t, rows{sizes: sizes}, s, e)
		if len(s.uploaded) != 0 {
			t.Errorf("%d parts for %d rows", len(s.uploaded), len(sizes))
		}
	}
}

func TestParts(t *testing.T) {
	r := rows{sizes: repeat(600, 100<<10)}
	s := &store{slow: true} // the parts arrive in another order
	e := run(t, r, s)
	want(t, r, s, e)
	if len(s.uploaded) < 3 || len(s.cuts) < 3 {
		t.Errorf("%d parts and %d cuts show nothing", len(s.uploaded), len(s.cuts))
	}
	for _, p := range s.parts[:len(s.parts)-1] {
		if p.Bytes < 16<<20 {
			t.Errorf("part %d has %d bytes", p.Number, p.Bytes)
		}
	}
}

// Rows that spread over two chunks make cuts all the same: a part waits for the
// end of a row that is near.
func TestPartsEndWithRows(t *testing.T) {
	r := rows{sizes: repeat(60, 1<<20)}
	s := &store{}
	want(t, r, s, run(t, r, s))
	if len(s.uploaded) < 3 || len(s.cuts) < len(s.uploaded) {
		t.Errorf("%d parts, %d cuts", len(s.uploaded), len(s.cuts))
	}
}

// A row larger than parts lies over several; none of their ends is a cut but
// the one that ends with it.
func TestRowLargerThanAPart(t *testing.T) {
	r := rows{sizes: []int{100, 60 << 20, 100, 25 << 20, 100}}
	s := &store{}
	e := run(t, r, s)
	want(t, r, s, e)
	if len(s.uploaded) <= len(s.cuts) {
		t.Errorf("%d parts, %d cuts", len(s.uploaded), len(s.cuts))
	}
}

func TestFailures(t *testing.T) {
	r := rows{sizes: repeat(600, 100<<10)}
	t.Run("a part", func(t *testing.T) {
		s := &store{failPart: 2}
		if e := run(t, r, s); e.State != jobs.Queued || e.Failure == nil || s.object != nil {
			t.Errorf("%+v", e)
		}
		for _, c := range s.cuts {
			if c.Final || len(s.parts) > 1 {
				t.Errorf("a cut behind the part that failed: %+v", s.parts)
			}
		}
	})
	t.Run("a row is counted but not returned", func(t *testing.T) {
		s := &store{}
		e := run(t, rows{sizes: repeat(20, 100), lost: 11}, s)
		if e.State != jobs.Queued || e.Failure.Code != jobs.CodeInconsistent || s.object != nil {
			t.Errorf("%+v", e)
		}
	})
	t.Run("the source", func(t *testing.T) {
		s := &store{}
		if e := run(t, rows{sizes: r.sizes, failAt: 400}, s); e.State != jobs.Queued || e.Failure == nil || s.object != nil {
			t.Errorf("%+v", e)
		}
	})
}
