package bucket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// SelfTest does once, with made-up bytes at key, what exports and downloads
// will ask of the store: puts, uploads unequal parts, joins and compares them,
// reads by a presigned link and by Range, deletes. Its error names the step
// that exports cannot do without. What they can do without, but an operator
// should know, comes back as lacks.
func (b *Bucket) SelfTest(ctx context.Context, key string) (lacks []string, err error) {
	t := &selfTest{b: b, upload: jobs.Upload{Key: key}}
	defer func() {
		if err != nil { // or the last step has deleted it
			_ = b.Discard(context.WithoutCancel(ctx), t.upload)
		}
	}()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"put an object", t.put}, {"upload parts of unequal size", t.parts}, {"keep what was sent", t.verify},
		{"give an object by a presigned link", t.presigned}, {"delete an object", t.delete},
	} {
		if err := step.do(ctx); err != nil {
			return t.lacks, fmt.Errorf("the object store cannot %s: %w", step.name, err)
		}
	}
	t.keeps(ctx)
	return t.lacks, nil
}

type selfTest struct {
	b      *Bucket
	upload jobs.Upload
	sent   []byte
	list   []jobs.Part
	lacks  []string
}

func (t *selfTest) lack(format string, args ...any) {
	t.lacks = append(t.lacks, fmt.Sprintf(format, args...))
}

func testPart(number, size int) (jobs.Part, []byte) {
	data := bytes.Repeat([]byte{byte('a' + number)}, size)
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
	return jobs.Part{Number: number, Bytes: int64(size), CRC32C: base64.StdEncoding.EncodeToString(sum)}, data
}

func (t *selfTest) put(ctx context.Context) error {
	p, data := testPart(1, 1000)
	_, err := t.b.Put(ctx, t.upload.Manifest(), "text/plain", p, data)
	return err
}

// least is the smallest part that S3 takes before the last.
const least = 5 << 20

func (t *selfTest) parts(ctx context.Context) (err error) {
	if t.upload.ID, err = t.b.Create(ctx, t.upload.Key); err != nil {
		return err
	}
	for i, size := range []int{least + 4321, least, 1000} {
		p, data := testPart(i+1, size)
		if p.ETag, err = t.b.PutPart(ctx, t.upload, p, data); err != nil {
			return err
		}
		t.sent = append(t.sent, data...)
		t.list = append(t.list, p)
	}
	return t.b.Complete(ctx, t.upload, t.list)
}

func (t *selfTest) verify(ctx context.Context) error {
	by, err := t.b.Verify(ctx, t.upload.Key, t.list)
	if err == nil && by != jobs.ByChecksum {
		t.lack("It tells no checksum of a file uploaded in parts: files are verified by their size and the parts' entity tags.")
	}
	return err
}

// presigned reads as a browser does that resumes a download.
func (t *selfTest) presigned(ctx context.Context) error {
	const from, to = least + 4000, least + 5000 // over the end of a part
	link, err := t.b.core.PresignedGetObject(ctx, t.b.cfg.Bucket, t.upload.Key, time.Minute, url.Values{
		"response-content-disposition": {"attachment; filename=self-test"},
	})
	if err != nil {
		return classify(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link.String(), nil)
	if err != nil {
		return errors.New("the link is no URL")
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return classify(err) // and leaves the link out
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, int64(len(t.sent))+1))
	if err != nil {
		return classify(err)
	}
	switch {
	case res.StatusCode == http.StatusPartialContent && bytes.Equal(body, t.sent[from:to]):
	case res.StatusCode == http.StatusOK && bytes.Equal(body, t.sent):
		t.lack("It does not answer Range: a download that breaks off starts anew.")
	default:
		return fmt.Errorf("%s, and %d bytes that are not what was sent", res.Status, len(body))
	}
	if !strings.Contains(res.Header.Get("Content-Disposition"), "self-test") {
		t.lack("It does not take a download's name from the link: files arrive under the last part of their key.")
	}
	return nil
}

func (t *selfTest) delete(ctx context.Context) error {
	if err := t.b.Discard(ctx, jobs.Upload{Key: t.upload.Key}); err != nil {
		return err
	}
	_, err := t.b.core.StatObject(ctx, t.b.cfg.Bucket, t.upload.Key, minio.StatObjectOptions{})
	if err == nil {
		return errors.New("it is still there")
	}
	if minio.ToErrorResponse(err).StatusCode != http.StatusNotFound {
		return classify(err)
	}
	return nil
}

// keeps looks for what keeps an object's bytes after it was deleted. A store
// that knows neither versions nor locks may refuse the question.
func (t *selfTest) keeps(ctx context.Context) {
	versions, err := t.b.core.GetBucketVersioning(ctx, t.b.cfg.Bucket)
	switch {
	case err != nil:
		t.lack("It does not tell whether the bucket keeps old versions; if it does, deleting an export leaves its data there.")
	case versions.Status != "":
		t.lack("The bucket keeps old versions (versioning is %s): deleting an export leaves its data there. Switch versioning off, or let a lifecycle rule remove noncurrent versions.", versions.Status)
	}
	if lock, _, _, _, err := t.b.core.GetObjectLockConfig(ctx, t.b.cfg.Bucket); err == nil && lock == "Enabled" {
		t.lack("The bucket has object lock: exports may be impossible to delete when their time is over. Use a bucket without.")
	}
}
