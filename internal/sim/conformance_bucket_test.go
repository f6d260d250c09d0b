package sim

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	s3 "github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// TestBucketIsTheStore does the same to the stand-in of the object store and to
// a real one, in random sequences, and compares every answer.
func TestBucketIsTheStore(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	real, err := s3.Open(s3.Config{
		Endpoint: testenv.Var(t, "S3_ENDPOINT"), Region: testenv.Var(t, "S3_REGION"), PathStyle: true,
		AccessKeyID: testenv.Var(t, "S3_ACCESS_KEY_ID"), SecretKey: testenv.Var(t, "S3_SECRET_ACCESS_KEY"), Bucket: w.Bucket,
	})
	if err != nil {
		t.Fatal(err)
	}
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		world := newWorld(0)
		world.table.create(&row{id: "job0"})
		p := &shelves{real: real, standIn: world.bucket, run: run}
		t.Repeat(map[string]func(*rapid.T){
			"create": p.create, "part": p.part, "parts": p.part, "complete": p.complete, "completed": p.complete,
			"put": p.put, "verify": p.verify, "discard": p.discard,
		})
	})
}

// shelves are a store and its stand-in.
type shelves struct {
	real    *s3.Bucket
	standIn *bucket
	run     int
	uploads []*twoUploads
}

// twoUploads are one upload on both sides, open or gone; sent is what was
// uploaded under each number, stale what stood there before.
type twoUploads struct {
	there, here jobs.Upload
	sent, stale map[int]twoParts
}

type twoParts struct{ there, here jobs.Part }

// content of a part: S3 takes less than 5 MiB in the last one only.
func content(number int, s span) []byte {
	size := 9
	if number == 1 {
		size = 5 << 20
	}
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, uint64(s.from)), size/8+1)
}

func described(number int, data []byte) jobs.Part {
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return jobs.Part{Number: number, Bytes: int64(len(data)),
		CRC32C: base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))}
}

// gone says whether an error means that what was asked for is not there.
func gone(t *rapid.T, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, jobs.ErrUploadGone) {
		t.Fatal(err)
	}
	return err != nil
}

func (p *shelves) any(t *rapid.T) *twoUploads {
	if len(p.uploads) == 0 {
		t.Skip("no upload yet")
	}
	return rapid.SampledFrom(p.uploads).Draw(t, "upload")
}

func (p *shelves) create(t *rapid.T) {
	nonce := fmt.Sprintf("job0-%d", len(p.uploads))
	u := jobs.Upload{Nonce: nonce, Key: fmt.Sprintf("exports/%d/%s/file", p.run, nonce)}
	id, err := p.real.Create(context.Background(), u.Key)
	if err != nil {
		t.Fatal(err)
	}
	both := &twoUploads{there: u, here: u, sent: make(map[int]twoParts), stale: make(map[int]twoParts)}
	both.there.ID, both.here.ID = id, p.standIn.create(u.Key)
	p.uploads = append(p.uploads, both)
}

func (p *shelves) part(t *rapid.T) {
	u := p.any(t)
	n := rapid.SampledFrom([]int{1, 2, 2, 2, 3, 3}).Draw(t, "number")
	s := span{rapid.Int64Range(0, 2).Draw(t, "content"), 9}
	data := content(n, s)
	there := described(n, data)
	here := there
	var err, other error
	there.ETag, err = p.putPart(u.there, there, data)
	here.ETag, other = p.standIn.putPart(u.here.ID, n, s)
	same(t, "part", gone(t, err), gone(t, other))
	if err == nil {
		if former, ok := u.sent[n]; ok && former.here.ETag != here.ETag {
			u.stale[n] = former
		}
		u.sent[n] = twoParts{there, here}
	}
}

// putPart asks again where the store hung up: who refuses a part need not read
// it, and the answer may then be lost with the connection.
func (p *shelves) putPart(u jobs.Upload, part jobs.Part, data []byte) (etag string, err error) {
	for range 10 {
		etag, err = p.real.PutPart(context.Background(), u, part, data)
		if errors.Is(err, jobs.ErrUploadGone) || !jobs.IsTransient(err) {
			break
		}
	}
	return etag, err
}

// parts draws a list that a worker may believe in: ascending, all sent once,
// one of them perhaps replaced since.
func (u *twoUploads) parts(t *rapid.T) (there, here []jobs.Part) {
	numbers := slices.Sorted(maps.Keys(u.sent))
	if len(numbers) > 2 || len(numbers) == 2 && numbers[0] == 2 {
		numbers = slices.Delete(numbers, 1, 2) // a gap, as after a resume
	}
	if len(numbers) == 0 {
		t.Skip("no part yet")
	}
	for _, n := range numbers {
		both := u.sent[n]
		if stale, ok := u.stale[n]; ok && rapid.IntRange(0, 3).Draw(t, "stale") == 0 {
			both = stale
		}
		there, here = append(there, both.there), append(here, both.here)
	}
	return there, here
}

func (p *shelves) complete(t *rapid.T) {
	u := p.any(t)
	there, here := u.parts(t)
	_, open := p.standIn.uploads[u.here.ID]
	_, stands := p.standIn.objects[u.here.Key]
	err, other := p.real.Complete(context.Background(), u.there, there), p.standIn.complete(u.here.ID, here)
	// Where the upload is gone and an object stands, a store may answer as if it
	// were that upload's (a repeated completion): what stands there decides.
	if open || !stands {
		same(t, "complete", gone(t, err), gone(t, other))
	}
	p.compare(t, u, there, here)
}

func (p *shelves) put(t *rapid.T) {
	u := p.any(t)
	s := span{rapid.Int64Range(3, 5).Draw(t, "content"), 9} // none of the parts
	data := content(2, s)
	if _, err := p.real.Put(context.Background(), u.there.Key, "application/gzip", described(1, data), data); err != nil {
		t.Fatal(err)
	}
	p.standIn.put(u.here.Key, s)
}

func (p *shelves) verify(t *rapid.T) {
	u := p.any(t)
	there, here := u.parts(t)
	p.compare(t, u, there, here)
}

func (p *shelves) compare(t *rapid.T, u *twoUploads, there, here []jobs.Part) {
	t.Helper()
	_, err := p.real.Verify(context.Background(), u.there.Key, there)
	same(t, "verify", gone(t, err), gone(t, p.standIn.verify(u.here.Key, here)))
}

func (p *shelves) discard(t *rapid.T) {
	u := p.any(t)
	if err := p.real.Discard(context.Background(), u.there); err != nil {
		t.Fatal(err)
	}
	p.standIn.discard(u.here)
}
