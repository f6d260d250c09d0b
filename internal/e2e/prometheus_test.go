package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// hurry is how many times faster the rules' own times go by in the tests.
const hurry = 15

var ruleTime = regexp.MustCompile(`(for: |\[)(\d+)(s|m|h)`)

// hurried are the rules of deploy with shorter times; their limits stay.
func hurried() string {
	unit := map[string]int{"s": 1, "m": 60, "h": 3600}
	return ruleTime.ReplaceAllStringFunc(deploy.Alerts, func(found string) string {
		m := ruleTime.FindStringSubmatch(found)
		n, _ := strconv.Atoi(m[2])
		return fmt.Sprintf("%s%ds", m[1], max(1, n*unit[m[3]]/hurry))
	})
}

// prometheus is a real one that looks at programs once a second.
type prometheus struct {
	t   *testing.T
	url string
}

// watch starts a Prometheus for programs at these addresses, by job.
func watch(t *testing.T, targets map[string]string) *prometheus {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatal("install Debian's package prometheus")
	}
	dir, addr := t.TempDir(), freeAddr(t)
	rules := filepath.Join(dir, "hurried.rules.yml")
	config := fmt.Sprintf("global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs:\n", rules)
	for job, target := range targets {
		config += fmt.Sprintf("- {job_name: %s, static_configs: [{targets: ['%s']}]}\n", job, target)
	}
	for name, text := range map[string]string{rules: hurried(), filepath.Join(dir, "prometheus.yml"): config} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	daemon(t, exec.Command(path, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr, "--log.level=warn"))
	return &prometheus{t, "http://" + addr}
}

// daemon starts a program of the machine's, and ends it with the test.
func daemon(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, log: &logBuffer{}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		p.signal(syscall.SIGTERM)
		<-p.exited
		if t.Failed() {
			t.Logf("%s:\n%s", cmd.Path, p.log)
		}
	})
	return p
}

func (p *prometheus) get(path string, into any) error {
	res, err := http.Get(p.url + path)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d %s %w", path, res.StatusCode, b, err)
	}
	return json.Unmarshal(b, into)
}

// firing are the alerts that are.
func (p *prometheus) firing() map[string]bool {
	var got struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels struct{ Alertname string }
			}
		}
	}
	now := map[string]bool{}
	if err := p.get("/api/v1/alerts", &got); err != nil {
		return now // it is only starting
	}
	for _, a := range got.Data.Alerts {
		if a.State == "firing" {
			now[a.Labels.Alertname] = true
		}
	}
	return now
}

// samples are the numbers that a query returns now.
func (p *prometheus) samples(expr string) (n int, err error) {
	var got struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	err = p.get("/api/v1/query?query="+url.QueryEscape(expr), &got)
	for _, r := range got.Data.Result {
		if v, bad := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64); bad == nil && !math.IsNaN(v) {
			n++
		}
	}
	return n, err
}

// ownRedis is a queue's Redis that only this test has.
type ownRedis struct {
	t    *testing.T
	addr string
	run  *process
}

// redisLimit is small, so that it can be filled, in bytes.
const redisLimit = 32 << 20

func newRedis(t *testing.T) *ownRedis {
	t.Helper()
	r := &ownRedis{t: t, addr: freeAddr(t)}
	r.start()
	return r
}

func (r *ownRedis) start() {
	r.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if path, err = exec.LookPath("valkey-server"); err != nil {
			r.t.Fatal("install Debian's package redis-server")
		}
	}
	_, port, _ := net.SplitHostPort(r.addr)
	r.run = daemon(r.t, exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--maxmemory", strconv.Itoa(redisLimit), "--dir", r.t.TempDir()))
}

// moods are what a store can be in.
type mood string

const (
	fine    mood = ""
	full    mood = "full"    // takes nothing, as MinIO says it
	refuses mood = "refuses" // lets nothing be written or deleted
	aged    mood = "aged"    // objects of nobody look old
)

// moody is an S3 server that fails as it is told.
type moody struct{ now atomic.Value }

func (m *moody) is(s mood) { m.now.Store(s) }

// nobody begins the ids of jobs that never were.
const nobody = "00000000-"

var lastModified = regexp.MustCompile(`(<Key>[^<]*/` + nobody + `[^<]*</Key>(?:<[^K][^>]*>[^<]*(?:</[^>]*>)?)*?<LastModified>|<Key>[^<]*/` + nobody + `[^<]*</Key><LastModified>)[^<]*`)

// newMoody stands before the real store.
func newMoody(t *testing.T) (*moody, string) {
	t.Helper()
	u, err := url.Parse(testenv.Var(t, "S3_ENDPOINT"))
	if err != nil {
		t.Fatal(err)
	}
	m := &moody{}
	m.is(fine)
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host }, // the signature is over the name
		ModifyResponse: func(res *http.Response) error {
			if m.now.Load() != aged || res.Request.Method != http.MethodGet || !res.Request.URL.Query().Has("list-type") {
				return nil
			}
			b, err := io.ReadAll(res.Body)
			text := lastModified.ReplaceAllString(string(b), "${1}2020-01-01T00:00:00Z")
			res.Body, res.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
			res.Header.Set("Content-Length", strconv.Itoa(len(text)))
			return err
		},
	}
	server := &http.Server{Addr: freeAddr(t), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, reads := m.now.Load(), r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case now == full && !reads && r.Method != http.MethodDelete:
			s3Error(w, http.StatusInsufficientStorage, "XMinioStorageFull")
		case now == refuses && !reads:
			s3Error(w, http.StatusForbidden, "AccessDenied")
		default:
			pass.ServeHTTP(w, r)
		}
	})}
	go func() { _ = server.ListenAndServe() }()
	t.Cleanup(func() { _ = server.Close() })
	return m, "http://" + server.Addr
}

func s3Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>so it is</Message></Error>", code)
}
