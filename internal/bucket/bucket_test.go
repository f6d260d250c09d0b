package bucket_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func config(t *testing.T, w *testenv.World) bucket.Config {
	return bucket.Config{
		Endpoint: testenv.Var(t, "S3_ENDPOINT"), Region: testenv.Var(t, "S3_REGION"), PathStyle: true,
		AccessKeyID: testenv.Var(t, "S3_ACCESS_KEY_ID"), SecretKey: testenv.Var(t, "S3_SECRET_ACCESS_KEY"), Bucket: w.Bucket,
	}
}

func open(t *testing.T) (*bucket.Bucket, *testenv.World) {
	t.Helper()
	w := testenv.New(t)
	b, err := bucket.Open(config(t, w))
	if err != nil {
		t.Fatal(err)
	}
	return b, w
}

func part(n int, data []byte) jobs.Part {
	sum := crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli))
	return jobs.Part{Number: n, Bytes: int64(len(data)), CRC32C: base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))}
}

func noise(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMultipart(t *testing.T) {
	b, w := open(t)
	must(t, b.Ping(t.Context()))
	u := jobs.Upload{Key: "exports/j/n/data.jsonl.gz"}
	var err error
	u.ID, err = b.Create(t.Context(), u.Key)
	must(t, err)

	var whole []byte
	var parts []jobs.Part
	for i, n := range []int{5 << 20, 6 << 20, 1000} { // unequal, the last one small
		data := noise(t, n)
		p := part(i+1, data)
		p.ETag, err = b.PutPart(t.Context(), u, p, data)
		must(t, err)
		parts = append(parts, p)
		whole = append(whole, data...)
	}
	if _, err := b.Verify(t.Context(), u.Key, parts); err == nil {
		t.Error("an object stands there before it is complete")
	}
	must(t, b.Complete(t.Context(), u, parts))
	proved(t, b, u.Key, parts)

	o, err := w.S3.GetObject(t.Context(), w.Bucket, u.Key, minio.GetObjectOptions{})
	must(t, err)
	got, err := io.ReadAll(o)
	must(t, err)
	if !bytes.Equal(got, whole) {
		t.Error("the object is not what was sent")
	}
	parts[1].CRC32C = parts[0].CRC32C
	if _, err := b.Verify(t.Context(), u.Key, parts); err == nil {
		t.Error("another checksum was taken for right")
	}
	parts[1].Bytes++
	if _, err := b.Verify(t.Context(), u.Key, parts); err == nil {
		t.Error("another size was taken for right")
	}
}

func TestDamagedPartIsRefused(t *testing.T) {
	b, _ := open(t)
	u := jobs.Upload{Key: "k"}
	var err error
	u.ID, err = b.Create(t.Context(), u.Key)
	must(t, err)
	data := noise(t, 5<<20)
	p := part(1, data)
	data[77] ^= 1
	if _, err := b.PutPart(t.Context(), u, p, data); err == nil {
		t.Error("a damaged part was taken")
	}
	if _, err := b.Put(t.Context(), "small", "application/gzip", p, data); err == nil {
		t.Error("a damaged object was taken")
	}
}

func TestDiscard(t *testing.T) {
	b, w := open(t)
	u := jobs.Upload{Key: "k"}
	var err error
	u.ID, err = b.Create(t.Context(), u.Key)
	must(t, err)
	data := noise(t, 5<<20)
	p := part(1, data)
	p.ETag, err = b.PutPart(t.Context(), u, p, data)
	must(t, err)
	must(t, b.Discard(t.Context(), u))
	must(t, b.Discard(t.Context(), u)) // nothing is there any more
	if err := b.Complete(t.Context(), u, []jobs.Part{p}); err == nil {
		t.Error("a discarded upload was completed")
	}

	_, err = b.Put(t.Context(), "small", "application/gzip", part(1, data), data)
	must(t, err)
	proved(t, b, "small", []jobs.Part{part(1, data)})
	must(t, b.Discard(t.Context(), jobs.Upload{Key: "small"}))
	for o := range w.S3.ListObjectsIter(t.Context(), w.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		t.Errorf("left behind: %s", o.Key)
	}
}

func TestPresign(t *testing.T) {
	b, w := open(t)
	data := []byte("hello")
	_, err := b.Put(t.Context(), "k", "application/gzip", part(1, data), data)
	must(t, err)
	link, err := b.Presign(t.Context(), "k", "Курс \"1\"\r\n.gz", time.Minute)
	must(t, err)
	if left := time.Until(link.ExpiresAt); left > time.Minute || left < 50*time.Second {
		t.Errorf("expires in %v", left)
	}
	res, err := http.Get(link.URL)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	if string(body) != "hello" || !strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment; filename") {
		t.Errorf("%q %v", body, res.Header)
	}
	if got := res.Header.Get("Cache-Control"); got != "private, no-store" {
		t.Errorf("Cache-Control %q", got)
	}
	other, err := http.Get(strings.Replace(link.URL, "/k?", "/other?", 1))
	must(t, err)
	_ = other.Body.Close()
	if other.StatusCode != http.StatusForbidden {
		t.Errorf("the link opens another object: %d", other.StatusCode)
	}

	cfg := config(t, w)
	cfg.PublicEndpoint = "https://files.example.edu"
	public, err := bucket.Open(cfg)
	must(t, err)
	link, err = public.Presign(t.Context(), "k", "f", time.Minute)
	must(t, err)
	if !strings.HasPrefix(link.URL, "https://files.example.edu/"+w.Bucket+"/k?") {
		t.Errorf("a link that browsers cannot reach: %s", strings.SplitN(link.URL, "?", 2)[0])
	}
}

// An error must say enough for an operator and nothing that opens anything.
func TestErrorsAreBare(t *testing.T) {
	_, w := open(t)
	cfg := config(t, w)
	cfg.SecretKey = "wrong-secret"
	b, err := bucket.Open(cfg)
	must(t, err)
	err = b.Ping(t.Context())
	if err == nil || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("wrong secret: %v", err)
	}
	cfg = config(t, w)
	cfg.Endpoint = "http://127.0.0.1:1"
	b, err = bucket.Open(cfg)
	must(t, err)
	_, err = b.Put(t.Context(), "secret-key", "application/gzip", part(1, nil), nil)
	var down *jobs.Unavailable
	if !errors.As(err, &down) || strings.Contains(err.Error(), "secret-key") || strings.Contains(err.Error(), "Signature") {
		t.Errorf("store down: %v", err)
	}
}

// proved holds an object to the checksums of its parts, which the test's store knows.
func proved(t *testing.T, b *bucket.Bucket, key string, parts []jobs.Part) {
	t.Helper()
	if by, err := b.Verify(t.Context(), key, parts); err != nil || by != jobs.ByChecksum {
		t.Errorf("verified by %q: %v", by, err)
	}
}
