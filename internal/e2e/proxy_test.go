package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

const (
	// nginxPath is what Debian's package installs.
	nginxPath = "/usr/sbin/nginx"
	// nginxBase is the path of PUBLIC_URL in these tests.
	nginxBase = "/tools/export"
)

// nginx is one that runs deploy/nginx.conf.
type nginx struct {
	t        *testing.T
	addr     string
	upstream string
}

// newNginx chooses the addresses of an nginx and of the API behind it.
func newNginx(t *testing.T) *nginx {
	t.Helper()
	if _, err := os.Stat(nginxPath); err != nil {
		t.Fatal("install Debian's package nginx-light")
	}
	return &nginx{t, freeAddr(t), freeAddr(t)}
}

// settings are what docs/behind-a-proxy.md tells to set.
func (n *nginx) settings(more ...string) []string {
	return append([]string{"HTTP_ADDR=" + n.upstream, "PUBLIC_URL=" + n.url(), "TRUSTED_PROXIES=127.0.0.1"}, more...)
}

func (n *nginx) url() string { return "http://" + n.addr + nginxBase }

// before starts nginx, and lets the service be called through it from then on.
func (n *nginx) before(s *service) {
	n.t.Helper()
	n.run(n.server(n.addr))
	s.url, s.base = n.url(), nginxBase
}

// server fills the template in; its name is told apart by addr.
func (n *nginx) server(addr string, locationAlso ...string) string {
	text := strings.NewReplacer("${LISTEN}", addr, "${UPSTREAM}", n.upstream, "${BASE}", nginxBase).Replace(deploy.Nginx)
	also := strings.Join(append(locationAlso, "proxy_read_timeout"), "\n")
	_, port, _ := net.SplitHostPort(addr)
	return strings.NewReplacer("proxy_read_timeout", also, "bulkexport", "bulkexport"+port).Replace(text)
}

// run starts nginx with these parts of http { }, and ends it with the test.
func (n *nginx) run(parts ...string) {
	n.t.Helper()
	dir := n.t.TempDir()
	text := "daemon off;\nworker_processes 1;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\n"
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += fmt.Sprintf("%s_temp_path %s;\n", what, what)
	}
	if os.Geteuid() == 0 { // its workers could not reach the directory
		text = "user root root;\n" + text
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(text+strings.Join(parts, "\n")+"}\n"), 0o600); err != nil {
		n.t.Fatal(err)
	}
	cmd, log := exec.Command(nginxPath, "-e", "stderr", "-p", dir, "-c", file), &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	n.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-exited
		if n.t.Failed() {
			n.t.Logf("nginx:\n%s", log)
		}
	})
	n.listens(exited)
}

// listens waits until nginx does.
func (n *nginx) listens(exited <-chan struct{}) {
	n.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("tcp", n.addr)
		if err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-exited:
			n.t.Fatal("nginx has ended")
		case <-deadline:
			n.t.Fatalf("nginx does not listen: %v", err)
		}
	}
}

// A whole export through nginx, below a path: every address that the API gives
// is one that works there.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 4, Conversations: demodata.Volume{Rows: 300}})
	n := newNginx(t)
	s := start(t, w, 0, n.settings()...)
	n.before(s)
	created := s.call(http.MethodPost, exportsOf(demodata.DemoProject), demodata.OwnerKey, conversations)
	location := created.header.Get("Location")
	j := s.decode(created)
	if created.status != http.StatusAccepted || location != s.url+"/v1/exports/"+j.ID {
		t.Fatalf("create: %d, Location %q", created.status, location)
	}
	events := s.watch(j.ID)
	if state := events.next(); state != "queued" {
		t.Errorf("the first event says %q", state)
	}
	s.worker()
	for state := ""; state != "succeeded"; {
		if state = events.next(); state == "" {
			t.Fatal("the events end before the export")
		}
	}
	s.check(s.succeed(j.ID), s.table(demodata.DemoProject))

	page := s.call(http.MethodGet, exportsOf(demodata.DemoProject)+"?limit=1", demodata.OwnerKey, "")
	if page.status != http.StatusOK {
		t.Errorf("list: %d", page.status)
	}
	missing := s.call(http.MethodGet, "/v1/exports/none", demodata.OwnerKey, "")
	if got := s.problem(t, missing)["instance"]; got != nginxBase+"/v1/exports/none" {
		t.Errorf("a problem is at %q", got)
	}
	long := strings.Repeat("x", 16<<10)
	if a := s.call(http.MethodGet, exportsOf(demodata.DemoProject), long, ""); a.status != http.StatusUnauthorized {
		t.Errorf("a token of 16 KiB: %d %.200s", a.status, a.body)
	}
	s.tooLarge()
	s.described()
}

// described reads the API's descriptions of itself, without credentials.
func (s *service) described() {
	s.t.Helper()
	var doc struct{ Servers []struct{ URL string } }
	if err := json.Unmarshal(s.call(http.MethodGet, "/openapi.json", "", "").body, &doc); err != nil {
		s.t.Fatal(err)
	}
	if len(doc.Servers) != 1 || doc.Servers[0].URL != s.url {
		s.t.Errorf("the document's server is %v", doc.Servers)
	}
	if a := s.call(http.MethodGet, "/docs", "", ""); a.status != http.StatusOK || !strings.Contains(string(a.body), s.url) {
		s.t.Errorf("docs: %d %.200s", a.status, a.body)
	}
}

// tooLarge sends what the API refuses, and what nginx does.
func (s *service) tooLarge() {
	s.t.Helper()
	a := s.call(http.MethodPost, exportsOf(demodata.DemoProject), demodata.OwnerKey, strings.Repeat(" ", 200<<10)+conversations)
	if a.status != http.StatusRequestEntityTooLarge {
		s.t.Errorf("a body of 200 KiB: %d %s", a.status, a.body)
	}
	s.problem(s.t, a)
	body := strings.NewReader(strings.Repeat(" ", 2<<20))
	res, err := http.Post(s.url+exportsOf(demodata.DemoProject), "application/json", body)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		s.t.Errorf("a body of 2 MiB: %d", res.StatusCode)
	}
}

// events are an export's, as they arrive.
type events struct {
	s     *service
	lines *bufio.Reader
}

func (s *service) watch(id string) *events {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	s.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/v1/exports/"+id+"/events", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+demodata.OwnerKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("events: %d", res.StatusCode)
	}
	return &events{s, bufio.NewReader(res.Body)}
}

// next is the state that the next event tells; "" at the end.
func (e *events) next() string {
	e.s.t.Helper()
	for {
		line, err := e.lines.ReadString('\n')
		if err == io.EOF {
			return ""
		}
		if err != nil {
			e.s.t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			return e.s.decode(answer{http.StatusOK, nil, []byte(data)}).State
		}
	}
}

// A project's name is one step of a path, whatever is in it; nginx must pass it
// on as it came.
func TestOddNamesBehindNginx(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	n := newNginx(t)
	s := start(t, w, 0, n.settings()...)
	n.before(s)
	for _, project := range []string{
		"a/b", "a//b", "a/../b", "100%", "a%2Fb", "%25", "two  spaces", "Курс физики", "שיעור 1 (א)", "عربي", "a+b", "a;b=c",
		"a?b#c", `a\b`, "a&b", "\u00e9", "e\u0301",
	} {
		err := w.Roles(t).HSet(t.Context(), "course_metadatas", project, `{"course_owner":"`+demodata.OwnerEmail+`"}`).Err()
		if err != nil {
			t.Fatal(err)
		}
		a := s.call(http.MethodPost, exportsOf(project), demodata.OwnerKey, conversations)
		if got := a.json(t)["project"]; a.status != http.StatusAccepted || got != project {
			t.Errorf("%q: %d, project %q", project, a.status, got)
			continue
		}
		s.create(project, `{"kind":"conversations","fresh":true}`)
		a = s.call(http.MethodGet, exportsOf(project)+"?limit=1", demodata.OwnerKey, "")
		next, _, ok := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"+s.url), ">")
		if !ok {
			t.Errorf("%q: %d, Link %q", project, a.status, a.header.Get("Link"))
			continue
		}
		if b := s.call(http.MethodGet, next, demodata.OwnerKey, ""); len(b.json(t)["exports"].([]any)) != 1 {
			t.Errorf("%q: %s: %d %s", project, next, b.status, b.body)
		}
	}
}

// from is a client at another address of this machine.
func from(addr string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
}

// Whom nginx forwards for is believed, but neither what its clients say nor
// what comes from anywhere else.
func TestForwardedForBehindNginx(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	n := newNginx(t)
	s := start(t, w, 0, n.settings()...)
	n.before(s)
	db := w.Admin(t)
	for _, c := range []struct{ at, peer, said, want string }{
		{s.url, "127.0.0.2", "", "127.0.0.2"},
		{s.url, "127.0.0.2", "192.0.2.1", "127.0.0.2"},
		{"http://" + n.upstream, "127.0.0.3", "192.0.2.1", "127.0.0.3"},
		{"http://" + n.upstream, "127.0.0.1", "192.0.2.1", "192.0.2.1"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.at+exportsOf(demodata.DemoProject), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+demodata.OtherKey)
		if c.said != "" {
			req.Header.Set("X-Forwarded-For", c.said)
		}
		res, err := from(c.peer).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		var remote string
		err = db.QueryRow(t.Context(), `select remote from bulkexport.audit order by id desc limit 1`).Scan(&remote)
		if err != nil || remote != c.want || res.StatusCode != http.StatusNotFound {
			t.Errorf("%+v: %d, noted as from %q, %v", c, res.StatusCode, remote, err)
		}
	}
}

// Where the API streams, nginx passes files on as they are, and ranges of them.
func TestStreamedBehindNginx(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 5, Conversations: demodata.Volume{Rows: 300}})
	n := newNginx(t)
	s := start(t, w, 1, n.settings("DOWNLOADS=stream")...)
	n.before(s)
	j := s.succeed(s.create(demodata.DemoProject, conversations).ID)
	path := "/v1/exports/" + j.ID + "/download"
	whole := s.call(http.MethodGet, path, demodata.OwnerKey, "")
	part := s.call(http.MethodGet, path, demodata.OwnerKey, "", "Range", "bytes=100-199", "If-Range", whole.header.Get("ETag"))
	if whole.status != http.StatusOK || int64(len(whole.body)) != j.Result.Bytes {
		t.Errorf("%d, %d bytes of %d", whole.status, len(whole.body), j.Result.Bytes)
	}
	if part.status != http.StatusPartialContent || string(part.body) != string(whole.body[100:200]) {
		t.Errorf("a range: %d, %d bytes", part.status, len(part.body))
	}
	link := s.call(http.MethodGet, path, demodata.OwnerKey, "", "Accept", "application/json")
	if got := link.json(t)["url"]; got != s.url+path {
		t.Errorf("the file's address is %q", got)
	}
}

// Behind a cache that keeps all that it may, nobody gets what was another's.
func TestNothingIsCached(t *testing.T) {
	t.Parallel()
	n := newNginx(t)
	m := newMatrix(t, n.settings()...)
	const on = "proxy_cache answers; proxy_cache_valid any 1h; add_header X-Cache $upstream_cache_status always;"
	careless := freeAddr(t)
	n.run("proxy_cache_path cache keys_zone=answers:1m;", n.server(n.addr, on),
		n.server(careless, on, "proxy_ignore_headers Cache-Control Vary;"))

	// The cache works: one that is told to ignore what answers say mixes people up.
	list := m.at(routes["GET /v1/projects/{project}/exports"], "", demodata.DemoProject)
	m.url, m.base = "http://"+careless+nginxBase, nginxBase
	m.call(http.MethodGet, list, demodata.OwnerKey, "")
	if a := m.call(http.MethodGet, list, demodata.OtherKey, ""); a.status != http.StatusOK || a.header.Get("X-Cache") != "HIT" {
		t.Fatalf("the cache keeps nothing, so this test shows nothing: %d %v", a.status, a.header)
	}
	m.url = n.url()
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		r := routes[name]
		if !strings.HasPrefix(name, http.MethodGet) {
			continue
		}
		for _, header := range [][]string{nil, {"Accept", "application/json"}} {
			path := m.at(r, m.ready, demodata.DemoProject)
			a := m.call(http.MethodGet, path, demodata.OwnerKey, "", header...)
			if a.status >= 400 {
				t.Errorf("%s, owner: %d %s", name, a.status, a.body)
			}
			for key, want := range map[string]int{demodata.OtherKey: http.StatusNotFound, "": http.StatusUnauthorized} {
				b := m.call(http.MethodGet, path, key, "", header...)
				if b.status != want || b.header.Get("X-Cache") == "HIT" || b.header.Get("Location") != "" {
					t.Errorf("%s after the owner: %d, cache %q, want %d", name, b.status, b.header.Get("X-Cache"), want)
				}
			}
			if a := m.call(http.MethodGet, path, demodata.OwnerKey, "", header...); a.status >= 400 || a.header.Get("X-Cache") == "HIT" {
				t.Errorf("%s, owner after the others: %d, cache %q", name, a.status, a.header.Get("X-Cache"))
			}
		}
	}
}
