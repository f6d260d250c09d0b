package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDownload(t *testing.T) {
	w := newWorld(t, noise(3<<20))
	last := int64(0)
	target := w.target(t.TempDir())
	target.Progress = func(n int64) { last = n }
	s, err := w.c.Download(t.Context(), w.job, target)
	if err != nil {
		t.Fatal(err)
	}
	w.whole(filepath.Dir(target.Path))
	if s.Resumed != 0 || s.SHA256 != sumHex(w.file) || s.Bytes != int64(len(w.file)) || last != s.Bytes || w.links != 1 {
		t.Errorf("%+v, progress %d, %d links", s, last, w.links)
	}
	if enc := w.asked[0].Header.Get("Accept-Encoding"); enc != "identity" {
		t.Errorf("a server may compress the file on its way: %q", enc)
	}
	// Once more is no work.
	if s = w.download(filepath.Dir(target.Path)); len(w.asked) != 1 || s.Resumed != s.Bytes {
		t.Errorf("fetched again: %+v", s)
	}
}

// Connections break anywhere; each is followed by one that asks for the rest.
func TestConnectionBreaks(t *testing.T) {
	w := newWorld(t, noise(2<<20))
	random := rand.New(rand.NewPCG(1, 2))
	w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
		if n <= 12 {
			w.cut(rw, r, random.IntN(200<<10))
			return
		}
		w.serve(rw, r)
	}
	w.download(t.TempDir())
	if len(w.asked) != 13 || w.links != 1 {
		t.Errorf("%d requests, %d links", len(w.asked), w.links)
	}
	for _, r := range w.asked[1:] {
		if r.Header.Get("Range") == "" {
			continue // the cut came before the first byte
		}
		if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") || r.Header.Get("If-Match") != tagOf(w.file) {
			t.Errorf("asks for %q of %q", r.Header.Get("Range"), r.Header.Get("If-Match"))
		}
	}
}

func TestLinkExpires(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404} {
		w := newWorld(t, noise(1<<20))
		w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
			switch n {
			case 1:
				w.cut(rw, r, 300<<10)
			case 2:
				http.Error(rw, "Request has expired", status)
			default:
				w.serve(rw, r)
			}
		}
		w.download(t.TempDir())
		// How much of what was sent came before the break, nobody knows.
		first, second, _ := strings.Cut(strings.TrimPrefix(w.ranges(), "|"), "|")
		if w.links != 2 || len(w.asked) != 3 || first != second || !strings.HasSuffix(first, "- "+tagOf(w.file)) {
			t.Errorf("%d: %d links, asked for %s", status, w.links, w.ranges())
		}
	}
}

func TestFreshLinksAreRefused(t *testing.T) {
	w := newWorld(t, noise(1000))
	w.store = func(rw http.ResponseWriter, _ *http.Request, _ int) { http.Error(rw, storePath, http.StatusForbidden) }
	_, err := w.c.Download(t.Context(), w.job, w.target(t.TempDir()))
	var p *Problem
	if !errors.As(err, &p) || p.Status != 403 || w.links != 4 {
		t.Errorf("%v after %d links", err, w.links)
	}
	if strings.Contains(err.Error(), "signature") {
		t.Errorf("shows the link: %v", err)
	}
}

// A store that is tired for a moment.
func TestStoreAsksToWait(t *testing.T) {
	for _, status := range []int{429, 503, 502} {
		w := newWorld(t, noise(1000))
		var before time.Time
		w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
			if n > 1 {
				w.serve(rw, r)
				return
			}
			before = time.Now()
			rw.Header().Set("Retry-After", "1")
			http.Error(rw, "SlowDown", status)
		}
		w.download(t.TempDir())
		if took := time.Since(before); took < time.Second {
			t.Errorf("%d: came again after %s", status, took)
		}
	}
}

func TestRangeIsIgnored(t *testing.T) {
	w := newWorld(t, noise(1<<20))
	w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
		r.Header.Del("Range")
		r.Header.Del("If-Match")
		if n <= 2 {
			w.cut(rw, r, 400<<10)
			return
		}
		w.serve(rw, r)
	}
	w.download(t.TempDir())
	if !strings.Contains(strings.Join(w.notes, " "), "from its beginning") {
		t.Errorf("notes %q", w.notes)
	}
}

// A server that always sends all of it, and always breaks off, comes to an end.
func TestRestartsAreBounded(t *testing.T) {
	w := newWorld(t, noise(1<<20))
	w.store = func(rw http.ResponseWriter, r *http.Request, _ int) {
		r.Header.Del("Range")
		w.cut(rw, r, 400<<10)
	}
	if _, err := w.c.Download(t.Context(), w.job, w.target(t.TempDir())); err == nil || len(w.asked) != maxRestarts+2 {
		t.Errorf("%d requests: %v", len(w.asked), err)
	}
}

// What comes must be the rest of what is there.
func TestFileChanges(t *testing.T) {
	for name, change := range map[string]func(w *world, rw http.ResponseWriter, r *http.Request){
		"412": func(w *world, rw http.ResponseWriter, r *http.Request) { w.serve(rw, r) }, // by its tag
		"416": func(_ *world, rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		},
		"another tag": func(w *world, rw http.ResponseWriter, r *http.Request) {
			r.Header.Del("If-Match")
			w.serve(rw, r)
		},
		"another range": func(_ *world, rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Range", "bytes 0-9/1000")
			rw.WriteHeader(http.StatusPartialContent)
		},
	} {
		good := noise(1 << 20)
		w := newWorld(t, good)
		other := bytes.Repeat([]byte{9}, len(good))
		w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
			switch n {
			case 1:
				w.file = other
				w.cut(rw, r, 300<<10)
			case 2:
				w.file = good
				change(w, rw, r)
			default:
				w.serve(rw, r)
			}
		}
		w.download(t.TempDir())
		if !strings.Contains(strings.Join(w.notes, " "), "starting over") || w.asked[len(w.asked)-1].Header.Get("Range") != "" {
			t.Errorf("%s: notes %q, asked for %s", name, w.notes, w.ranges())
		}
	}
}

// stop breaks a download off after n bytes, as Ctrl-C does.
func (w *world) stop(dir string, n int64) {
	w.t.Helper()
	ctx, cancel := context.WithCancelCause(w.t.Context())
	cause := errors.New("Ctrl-C")
	target := w.target(dir)
	target.Progress = func(have int64) {
		if have >= n {
			cancel(cause)
		}
	}
	good := w.store
	defer func() { w.store = good }()
	w.store = func(rw http.ResponseWriter, r *http.Request, _ int) {
		w.serve(&holder{rw, int(n), r.Context().Done()}, r)
	}
	if _, err := w.c.Download(ctx, w.job, target); !errors.Is(err, cause) {
		w.t.Fatalf("not broken off: %v", err)
	}
	if _, err := os.Stat(target.Path); !errors.Is(err, os.ErrNotExist) {
		w.t.Errorf("a file that is not whole has its name: %v", err)
	}
	w.private(dir)
}

func TestResumeInAnotherRun(t *testing.T) {
	w := newWorld(t, noise(4<<20))
	dir := t.TempDir()
	w.stop(dir, 1<<20)
	w.asked = nil
	s := w.download(dir)
	if want := fmt.Sprintf("%d- %s", s.Resumed, tagOf(w.file)); s.Resumed < 1<<20 || w.ranges() != want {
		t.Errorf("%+v, asked for %s, want %s", s, w.ranges(), want)
	}
}

// What another export has left, or nobody knows, is not gone on with.
func TestForeignPart(t *testing.T) {
	for name, change := range map[string]func(w *world, part string) error{
		"another export": func(w *world, _ string) error { w.job.ID = "j2"; return nil },
		"another file": func(w *world, _ string) error {
			w.file = append([]byte("x"), w.file[1:]...)
			w.job.Result.SHA256 = sumHex(w.file)
			return nil
		},
		"no note":      func(_ *world, part string) error { return os.Remove(part + ".json") },
		"a torn note":  func(_ *world, part string) error { return os.Truncate(part+".json", 10) },
		"a longer one": func(w *world, part string) error { return os.Truncate(part, int64(len(w.file)+1)) },
	} {
		w := newWorld(t, noise(1<<20))
		dir := t.TempDir()
		w.stop(dir, 200<<10)
		if err := change(w, filepath.Join(dir, "f.jsonl.gz.part")); err != nil {
			t.Fatal(err)
		}
		w.asked = nil
		if s := w.download(dir); s.Resumed != 0 || w.ranges() != "" {
			t.Errorf("%s: %+v, asked for %s", name, s, w.ranges())
		}
	}
}

// A crash may leave other bytes on the disk than were written.
func TestDamagedPart(t *testing.T) {
	for name, whole := range map[string]bool{"in the middle": false, "complete": true} {
		w := newWorld(t, noise(1<<20))
		dir := t.TempDir()
		w.stop(dir, 200<<10)
		part := filepath.Join(dir, "f.jsonl.gz.part")
		bad := w.file[:250<<10]
		if whole {
			bad = w.file
		}
		bad = append([]byte{^bad[0]}, bad[1:]...)
		if err := os.WriteFile(part, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		w.asked = nil
		if s := w.download(dir); s.Resumed != 0 || !strings.Contains(strings.Join(w.notes, " "), "does not belong") {
			t.Errorf("%s: %+v, asked for %s, notes %q", name, s, w.ranges(), w.notes)
		}
	}
}

// Nothing but the file that was exported gets its name.
func TestWrongFile(t *testing.T) {
	w := newWorld(t, noise(1<<20))
	w.job.Result.SHA256 = sumHex(nil)
	dir := t.TempDir()
	_, err := w.c.Download(t.Context(), w.job, w.target(dir))
	var m *Mismatch
	if !errors.As(err, &m) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "f.jsonl.gz")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the wrong file has its name")
	}
	// It is kept for whoever wants to look; the next run begins anew.
	if b, err := os.ReadFile(filepath.Join(dir, "f.jsonl.gz.part")); err != nil || !bytes.Equal(b, w.file) {
		t.Errorf("not kept: %v", err)
	}
	w.job.Result.SHA256 = sumHex(w.file)
	w.download(dir)

	w.job.Result.Bytes++
	if _, err := w.c.Download(t.Context(), w.job, w.target(t.TempDir())); !errors.As(err, &m) {
		t.Errorf("of another size: %v", err)
	}
}

func TestOccupied(t *testing.T) {
	w := newWorld(t, noise(1000))
	dir := t.TempDir()
	target := w.target(dir)
	if err := os.WriteFile(target.Path, noise(1000)[1:], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.Download(t.Context(), w.job, target); err == nil || !strings.Contains(err.Error(), "--force") || w.links != 0 {
		t.Errorf("%v", err)
	}
	target.Force = true
	if _, err := w.c.Download(t.Context(), w.job, target); err != nil {
		t.Error(err)
	}
	w.whole(dir)

	target.Path = dir
	if _, err := w.c.Download(t.Context(), w.job, target); err == nil {
		t.Error("a folder was replaced")
	}
	target.Path = filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "f.jsonl.gz"), target.Path+".part"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.Download(t.Context(), w.job, target); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a link is written through: %v", err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	w := newWorld(t, noise(1<<20))
	dir := t.TempDir()
	p, err := openPart(filepath.Join(dir, "f.jsonl.gz"), provenance{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.Download(t.Context(), w.job, w.target(dir)); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("%v", err)
	}
	p.close()
	w.download(dir)
}

func TestNoFile(t *testing.T) {
	w := newWorld(t, noise(10))
	w.job.State = Failed
	if _, err := w.c.Download(t.Context(), w.job, w.target(t.TempDir())); err == nil || w.links > 0 {
		t.Errorf("%v", err)
	}
}

func TestSilentStore(t *testing.T) {
	w := newWorld(t, noise(1<<20))
	w.c.silence = 100 * time.Millisecond
	w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			w.serve(&pauser{rw, r.Context()}, r)
			return
		}
		w.serve(rw, r)
	}
	w.download(t.TempDir())
	if len(w.asked) != 2 || w.asked[1].Header.Get("Range") == "" {
		t.Errorf("asked for %s", w.ranges())
	}
}

// pauser writes once, and then waits until nobody listens.
type pauser struct {
	http.ResponseWriter
	ctx context.Context
}

func (p *pauser) Write(b []byte) (int, error) {
	n, err := p.ResponseWriter.Write(b)
	if err == nil {
		err = http.NewResponseController(p.ResponseWriter).Flush()
	}
	if err == nil {
		<-p.ctx.Done()
	}
	return n, p.ctx.Err()
}

func TestCopy(t *testing.T) {
	w := newWorld(t, noise(1<<20))
	w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
		if n <= 3 {
			w.cut(rw, r, 150<<10)
			return
		}
		w.serve(rw, r)
	}
	var out bytes.Buffer
	if err := w.c.Copy(t.Context(), w.job, &out, Target{}); err != nil || !bytes.Equal(out.Bytes(), w.file) {
		t.Errorf("%d bytes: %v", out.Len(), err)
	}
	// A slow reader is nobody's silence.
	w.c.silence = 50 * time.Millisecond
	slow := writerFunc(func(b []byte) (int, error) {
		<-time.After(120 * time.Millisecond)
		return len(b), nil
	})
	w.asked = make([]*http.Request, 3)
	if err := w.c.Copy(t.Context(), w.job, slow, Target{}); err != nil || len(w.asked) != 4 {
		t.Errorf("%d requests: %v", len(w.asked)-3, err)
	}
	// A full disk is not a fault of the network.
	full := errors.New("no space left on device")
	w.asked = make([]*http.Request, 3)
	if err := w.c.Copy(t.Context(), w.job, writerFunc(func([]byte) (int, error) { return 0, full }), Target{}); !errors.Is(err, full) || len(w.asked) != 4 {
		t.Errorf("%v", err)
	}
	w.asked = nil
	w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
		r.Header.Del("Range")
		w.cut(rw, r, 150<<10)
	}
	if err := w.c.Copy(t.Context(), w.job, io.Discard, Target{}); err == nil || !strings.Contains(err.Error(), "a stream does not allow") {
		t.Errorf("what was written once was written again: %v", err)
	}
	w.store = func(rw http.ResponseWriter, r *http.Request, _ int) { w.serve(rw, r) }
	w.job.Result.SHA256 = "00"
	var m *Mismatch
	if err := w.c.Copy(t.Context(), w.job, io.Discard, Target{}); !errors.As(err, &m) {
		t.Errorf("%v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
