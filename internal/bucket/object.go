package bucket

import (
	"cmp"
	"context"
	"io"

	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Open implements jobs.Files. Each Seek to another place lets the next Read ask
// the store anew, from there on; an object that was replaced meanwhile is not
// read. Reading ends with ctx.
func (b *Bucket) Open(ctx context.Context, key string) (jobs.Object, error) {
	o, err := b.core.Client.GetObject(ctx, b.cfg.Bucket, key, minio.GetObjectOptions{})
	if err != nil {
		return jobs.Object{}, classify(err)
	}
	info, err := o.Stat()
	if err != nil {
		_ = o.Close()
		if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
			return jobs.Object{}, jobs.ErrGone
		}
		return jobs.Object{}, classify(err)
	}
	return jobs.Object{
		ReadSeekCloser: object{o},
		Type:           cmp.Or(info.ContentType, "application/octet-stream"),
		ETag:           `"` + info.ETag + `"`,
		Modified:       info.LastModified,
	}, nil
}

// object is open in the store. Its errors are classified: none names an address.
type object struct{ o *minio.Object }

func (o object) Read(p []byte) (int, error) {
	n, err := o.o.Read(p)
	if err == io.EOF { // itself: a connection that was lost may wrap it
		return n, err
	}
	return n, classify(err)
}

func (o object) Seek(offset int64, whence int) (int64, error) {
	at, err := o.o.Seek(offset, whence)
	return at, classify(err)
}

func (o object) Close() error { return classify(o.o.Close()) }
