package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// binaries are built once, with the race detector if the tests have it.
var binaries string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bulkexport-e2e-")
	if err == nil {
		binaries = dir
		args := append([]string{"build", "-o", dir + string(filepath.Separator)}, buildFlags...)
		var out []byte
		out, err = exec.Command("go", append(args, "../../cmd/api", "../../cmd/worker", "../../cmd/exportctl")...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("build: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// service is an API and its workers on a world of their own.
type service struct {
	*testenv.World
	t   *testing.T
	env []string
	url string
	// base is the path of PUBLIC_URL.
	base string
	api  *process
	ran  []*process
	// metrics is the API's METRICS_ADDR.
	metrics string
}

// start brings up an API and n workers.
func start(t *testing.T, w *testenv.World, workers int, extra ...string) *service {
	t.Helper()
	addr := freeAddr(t)
	for _, e := range extra {
		if own, ok := strings.CutPrefix(e, "HTTP_ADDR="); ok {
			addr = own
		}
	}
	s := &service{World: w, t: t, url: "http://" + addr, metrics: freeAddr(t)}
	s.env = append(w.Env(t), "HTTP_ADDR="+addr, "PUBLIC_URL="+s.url, "LOG_LEVEL=DEBUG")
	s.env = append(s.env, extra...)
	s.api = s.run("api", "METRICS_ADDR="+s.metrics)
	s.eventually("the API is ready", func() bool {
		res, err := http.Get(s.url + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	for range workers {
		s.worker()
	}
	return s
}

func (s *service) worker(extra ...string) *process {
	return s.run("worker", append(extra, "METRICS_ADDR="+freeAddr(s.t))...)
}

// process is a running program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    *logBuffer
	exited chan struct{}
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run starts a program, and ends it with the test. Its log is shown when the
// test has failed.
func (s *service) run(name string, extra ...string) *process {
	s.t.Helper()
	return s.runPath(name, filepath.Join(binaries, name), extra...)
}

func (s *service) runPath(name, path string, extra ...string) *process {
	s.t.Helper()
	return s.runCommand(name, exec.Command(path), extra...)
}

func (s *service) runCommand(name string, cmd *exec.Cmd, extra ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, cmd: cmd, log: &logBuffer{}, exited: make(chan struct{})}
	p.cmd.Env = append(append([]string{}, s.env...), extra...)
	p.cmd.Dir = "/"
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ran = append(s.ran, p)
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	s.t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(20 * time.Second):
			s.t.Errorf("%s did not end", name)
			p.signal(syscall.SIGKILL)
			<-p.exited
		}
		if strings.Contains(p.log.String(), "DATA RACE") {
			s.t.Errorf("%s: data race", name)
		}
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", name, p.log)
		}
	})
	return p
}

func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// kill ends a process as the kernel would, and waits until it is gone.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.exited
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// patience is for everything that will come, sooner or later, on a slow machine.
const patience = 90 * time.Second

// eventually polls until ok, or fails the test.
func (s *service) eventually(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// answer is what a call returned.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return v
}

// noRedirect is a client that shows a redirect instead of following it: the
// token must not travel to the store.
var noRedirect = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s *service) call(method, path, key, body string, header ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := noRedirect.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	a := answer{res.StatusCode, res.Header, b}
	s.conforms(req, a)
	return a
}

// job is the part of the API's job that the tests look at.
type job struct {
	ID       string
	State    string
	Phase    string
	Attempt  int
	Progress struct {
		Rows      int64
		RowsTotal *int64 `json:"rows_total"`
		Percent   *float64
	}
	Result *struct {
		Filename    string
		Rows        int64
		Bytes       int64
		BytesRaw    int64 `json:"bytes_raw"`
		SHA256      string
		ContextsCut int64 `json:"contexts_cut"`
		Skipped     int64
		SkippedRows []struct {
			ID     int64
			Reason string
		} `json:"skipped_rows"`
		Deleted, Appeared int64
	}
	Error    *struct{ Code, Message string }
	Attempts []struct {
		Outcome, Worker string
		Rows            int64
		DurationSeconds *float64 `json:"duration_seconds"`
	}
}

func (s *service) decode(a answer) (j job) {
	s.t.Helper()
	if err := json.Unmarshal(a.body, &j); err != nil {
		s.t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return j
}

func exportsOf(project string) string { return "/v1/projects/" + url.PathEscape(project) + "/exports" }

// create asks for an export as the owner.
func (s *service) create(project, body string) job {
	s.t.Helper()
	a := s.call(http.MethodPost, exportsOf(project), demodata.OwnerKey, body)
	if a.status != http.StatusAccepted {
		s.t.Fatalf("create: %d %s", a.status, a.body)
	}
	return s.decode(a)
}

func (s *service) get(id string) job {
	s.t.Helper()
	a := s.call(http.MethodGet, "/v1/exports/"+id, demodata.OwnerKey, "")
	if a.status != http.StatusOK {
		s.t.Fatalf("get: %d %s", a.status, a.body)
	}
	return s.decode(a)
}

// wait polls until the job is over.
func (s *service) wait(id string) (j job) {
	s.t.Helper()
	s.eventually("the export ends", func() bool {
		j = s.get(id)
		return j.State == "succeeded" || j.State == "failed" || j.State == "canceled"
	})
	return j
}

// succeed waits for success.
func (s *service) succeed(id string) job {
	s.t.Helper()
	j := s.wait(id)
	if j.State != "succeeded" {
		s.t.Fatalf("the export is %s: %+v", j.State, j.Error)
	}
	return j
}

// download fetches the file as a person's script would: the link as JSON, then
// the link without the key.
func (s *service) download(id string) []byte {
	s.t.Helper()
	a := s.call(http.MethodGet, "/v1/exports/"+id+"/download", demodata.OwnerKey, "", "Accept", "application/json")
	if a.status != http.StatusOK {
		s.t.Fatalf("download: %d %s", a.status, a.body)
	}
	res, err := http.Get(a.json(s.t)["url"].(string))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("store: %d %v", res.StatusCode, err)
	}
	return b
}
