package platform_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// turns stands before a server and counts how often its client has waited for
// an answer.
type turns struct {
	mu     sync.Mutex
	n      int
	answer bool // came last
}

func (c *turns) saw(answer bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if answer && !c.answer {
		c.n++
	}
	c.answer = answer
}

func (c *turns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// counted puts turns before the server of a URL and returns the new one.
func counted(t *testing.T, target string) (*turns, string) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c, server := &turns{}, u.Host
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				_ = client.Close()
				return
			}
			go c.pass(to, client, false)
			go c.pass(client, to, true)
		}
	}()
	u.Host = l.Addr().String()
	return c, u.String()
}

func (c *turns) pass(to, from net.Conn, answer bool) {
	defer func() { _, _ = to.Close(), from.Close() }()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			c.saw(answer)
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Every request of a person with a key waits for this: once.
func TestLookUpsAreOneRoundTrip(t *testing.T) {
	w := testenv.New(t)
	c, behind := counted(t, w.SourceURL)
	s, err := platform.OpenSource(t.Context(), behind, "test", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	exec(t, w, `insert into documents (id, course_name, s3_path) values (1, 'mine', 'courses/mine/a.pdf')`)
	for name, f := range map[string]func() error{
		"a key":       func() error { _, err := s.KeyEmail(t.Context(), demodata.OwnerKey); return err },
		"an original": func() error { _, _, err := s.Original(t.Context(), "mine", 1); return err },
	} {
		if err := f(); err != nil { // connects
			t.Fatal(err)
		}
		before := c.count()
		if err := f(); err != nil {
			t.Fatal(err)
		}
		if n := c.count() - before; n != 1 {
			t.Errorf("%s: %d round trips", name, n)
		}
	}
}

// A request does not wait for a database that says nothing.
func TestLookUpIsShort(t *testing.T) {
	s, w := openSource(t)
	tx, err := w.Admin(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), `lock table api_keys in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = s.KeyEmail(t.Context(), demodata.OwnerKey)
	if took := time.Since(began); !errors.As(err, new(*jobs.Unavailable)) || took > 8*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if n := waiting(t, w); n != 0 {
		t.Errorf("%d statements are left at the server", n)
	}
}
