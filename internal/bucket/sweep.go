package bucket

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Shelf is all that this service keeps below a prefix of the bucket, for the
// sweeper.
type Shelf struct {
	*Bucket
	Prefix string
}

var _ jobs.Shelf = Shelf{}

// exports is what stands between the prefix and a job's id in every key.
const exports = "exports/"

// ownerLimit bounds what is read of the owner's mark, in bytes.
const ownerLimit = 1 << 10

func (s Shelf) mark() string { return s.Prefix + ".owner" }

// Owner implements jobs.Shelf.
func (s Shelf) Owner(ctx context.Context) (string, error) {
	object, _, _, err := s.core.GetObject(ctx, s.cfg.Bucket, s.mark(), minio.GetObjectOptions{})
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return "", nil
	}
	if err != nil {
		return "", classify(err)
	}
	defer object.Close()
	id, err := io.ReadAll(io.LimitReader(object, ownerLimit))
	return strings.TrimSpace(string(id)), classify(err)
}

// Claim implements jobs.Shelf.
func (s Shelf) Claim(ctx context.Context, installation string) error {
	_, err := s.core.PutObject(ctx, s.cfg.Bucket, s.mark(), bytes.NewReader([]byte(installation)), int64(len(installation)), "", "",
		minio.PutObjectOptions{ContentType: "text/plain"})
	return classify(err)
}

// List implements jobs.Shelf. Keys that are not of our pattern are not handed
// over: somebody else put them there.
func (s Shelf) List(ctx context.Context, each func(jobs.Stray)) error {
	for o := range s.core.ListObjectsIter(ctx, s.cfg.Bucket, minio.ListObjectsOptions{Prefix: s.Prefix + exports, Recursive: true}) {
		if o.Err != nil {
			return classify(o.Err)
		}
		if name, ok := s.name(o.Key); ok {
			each(jobs.Stray{UploadName: name, Key: o.Key, At: o.LastModified})
		}
	}
	for u := range s.core.ListIncompleteUploads(ctx, s.cfg.Bucket, s.Prefix+exports, true) {
		if u.Err != nil {
			return classify(u.Err)
		}
		if name, ok := s.name(u.Key); ok {
			each(jobs.Stray{UploadName: name, Key: u.Key, UploadID: u.UploadID, At: u.Initiated})
		}
	}
	return ctx.Err()
}

// name reads a key: exports/{job}/{nonce}/{file}.
func (s Shelf) name(key string) (n jobs.UploadName, ok bool) {
	rest, ours := strings.CutPrefix(key, s.Prefix+exports)
	parts := strings.Split(rest, "/")
	if !ours || len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return n, false
	}
	return jobs.UploadName{Job: parts[0], Nonce: parts[1]}, true
}

// Remove implements jobs.Shelf.
func (s Shelf) Remove(ctx context.Context, f jobs.Stray) error {
	if f.UploadID == "" {
		return classify(s.core.RemoveObject(ctx, s.cfg.Bucket, f.Key, minio.RemoveObjectOptions{}))
	}
	err := s.core.AbortMultipartUpload(ctx, s.cfg.Bucket, f.Key, f.UploadID)
	if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
		return fmt.Errorf("abort: %w", classify(err))
	}
	return nil
}
