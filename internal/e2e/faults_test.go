package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// partSize is the exporter's: files beyond it are uploaded in parts.
const partSize = 16 << 20

// proxy stands before a real server, and can be closed and opened again.
type proxy struct {
	t      *testing.T
	addr   string
	target string
	rate   int // bytes a second towards the client; 0 is no limit
	mu     sync.Mutex
	l      net.Listener
	conns  []net.Conn
	quiet  chan struct{} // closed when nothing is held back any more; nil: nothing is
}

// behindProxy puts a proxy before the server of a URL and returns the new URL.
// A rate of 0 is no limit.
func behindProxy(t *testing.T, target string, rate int) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, addr: freeAddr(t), target: u.Host, rate: rate}
	p.open()
	t.Cleanup(p.close)
	u.Host = p.addr
	return p, u.String()
}

func (p *proxy) open() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.l = l
	p.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.pipe(c)
		}
	}()
}

func (p *proxy) pipe(c net.Conn) {
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = c.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, c, up)
	p.mu.Unlock()
	go func() { _, _ = io.Copy(up, &held{p, c}); _ = up.Close() }()
	_, _ = io.Copy(c, &held{p, p.paced(up)})
	_ = c.Close()
}

// paced lets a proxied server look slow, so that an export can be caught in
// the middle.
func (p *proxy) paced(r io.Reader) io.Reader {
	if p.rate == 0 {
		return r
	}
	return &pacedReader{r: r, rate: p.rate, began: time.Now()}
}

type pacedReader struct {
	r     io.Reader
	rate  int
	sent  int
	began time.Time
}

func (p *pacedReader) Read(b []byte) (int, error) {
	due := p.began.Add(time.Duration(p.sent) * time.Second / time.Duration(p.rate))
	<-time.After(time.Until(due))
	n, err := p.r.Read(b)
	p.sent += n
	return n, err
}

// held passes nothing on while its proxy is hushed.
type held struct {
	p *proxy
	r io.Reader
}

func (h *held) Read(b []byte) (int, error) {
	n, err := h.r.Read(b)
	h.p.mu.Lock()
	quiet := h.p.quiet
	h.p.mu.Unlock()
	if quiet != nil {
		<-quiet
	}
	return n, err
}

// hush lets the server look frozen: it takes connections, and says nothing.
func (p *proxy) hush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.quiet = make(chan struct{})
}

// speak ends that: all that was said meanwhile arrives.
func (p *proxy) speak() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.quiet != nil {
		close(p.quiet)
		p.quiet = nil
	}
}

// slowSource lets a connection of a world's source give 10 MB a second: an export
// of 60 MB is then in the middle for longer than between two looks at it.
func slowSource(t *testing.T, w *testenv.World) {
	t.Helper()
	_, via := behindProxy(t, w.SourceURL, 10<<20)
	w.SourceURL = via
}

// close cuts every connection and takes no new one, as a stopped server.
func (p *proxy) close() {
	p.speak()
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.l.Close()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// fillBulky gives a world so many megabytes of the demo project that gzip can
// do little with and a parser is done with soon: several parts, quickly checked.
func fillBulky(t *testing.T, w *testenv.World, megabytes int) {
	t.Helper()
	noise := rand.NewChaCha8([32]byte{1})
	raw := make([]byte, 768<<10)
	rows := make([][]any, megabytes)
	for i := range rows {
		if _, err := noise.Read(raw); err != nil {
			t.Fatal(err)
		}
		convo := `{"messages":[{"role":"user","content":"` + base64.StdEncoding.EncodeToString(raw) + `"}]}`
		rows[i] = []any{fmt.Sprint("bulky-", i), demodata.DemoProject, convo}
	}
	_, err := w.Admin(t).CopyFrom(t.Context(), pgx.Identifier{"llm-convo-monitor"},
		[]string{"convo_id", "course_name", "convo"}, pgx.CopyFromRows(rows))
	if err != nil {
		t.Fatal(err)
	}
}

// streaming waits until an export is in the middle.
func (s *service) streaming(id string) job {
	s.t.Helper()
	var j job
	s.eventually("the export is in the middle", func() bool {
		j = s.get(id)
		if j.State == "succeeded" || j.State == "failed" {
			s.t.Fatalf("the export is over already: %s", j.State)
		}
		return j.State == "running" && j.Progress.Rows > 0
	})
	return j
}

func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 60)
	slowSource(t, w)
	s := start(t, w, 0)
	first := s.worker()
	id := s.create(demodata.DemoProject, conversations).ID
	s.streaming(id)
	db := w.Admin(t)
	s.eventually("there is a checkpoint", func() bool {
		if state := s.get(id).State; state != "running" && state != "queued" {
			t.Fatalf("the export is over already: %s", state)
		}
		var n int
		if err := db.QueryRow(t.Context(), `select count(*) from bulkexport.checkpoints where not final`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
	first.kill()
	second := s.worker()
	j := s.succeed(id)
	if j.Attempt != 2 || j.Result.Bytes < 2*partSize {
		t.Errorf("%d attempts, %d bytes: want 2, and several parts", j.Attempt, j.Result.Bytes)
	}
	if a := s.get(id).Attempts; len(a) != 2 || a[0].Outcome != "lost" || a[1].Outcome != "succeeded" {
		t.Errorf("attempts %+v", a)
	}
	if !strings.Contains(second.log.String(), "export is resumed") {
		t.Error("the second worker did not go on from the checkpoint")
	}
	s.check(j, s.table(demodata.DemoProject))
}

func TestWorkerDrains(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 60)
	slowSource(t, w)
	s := start(t, w, 0)
	first := s.worker()
	id := s.create(demodata.DemoProject, conversations).ID
	s.streaming(id)
	first.signal(syscall.SIGTERM)
	<-first.exited
	if code := first.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if j := s.get(id); j.State != "queued" {
		t.Errorf("handed back as %s", j.State)
	}
	s.worker()
	j := s.succeed(id)
	s.check(j, s.table(demodata.DemoProject))
	a := s.get(id).Attempts
	if len(a) != 2 || a[0].Outcome != "drained" || a[1].Outcome != "succeeded" || a[0].Worker == a[1].Worker ||
		a[1].DurationSeconds == nil || a[1].Rows != j.Result.Rows {
		t.Errorf("attempts %+v", a)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 60)
	slowSource(t, w)
	s := start(t, w, 0)
	queued := s.create(demodata.DemoProject, conversations).ID
	if a := s.call("POST", "/v1/exports/"+queued+"/cancel", demodata.AdminKey, ""); a.status != 202 || s.decode(a).State != "canceled" {
		t.Errorf("cancel while queued: %d %s", a.status, a.body)
	}
	s.worker()
	running := s.create(demodata.DemoProject, conversations).ID
	s.streaming(running)
	if a := s.call("POST", "/v1/exports/"+running+"/cancel", demodata.AdminKey, ""); a.status != 202 {
		t.Errorf("cancel while running: %d %s", a.status, a.body)
	}
	if j := s.wait(running); j.State != "canceled" {
		t.Errorf("ended as %s", j.State)
	}
	if a := s.call("GET", "/v1/exports/"+running+"/download", demodata.OwnerKey, ""); a.status != http.StatusConflict {
		t.Errorf("download of a canceled export: %d", a.status)
	}
}

// A connection that is lost costs a window, not the attempt.
func TestSourceConnectionLost(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 60)
	p, via := behindProxy(t, w.SourceURL, 8<<20)
	s := start(t, w, 0)
	s.worker("SOURCE_DATABASE_URL=" + via)
	id := s.create(demodata.DemoProject, conversations).ID
	for range 2 {
		rows := s.streaming(id).Progress.Rows
		p.close()
		p.open()
		s.eventually("the export goes on", func() bool { j := s.get(id); return j.State == "succeeded" || j.Progress.Rows > rows })
	}
	j := s.succeed(id)
	if j.Attempt != 1 {
		t.Errorf("%d attempts", j.Attempt)
	}
	s.check(j, s.table(demodata.DemoProject))
}

func TestQueueRedisDown(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 6, Conversations: demodata.Volume{Rows: 200}})
	p, via := behindProxy(t, w.RedisURL, 0)
	w.RedisURL = via
	s := start(t, w, 1)
	p.close()
	j := s.create(demodata.DemoProject, conversations) // 202
	if got := s.get(j.ID); got.State != "queued" {
		t.Errorf("%s without a queue", got.State)
	}
	p.open()
	s.check(s.succeed(j.ID), s.table(demodata.DemoProject))
}

// What the queue knew is lost before any worker saw it.
func TestQueueRedisEmptied(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(rdb redis.UniversalClient, key, queue string) error{
		"all":                  func(rdb redis.UniversalClient, _, _ string) error { return rdb.FlushDB(t.Context()).Err() },
		"the task of its list": func(rdb redis.UniversalClient, key, _ string) error { return rdb.Del(t.Context(), key).Err() },
		"the list of its task": func(rdb redis.UniversalClient, _, queue string) error {
			return rdb.Del(t.Context(), "asynq:{"+queue+"}:pending").Err()
		},
		"to the archive": func(rdb redis.UniversalClient, _, queue string) error {
			_, err := asynq.NewInspectorFromRedisClient(rdb).ArchiveAllPendingTasks(queue)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, testenv.New(t), 0)
			db := s.Admin(t)
			if _, err := db.Exec(t.Context(), `insert into bulkexport.workers values ('dead soon', 1, 1, now())`); err != nil {
				t.Fatal(err)
			}
			id := s.create(demodata.DemoProject, conversations).ID
			rdb := s.QueueRedis(t)
			var keys []string
			s.eventually("the job is rung", func() (ok bool) {
				keys, _ = rdb.Keys(t.Context(), "asynq:{*}:t:"+id+".1").Result()
				return len(keys) == 1
			})
			queue, _, _ := strings.Cut(strings.TrimPrefix(keys[0], "asynq:{"), "}")
			if err := lose(rdb, keys[0], queue); err != nil {
				t.Fatal(err)
			}
			s.worker()
			s.succeed(id)
			var dispatch int
			if err := db.QueryRow(t.Context(), `select dispatch from bulkexport.jobs where id = $1`, id).Scan(&dispatch); err != nil || dispatch < 2 {
				t.Errorf("it was not lost: dispatch %d, %v", dispatch, err)
			}
		})
	}
}

func TestRoleRedisDown(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	p, via := behindProxy(t, w.PlatformRedisURL, 0)
	w.PlatformRedisURL = via
	s := start(t, w, 1)
	id := s.succeed(s.create(demodata.EmptyProject, conversations).ID).ID
	p.close()
	for _, c := range []struct{ method, path, body string }{
		{"POST", exportsOf(demodata.DemoProject), conversations}, {"GET", exportsOf(demodata.DemoProject), ""},
		{"GET", "/v1/exports/" + id, ""}, {"GET", "/v1/exports/" + id + "/download", ""}, {"POST", "/v1/exports/" + id + "/cancel", ""},
	} {
		a := s.call(c.method, c.path, demodata.OwnerKey, c.body)
		if a.status != http.StatusServiceUnavailable || s.problem(t, a)["retryable"] != true {
			t.Errorf("%s %s: %d %s, want 503", c.method, c.path, a.status, a.body)
		}
	}
	p.open()
	s.eventually("the role store is back", func() bool {
		return s.call("GET", "/v1/exports/"+id, demodata.OwnerKey, "").status == http.StatusOK
	})
}

// A database that is down at start is waited for.
func TestStartsWithoutDatabase(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	p, via := behindProxy(t, w.DatabaseURL, 0)
	w.DatabaseURL = via
	p.close()
	addr := freeAddr(t)
	s := &service{World: w, t: t, url: "http://" + addr}
	s.env = append(w.Env(t), "HTTP_ADDR="+addr, "PUBLIC_URL="+s.url)
	s.run("api", "METRICS_ADDR="+freeAddr(t))
	s.worker()
	s.eventually("the API says that it is not ready", func() bool {
		res, err := http.Get(s.url + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusServiceUnavailable
	})
	p.open()
	s.eventually("an export can be created", func() bool {
		return s.call("POST", exportsOf(demodata.EmptyProject), demodata.OwnerKey, conversations).status == http.StatusAccepted
	})
}
