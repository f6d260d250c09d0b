package queue_test

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func limiter(t *testing.T, url string, perMinute int, log io.Writer) *queue.Limiter {
	t.Helper()
	q, err := queue.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q.NewLimiter(perMinute, slog.New(slog.NewTextHandler(log, nil)))
}

// A person has one count over all processes, however the e-mail is written, and
// Redis does not get to know it.
func TestLimiter(t *testing.T) {
	w := testenv.New(t)
	one, two := limiter(t, w.RedisURL, 3, io.Discard), limiter(t, w.RedisURL, 3, io.Discard)
	for i, l := range []*queue.Limiter{one, two, one} {
		a := l.Take(t.Context(), []string{"Some.Body@example.edu", "some.body@EXAMPLE.edu", "some.body@example.edu"}[i])
		// Redis rounds what remains down, and time goes on.
		if !a.OK || a.Limit != 3 || a.Remaining < 1-i || a.Remaining > 2-i || a.Reset <= 0 || a.RetryAfter != 0 {
			t.Fatalf("request %d: %+v", i+1, a)
		}
	}
	a := two.Take(t.Context(), "some.body@example.edu")
	if a.OK || a.Remaining != 0 || a.RetryAfter <= 0 || a.RetryAfter > 20*time.Second || a.Reset > time.Minute {
		t.Errorf("one too many: %+v", a)
	}
	if a := two.Take(t.Context(), "another@example.edu"); !a.OK {
		t.Errorf("another person: %+v", a)
	}
	if a := limiter(t, w.RedisURL, 0, io.Discard).Take(t.Context(), "some.body@example.edu"); a != (jobs.Allowance{OK: true}) {
		t.Errorf("without a limit: %+v", a)
	}
	rdb := w.QueueRedis(t)
	keys, err := rdb.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 2 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		value, err := rdb.Get(t.Context(), key).Result()
		if err != nil || strings.Contains(key+value, "@") || strings.Contains(key+value, "body") || !strings.HasPrefix(key, "rate:bulkexport:") {
			t.Error(key, value, err)
		}
		if ttl := rdb.TTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("%s stays for %s", key, ttl)
		}
	}
}

// relay stands before a Redis and can fall silent: it still accepts, then.
type relay struct {
	addr, target string
	mu           sync.Mutex
	silent       bool
	conns        []net.Conn
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), target: target}
	t.Cleanup(func() { _ = l.Close(); r.fall(false) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.take(c)
		}
	}()
	return r
}

func (r *relay) take(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
	if r.silent {
		return
	}
	up, err := net.Dial("tcp", r.target)
	if err != nil {
		_ = c.Close()
		return
	}
	r.conns = append(r.conns, up)
	pass := func(to, from net.Conn) {
		for b := make([]byte, 4096); ; {
			n, err := from.Read(b)
			r.mu.Lock()
			silent := r.silent
			r.mu.Unlock()
			if err != nil || silent {
				return
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
	go pass(up, c)
	go pass(c, up)
}

// fall makes the relay silent, or cuts what was silent and works again.
func (r *relay) fall(silent bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = silent
	if !silent {
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.conns = nil
	}
}

// A Redis that is away, or there and silent, costs one request a tenth of a
// second and all others nothing; when it is back, requests are counted again.
func TestLimiterIsOpen(t *testing.T) {
	opts, err := redis.ParseURL(testenv.New(t).RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, opts.Addr)
	var log bytes.Buffer
	l := limiter(t, "redis://"+r.addr, 1, &log)
	away := limiter(t, "redis://127.0.0.1:1", 1, io.Discard)
	spent := func() bool { return !l.Take(t.Context(), t.Name()).OK }
	spent()
	if !spent() {
		t.Fatal("nothing is counted")
	}
	r.fall(true)
	fresh := limiter(t, "redis://"+r.addr, 1, io.Discard) // has no connection yet
	limiters := map[string]*queue.Limiter{"silent": l, "silent at first": fresh, "away": away}
	for name, url := range map[string]string{
		"TLS": "rediss://" + r.addr, "a sentinel": "redis-sentinel://" + r.addr + "/0?master=m", "a cluster": "redis-cluster://" + r.addr,
	} {
		limiters["silent at first, "+name] = limiter(t, url, 1, io.Discard)
	}
	for name, l := range limiters {
		var later time.Duration // all but the first, which finds out
		for i := range 50 {
			began := time.Now()
			if a := l.Take(t.Context(), t.Name()); a != (jobs.Allowance{OK: true}) {
				t.Errorf("%s: refused without Redis: %+v", name, a)
			}
			if took := time.Since(began); i > 0 {
				later += took
			} else if took > 2*time.Second {
				t.Errorf("%s: the first request waited for %s", name, took)
			}
		}
		if later > 2*time.Second { // 5 s, if each waited for Redis
			t.Errorf("%s: 49 requests waited for %s", name, later)
		}
	}
	r.fall(false)
	eventually(t, "requests are counted again", spent)
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("an outage is told by %d lines, want 2:\n%s", n, &log)
	}
}
