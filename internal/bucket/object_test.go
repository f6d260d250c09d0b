package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func put(t *testing.T, w *testenv.World, key, contentType string, data []byte) {
	t.Helper()
	_, err := w.S3.PutObject(t.Context(), w.Bucket, key, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{ContentType: contentType})
	must(t, err)
}

func TestOpen(t *testing.T) {
	b, w := open(t)
	for key, data := range map[string][]byte{"courses/Курс 2024/25/Übung (1)?.pdf": noise(t, 100_000), "empty": nil} {
		put(t, w, key, "application/pdf", data)
		info, err := w.S3.StatObject(t.Context(), w.Bucket, key, minio.StatObjectOptions{})
		must(t, err)
		o, err := b.Open(t.Context(), key)
		must(t, err)
		if o.Type != "application/pdf" || o.ETag != `"`+info.ETag+`"` || info.ETag == "" || !o.Modified.Equal(info.LastModified) {
			t.Errorf("%s: %+v, %+v", key, o, info)
		}
		got, err := io.ReadAll(o)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes: %v", key, len(got), err)
		}
		if at, err := o.Seek(-int64(len(data)), io.SeekEnd); at != 0 || err != nil {
			t.Errorf("%s: at %d: %v", key, at, err)
		}
		if got, err = io.ReadAll(o); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s, again: %d bytes: %v", key, len(got), err)
		}
		if _, err := o.Seek(-1, io.SeekStart); err == nil {
			t.Errorf("%s: read from before its start", key)
		}
		must(t, o.Close())
		if _, err := o.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: read after it was closed", key)
		}
	}
	if _, err := b.Open(t.Context(), "no such key"); !errors.Is(err, jobs.ErrGone) {
		t.Errorf("a missing object: %v", err)
	}
}

// serve gives an object through the standard library, as the API does.
func serve(t *testing.T, b *bucket.Bucket, key string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o, err := b.Open(r.Context(), key)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = o.Close() }()
		w.Header().Set("Content-Type", o.Type)
		w.Header().Set("ETag", o.ETag)
		http.ServeContent(w, r, "", o.Modified, o)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func get(t *testing.T, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res, body
}

func TestServeContent(t *testing.T) {
	b, w := open(t)
	data := noise(t, 300_000)
	put(t, w, "k", "text/plain", data)
	at := serve(t, b, "k")
	whole, body := get(t, at)
	if whole.StatusCode != 200 || !bytes.Equal(body, data) || whole.ContentLength != int64(len(data)) {
		t.Fatalf("%s, %d bytes", whole.Status, len(body))
	}
	etag := whole.Header.Get("ETag")
	for _, c := range []struct {
		headers []string
		status  int
		want    []byte
	}{
		{[]string{"Range", "bytes=1000-1999"}, 206, data[1000:2000]},
		{[]string{"Range", "bytes=-10"}, 206, data[299_990:]},
		{[]string{"Range", "bytes=299999-"}, 206, data[299_999:]},
		{[]string{"Range", "bytes=0-0", "If-Range", etag}, 206, data[:1]},
		{[]string{"Range", "bytes=0-0", "If-Range", `"other"`}, 200, data},
		{[]string{"If-None-Match", etag}, 304, nil},
	} {
		res, body := get(t, at, c.headers...)
		if res.StatusCode != c.status || !bytes.Equal(body, c.want) {
			t.Errorf("%v: %s, %d bytes", c.headers, res.Status, len(body))
		}
	}
	if res, _ := get(t, at, "Range", "bytes=300000-"); res.StatusCode != 416 {
		t.Errorf("beyond the end: %s", res.Status)
	}
}

// meter stands before the store and counts what comes from it.
type meter struct {
	addr  string
	bytes atomic.Int64
	mu    sync.Mutex
	conns []net.Conn
	l     net.Listener
}

func metered(t *testing.T, target string) (*meter, string) {
	t.Helper()
	u, err := url.Parse(target)
	must(t, err)
	m := &meter{addr: u.Host}
	m.l, err = net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(m.close)
	go func() {
		for {
			client, err := m.l.Accept()
			if err != nil {
				return
			}
			store, err := net.Dial("tcp", m.addr)
			if err != nil {
				_ = client.Close()
				continue
			}
			m.keep(client, store)
			go func() { _, _ = io.Copy(store, client); _ = store.Close() }()
			go func() { _, _ = io.Copy(client, io.TeeReader(store, m)); _ = client.Close() }()
		}
	}()
	u.Host = m.l.Addr().String()
	return m, u.String()
}

func (m *meter) Write(p []byte) (int, error) {
	m.bytes.Add(int64(len(p)))
	return len(p), nil
}

func (m *meter) keep(c ...net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, c...)
}

// close takes the store away.
func (m *meter) close() {
	_ = m.l.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		_ = c.Close()
	}
}

func openMetered(t *testing.T) (*bucket.Bucket, *testenv.World, *meter) {
	t.Helper()
	w := testenv.New(t)
	cfg := config(t, w)
	m, endpoint := metered(t, cfg.Endpoint)
	cfg.Endpoint = endpoint
	b, err := bucket.Open(cfg)
	must(t, err)
	return b, w, m
}

// A small part of a large object costs little more than itself: what the
// sockets hold when its reader has enough.
func TestRangeTransfersLittle(t *testing.T) {
	b, w, m := openMetered(t)
	const size = 64 << 20
	data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	put(t, w, "k", "text/plain", data)
	at := serve(t, b, "k")
	for _, from := range []int{0, size/2 + 5, size - 1024} {
		before := m.bytes.Load()
		res, body := get(t, at, "Range", fmt.Sprintf("bytes=%d-%d", from, from+1023))
		if res.StatusCode != 206 || !bytes.Equal(body, data[from:from+1024]) {
			t.Errorf("from %d: %s, %d bytes", from, res.Status, len(body))
		}
		if moved := m.bytes.Load() - before; moved > size/4 {
			t.Errorf("from %d: 1 KiB moved %d bytes", from, moved)
		}
	}
}

// Who goes on reading from a store that is gone learns that, and what opens
// nothing.
func TestObjectErrorsAreBare(t *testing.T) {
	b, w, m := openMetered(t)
	put(t, w, "secret-key", "text/plain", noise(t, 16<<20))
	o, err := b.Open(t.Context(), "secret-key")
	must(t, err)
	defer func() { _ = o.Close() }()
	_, err = io.CopyN(io.Discard, o, 1000)
	must(t, err)
	m.close()
	_, reading := io.Copy(io.Discard, o)
	_, seeking := o.Seek(1<<20, io.SeekStart)
	_, opening := b.Open(t.Context(), "secret-key")
	for name, err := range map[string]error{"reading": reading, "seeking": seeking, "opening": opening} {
		if !errors.As(err, new(*jobs.Unavailable)) || strings.Contains(err.Error(), "secret-key") || strings.Contains(err.Error(), "ignature") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A reader that has gone away reads no more.
func TestObjectEndsWithItsContext(t *testing.T) {
	b, w := open(t)
	put(t, w, "k", "text/plain", noise(t, 16<<20))
	ctx, cancel := context.WithCancel(t.Context())
	o, err := b.Open(ctx, "k")
	must(t, err)
	defer func() { _ = o.Close() }()
	_, err = io.CopyN(io.Discard, o, 1000)
	must(t, err)
	cancel()
	if n, err := io.Copy(io.Discard, o); !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes more, %v", n, err)
	}
}

// An object that was replaced is not read on: half of each would be neither.
func TestReplacedObject(t *testing.T) {
	b, w := open(t)
	put(t, w, "k", "text/plain", noise(t, 1000))
	o, err := b.Open(t.Context(), "k")
	must(t, err)
	defer func() { _ = o.Close() }()
	put(t, w, "k", "text/plain", noise(t, 1000))
	if n, err := io.Copy(io.Discard, o); err == nil {
		t.Errorf("%d bytes of another object", n)
	}
}

// A browser must save what a person once uploaded, and not show it.
func TestPresignedOriginalIsSaved(t *testing.T) {
	b, w := open(t)
	put(t, w, "courses/mine/a.html", "text/html", []byte("<script>"))
	link, err := b.Presign(t.Context(), "courses/mine/a.html", "a.html", time.Minute)
	must(t, err)
	res, body := get(t, link.URL)
	if got := res.Header.Get("Content-Disposition"); !strings.HasPrefix(got, "attachment;") || string(body) != "<script>" {
		t.Errorf("%q, %s", got, body)
	}
	if u, err := url.Parse(link.URL); err != nil || u.Query().Has("response-content-type") {
		t.Errorf("a type that the object does not have: %v", err)
	}
}
