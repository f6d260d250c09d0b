package client

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// world is an API and an object store, which fail as they are told.
type world struct {
	t    *testing.T
	c    *Client
	api  *httptest.Server
	job  Job
	file []byte

	mu      sync.Mutex
	store   func(w http.ResponseWriter, r *http.Request, n int) // the n-th request to it, from 1
	links   int                                                 // that were made
	asked   []*http.Request                                     // of the store
	notes   []string
	link    func(n int) string // instead of the store's address and null
	streams bool
}

const storePath = "/bucket/data?signature=secret"

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

func sumHex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func newWorld(t *testing.T, file []byte) *world {
	t.Helper()
	w := &world{t: t, file: file}
	w.store = func(rw http.ResponseWriter, r *http.Request, _ int) { w.serve(rw, r) }
	store := httptest.NewServer(http.HandlerFunc(w.handleStore))
	t.Cleanup(store.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /base/v1/exports/{id}/download", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(rw, "who is it?", http.StatusUnauthorized)
			return
		}
		if r.Header.Get("Accept") != "application/json" {
			w.handleStore(rw, r)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.links++
		answer := map[string]any{"url": store.URL + storePath, "expires_at": time.Now().Add(time.Minute)}
		if w.streams {
			answer = map[string]any{"url": w.api.URL + r.URL.Path, "expires_at": nil}
		}
		if w.link != nil {
			answer["url"] = w.link(w.links)
		}
		_ = json.NewEncoder(rw).Encode(answer)
	})
	w.api = httptest.NewServer(mux)
	t.Cleanup(w.api.Close)
	w.c = newClient(t, w.api.URL+"/base")
	w.c.pause, w.c.silence, w.c.outage = time.Millisecond, 5*time.Second, 3*time.Second
	w.job = Job{ID: "j1", State: Succeeded, Result: &Result{Filename: "f.jsonl.gz", Bytes: int64(len(file)), SHA256: sumHex(file)}}
	return w
}

func (w *world) handleStore(rw http.ResponseWriter, r *http.Request) {
	if has := r.Header.Get("Authorization") != ""; has != w.streams {
		w.t.Errorf("the token goes to %s: %v", r.URL.Path, has)
	}
	w.mu.Lock()
	w.asked = append(w.asked, r)
	n := len(w.asked)
	w.mu.Unlock()
	w.store(rw, r, n)
}

// serve is a store that does as it should.
func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("ETag", tagOf(w.file))
	http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(w.file))
}

func tagOf(b []byte) string { return fmt.Sprintf("%q", sumHex(b)[:12]) }

// cut serves at most n bytes of a body, and then breaks the connection.
func (w *world) cut(rw http.ResponseWriter, r *http.Request, n int) {
	w.serve(&cutter{ResponseWriter: rw, left: n}, r)
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b[:min(len(b), c.left)])
	if c.left -= n; c.left > 0 || err != nil {
		return n, err
	}
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	conn, _, err := http.NewResponseController(c.ResponseWriter).Hijack()
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// holder sends so many bytes, and then nothing until the reader has gone.
type holder struct {
	http.ResponseWriter
	left int
	gone <-chan struct{}
}

func (h *holder) Write(b []byte) (int, error) {
	n, err := h.ResponseWriter.Write(b[:min(len(b), h.left)])
	if h.left -= n; h.left > 0 || err != nil {
		return n, err
	}
	err = http.NewResponseController(h.ResponseWriter).Flush()
	<-h.gone
	return n, errors.Join(err, http.ErrAbortHandler)
}

func (w *world) target(dir string) Target {
	return Target{Path: filepath.Join(dir, "f.jsonl.gz"), Note: func(s string) { w.notes = append(w.notes, s) }}
}

// download fetches into dir, and must succeed.
func (w *world) download(dir string) Saved {
	w.t.Helper()
	s, err := w.c.Download(w.t.Context(), w.job, w.target(dir))
	if err != nil {
		w.t.Fatal(err)
	}
	w.whole(dir)
	return s
}

// whole checks that the file is there, for its owner alone, and nothing beside it.
func (w *world) whole(dir string) {
	w.t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, "f.jsonl.gz"))
	if err != nil || !bytes.Equal(got, w.file) {
		w.t.Errorf("%d bytes, want %d: %v", len(got), len(w.file), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		w.t.Errorf("files %v %v", entries, err)
	}
	w.private(dir)
}

func (w *world) private(dir string) {
	w.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode() != 0o600 {
			w.t.Errorf("%s has mode %v %v", e.Name(), info.Mode(), err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, e.Name())); err != nil || strings.Contains(string(b), "signature=") || strings.Contains(string(b), token) {
			w.t.Errorf("%s holds a secret %v", e.Name(), err)
		}
	}
}

// ranges are what the store was asked for, in short.
func (w *world) ranges() string {
	var list []string
	for _, r := range w.asked {
		list = append(list, strings.TrimSpace(strings.TrimPrefix(r.Header.Get("Range"), "bytes=")+" "+r.Header.Get("If-Match")))
	}
	return strings.Join(list, "|")
}
