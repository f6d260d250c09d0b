// Package bucket keeps exports in an S3 bucket: multipart uploads with a
// checksum on every part, whole puts, and presigned links.
package bucket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Config names a bucket and how to reach it.
type Config struct {
	Endpoint       string // URL
	PublicEndpoint string // URL that browsers reach; empty: Endpoint
	Region         string
	PathStyle      bool
	AccessKeyID    string // empty: the IAM chain of the machine
	SecretKey      string
	Bucket         string
}

// Bucket is one bucket.
type Bucket struct {
	cfg    Config
	core   *minio.Core
	public *minio.Client // signs for the address that browsers use
}

var _ jobs.Files = (*Bucket)(nil)

// contentType of every export.
const contentType = "application/gzip"

// Open makes a Bucket. It does not connect yet. An error begins with the setting
// that is wrong, without what its name begins with.
func Open(cfg Config) (*Bucket, error) {
	private, err := client(cfg, cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("ENDPOINT: %w", err)
	}
	public := private
	if cfg.PublicEndpoint != "" && cfg.PublicEndpoint != cfg.Endpoint {
		if public, err = client(cfg, cfg.PublicEndpoint); err != nil {
			return nil, fmt.Errorf("PUBLIC_ENDPOINT: %w", err)
		}
	}
	return &Bucket{cfg: cfg, core: &minio.Core{Client: private}, public: public}, nil
}

func client(cfg Config, endpoint string) (*minio.Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("must be a URL such as https://s3.example.org")
	}
	creds := credentials.NewIAM("")
	if cfg.AccessKeyID != "" {
		creds = credentials.NewStaticV4(cfg.AccessKeyID, cfg.SecretKey, "")
	}
	lookup := minio.BucketLookupDNS
	if cfg.PathStyle {
		lookup = minio.BucketLookupPath
	}
	secure := u.Scheme == "https"
	transport, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	// Completing a large upload may take minutes; the caller's context decides.
	transport.ResponseHeaderTimeout = 0
	transport.DisableCompression = true
	return minio.New(u.Host, &minio.Options{Creds: creds, Secure: secure, Region: cfg.Region, BucketLookup: lookup, Transport: transport})
}

// Ping reports whether the bucket is there.
func (b *Bucket) Ping(ctx context.Context) error {
	ok, err := b.core.BucketExists(ctx, b.cfg.Bucket)
	if err == nil && !ok {
		err = errors.New("the bucket does not exist")
	}
	return classify(err)
}

// Create begins a multipart upload and returns its id.
func (b *Bucket) Create(ctx context.Context, key string) (string, error) {
	id, err := b.core.NewMultipartUpload(ctx, b.cfg.Bucket, key, minio.PutObjectOptions{
		ContentType:  contentType,
		UserMetadata: map[string]string{"X-Amz-Checksum-Algorithm": "CRC32C"},
	})
	return id, classify(err)
}

// PutPart uploads one part; the store checks it against its CRC32C.
func (b *Bucket) PutPart(ctx context.Context, u jobs.Upload, p jobs.Part, data []byte) (etag string, err error) {
	sent, err := b.core.PutObjectPart(ctx, b.cfg.Bucket, u.Key, u.ID, p.Number, bytes.NewReader(data), int64(len(data)),
		minio.PutObjectPartOptions{CustomHeader: http.Header{"X-Amz-Checksum-Crc32c": {p.CRC32C}}, DisableContentSha256: true})
	return sent.ETag, classify(err)
}

// Complete joins the parts. Repeating it is harmless where the store allows it.
func (b *Bucket) Complete(ctx context.Context, u jobs.Upload, parts []jobs.Part) error {
	list := make([]minio.CompletePart, len(parts))
	for i, p := range parts {
		list[i] = minio.CompletePart{PartNumber: p.Number, ETag: p.ETag, ChecksumCRC32C: p.CRC32C}
	}
	_, err := b.core.CompleteMultipartUpload(ctx, b.cfg.Bucket, u.Key, u.ID, list, minio.PutObjectOptions{})
	return classify(err)
}

// Put writes a small object whole.
func (b *Bucket) Put(ctx context.Context, key, contentType string, p jobs.Part, data []byte) (etag string, err error) {
	info, err := b.core.PutObject(ctx, b.cfg.Bucket, key, bytes.NewReader(data), int64(len(data)), "", "", minio.PutObjectOptions{
		ContentType:          contentType,
		UserMetadata:         map[string]string{"X-Amz-Checksum-Crc32c": p.CRC32C},
		DisableContentSha256: true,
	})
	return info.ETag, classify(err)
}

// Verify compares the object that stands at key now with the parts that were
// sent: its size, and its checksum where the store tells one. It is
// jobs.ErrUploadGone where no object stands, or another.
func (b *Bucket) Verify(ctx context.Context, key string, parts []jobs.Part) (jobs.Proof, error) {
	info, err := b.core.StatObject(ctx, b.cfg.Bucket, key, minio.StatObjectOptions{Checksum: true})
	if err != nil {
		return "", classify(err)
	}
	var size int64
	for _, p := range parts {
		size += p.Bytes
	}
	if info.Size != size {
		return "", mismatch(fmt.Sprintf("object has %d bytes, %d were sent", info.Size, size))
	}
	// A composite checksum ends in the number of parts; one of the whole object does not.
	sum, _, composite := strings.Cut(info.ChecksumCRC32C, "-")
	if sum == "" || (!composite && len(parts) != 1) {
		return jobs.BySize, nil
	}
	if want := parts[0].CRC32C; (!composite && sum != want) || (composite && sum != compositeSum(parts)) {
		return "", mismatch("object has another checksum than what was sent")
	}
	return jobs.ByChecksum, nil
}

func mismatch(how string) error {
	return jobs.Transient(jobs.CodeStore, "The file that the object store kept is not the one that was sent.",
		fmt.Errorf("%w: %s", jobs.ErrUploadGone, how))
}

// Discard aborts an upload and deletes its object and what stands beside it.
// None of them need exist.
func (b *Bucket) Discard(ctx context.Context, u jobs.Upload) error {
	if u.ID != "" {
		err := b.core.AbortMultipartUpload(ctx, b.cfg.Bucket, u.Key, u.ID)
		if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
			return classify(err)
		}
	}
	for _, key := range []string{u.Key, u.Manifest(), u.Checksums()} {
		if err := b.core.RemoveObject(ctx, b.cfg.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
			return classify(err)
		}
	}
	return nil
}

// Presign implements jobs.Files. The type is the one that the object was put with.
func (b *Bucket) Presign(ctx context.Context, key, filename string, ttl time.Duration) (jobs.Link, error) {
	expires := time.Now().Add(ttl)
	u, err := b.public.PresignedGetObject(ctx, b.cfg.Bucket, key, ttl, url.Values{
		"response-content-disposition": {mime.FormatMediaType("attachment", map[string]string{"filename": filename})},
		"response-cache-control":       {"private, no-store"},
	})
	if err != nil {
		return jobs.Link{}, classify(err)
	}
	return jobs.Link{URL: u.String(), ExpiresAt: expires.UTC().Truncate(time.Second)}, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// compositeSum is S3's checksum of a multipart object: the CRC32C over the
// parts' own checksums.
func compositeSum(parts []jobs.Part) string {
	var all []byte
	for _, p := range parts {
		sum, err := base64.StdEncoding.DecodeString(p.CRC32C)
		if err != nil {
			return ""
		}
		all = append(all, sum...)
	}
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(all, castagnoli)))
}

// classify sorts the store's errors: a store without room gets some soon, by the
// sweeper or by who operates it; what it refuses by rule is permanent,
// everything else (network, 5xx, slow down) passes.
func classify(err error) error {
	if err == nil {
		return nil
	}
	res := minio.ToErrorResponse(err)
	if full(res) {
		return jobs.Transient(jobs.CodeStoreFull, "The object store has no room left.",
			&jobs.Unavailable{Dependency: "the object store", Err: fmt.Errorf("object store: %s (%d)", res.Code, res.StatusCode)})
	}
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return jobs.Permanent(jobs.CodeStoreDenied, "The object store refused this service.", true,
			fmt.Errorf("object store: %s (%d)", res.Code, res.StatusCode))
	case 0: // no answer: a signed address may stand in the error's text
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
	default:
		err = fmt.Errorf("object store: %s (%d)", res.Code, res.StatusCode)
		switch res.Code {
		case minio.NoSuchUpload, minio.NoSuchKey, minio.InvalidPart:
			err = fmt.Errorf("%w: %w", jobs.ErrUploadGone, err)
		}
	}
	return jobs.Transient(jobs.CodeStore, "The object store did not answer as it should.",
		&jobs.Unavailable{Dependency: "the object store", Err: err})
}

// full reports whether a store refuses for want of space. S3 has no code for it:
// these are those of Ceph, MinIO and versitygw.
func full(res minio.ErrorResponse) bool {
	return res.StatusCode == http.StatusInsufficientStorage ||
		strings.Contains(res.Code, "QuotaExceeded") || strings.Contains(res.Code, "StorageFull") || res.Code == "InsufficientStorage"
}
