package e2e

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

var hostileCalls = flag.Int("hostile", 15, "requests in each of a hundred rounds of TestRequestsNeverBreak")

// marker stands in every value that is sent and must not come back.
const marker = "zqxmark"

// hostileText draws what people, programs and attackers send.
func hostileText(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			"", " ", "\x00", "\xff\xfe", "\u202egpj", "../..", "..", ".", "/", "//", "%2F", "%00", "'--", `"`, "\r\nSet-Cookie: a=b", "null", "true", "-1", "0",
			"9223372036854775808", "1e999", "2024-02-30", "0000-01-01", "9999-12-31", "99999-01-01", "2024-01-01T00:00:00+24:00", "-0001-01-01",
			"2024-01-01T00:00:00.999999999999Z", "0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "conversations", "documents", "2024-01-01",
			strings.Repeat("a", 300), strings.Repeat("é", 201), demodata.DemoProject, demodata.EmptyProject,
		}),
		rapid.Map(rapid.String(), func(s string) string { return marker + s }),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) string { return string(b) }),
	).Draw(t, label)
}

// hostileValue draws what stands where a body has a value.
func hostileValue(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{
			`null`, `1`, `-1`, `1e400`, `true`, `[]`, `{}`, `[[[[]]]]`, `"conversations"`, `"documents"`, `["a"]`, `[null]`, `{"a":{"a":1}}`, `"2024-01-01"`,
			`"\ud800"`, `"\u0000"`, "\"\xff\"", `"a`, `nul`, strings.Repeat(`[`, 2000), `"` + strings.Repeat("b", 3000) + `"`, `["` + demodata.AdminEmail + `"]`,
		}),
		rapid.Custom(func(t *rapid.T) string {
			b, err := json.Marshal(hostileText(t, "text"))
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}),
	).Draw(t, label)
}

func hostileBody(t *rapid.T) string {
	switch rapid.IntRange(0, 9).Draw(t, "kind of body") {
	case 0:
		return hostileText(t, "body")
	case 1:
		return hostileValue(t, "body")
	case 2:
		return "\ufeff" + `{"kind":"conversations"}`
	}
	fields := rapid.SliceOfN(rapid.SampledFrom([]string{"kind", "from", "to", "notify", "fresh", "allow_skipped", "kind", "Kind", "nonsense"}), 0, 6).Draw(t, "fields")
	var parts []string
	for _, f := range fields {
		parts = append(parts, fmt.Sprintf("%q:%s", f, hostileValue(t, f)))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// hostileRequest draws a call of any operation.
func hostileRequest(t *rapid.T, base, id string, operations []string) *http.Request {
	method, path, _ := strings.Cut(rapid.SampledFrom(operations).Draw(t, "operation"), " ")
	escape := func(s string) string {
		if rapid.Bool().Draw(t, "all escaped") {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
			return b.String()
		}
		return url.PathEscape(s)
	}
	project := demodata.DemoProject
	if rapid.Bool().Draw(t, "another project") {
		project = hostileText(t, "project")
	}
	if rapid.Bool().Draw(t, "another id") {
		id = hostileText(t, "id")
	}
	path = strings.NewReplacer("{project}", escape(project), "{id}", escape(id), "{document}", escape(hostileText(t, "document"))).Replace(path)
	query := url.Values{}
	for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"state", "limit", "cursor", "kind", "from", "to", "nonsense"}), 0, 3).Draw(t, "query") {
		query.Add(name, hostileText(t, "query "+name))
	}
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery = query.Encode()
	req := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}}
	u.Opaque = "//" + u.Host + path // as it is, whatever that is
	if method == http.MethodPost {
		body := hostileBody(t)
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		req.Header.Set("Content-Type", rapid.SampledFrom([]string{"application/json", "application/json; charset=latin1", "text/plain", "application/cbor", ""}).Draw(t, "type"))
	}
	for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"Idempotency-Key", "If-None-Match", "Range", "If-Range", "Accept", "Last-Event-ID", "X-Forwarded-For", "Cookie"}), 0, 3).Draw(t, "headers") {
		value := strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1 // no client sends these
			}
			return r
		}, hostileText(t, name))
		req.Header.Set(name, value)
	}
	return req
}

// Whatever is sent, the answer is one that the API's document describes: no
// 5xx, no panic, every error a problem that holds nothing of what was sent.
func TestRequestsNeverBreak(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	operations := m.operations()
	hc := &http.Client{Timeout: 30 * time.Second, CheckRedirect: noRedirect.CheckRedirect}
	rapid.Check(t, func(rt *rapid.T) {
		for range *hostileCalls {
			req := hostileRequest(rt, m.url, m.ready, operations)
			req.Header.Set("Authorization", "Bearer "+demodata.OwnerKey)
			res, err := hc.Do(req.WithContext(t.Context()))
			if err != nil {
				rt.Fatalf("%s %s: %v", req.Method, req.URL, err)
			}
			body, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if err != nil {
				rt.Fatalf("%s %s: %v", req.Method, req.URL, err)
			}
			if res.StatusCode >= 500 {
				rt.Fatalf("%s %s: %d %s", req.Method, req.URL, res.StatusCode, body)
			}
			if res.StatusCode < 400 {
				continue
			}
			var problem map[string]any
			if err := json.Unmarshal(body, &problem); err != nil || res.Header.Get("Content-Type") != "application/problem+json" ||
				problem["status"] != float64(res.StatusCode) || problem["detail"] == "" {
				rt.Fatalf("%s %s: %d is no problem document: %s", req.Method, req.URL, res.StatusCode, body)
			}
			// The path that was called stands in it, by RFC 9457.
			if delete(problem, "instance"); strings.Contains(fmt.Sprint(problem), marker) {
				rt.Fatalf("%s %s: echoes what was sent: %s", req.Method, req.URL, body)
			}
		}
	})
	if strings.Contains(m.api.log.String(), "panic") {
		t.Error("something panicked")
	}
	if a := m.call(http.MethodGet, exportsOf(demodata.DemoProject), demodata.OwnerKey, ""); a.status != 200 {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
}

// Scanners follow links in mails, and browsers fetch ahead: reading changes
// nothing, however often, and by HEAD as well.
func TestReadingChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	before := m.everything()
	for name, r := range routes {
		method, _, _ := strings.Cut(name, " ")
		if method != http.MethodGet {
			continue
		}
		for range 3 {
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				for _, key := range []string{demodata.OwnerKey, ""} {
					req, err := http.NewRequestWithContext(t.Context(), method, m.url+m.at(r, m.ready, demodata.DemoProject), nil)
					if err != nil {
						t.Fatal(err)
					}
					want := http.StatusUnauthorized
					if key != "" {
						req.Header.Set("Authorization", "Bearer "+key)
						want = r.want
					}
					for i := 0; i < len(r.header); i += 2 {
						req.Header.Set(r.header[i], r.header[i+1])
					}
					res, err := noRedirect.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					if _ = res.Body.Close(); res.StatusCode != want {
						t.Errorf("%s %s: %d, want %d", method, name, res.StatusCode, want)
					}
				}
			}
		}
	}
	if after := m.everything(); after != before {
		t.Errorf("reading changed something:\n%s\n%s", before, after)
	}
}

// Who loses the role in the middle gets no file, no state and no events any more.
func TestRoleIsLostMeanwhile(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	s := start(t, w, 0)
	id := s.create(demodata.DemoProject, conversations).ID
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v1/exports/"+id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+demodata.OwnerKey)
	stream, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	first := make([]byte, 10)
	if _, err := io.ReadFull(stream.Body, first); err != nil || !bytes.HasPrefix(first, []byte("event: job")) {
		t.Fatalf("%q %v", first, err)
	}
	if err := w.Roles(t).HSet(t.Context(), "course_metadatas", demodata.DemoProject, `{"course_owner":"another@example.edu","course_admins":[]}`).Err(); err != nil {
		t.Fatal(err)
	}
	s.worker()
	var state string
	db := s.Admin(t)
	s.eventually("the export ends", func() bool {
		err := db.QueryRow(t.Context(), `select state from bulkexport.jobs where id = $1`, id).Scan(&state)
		return err == nil && state == "succeeded"
	})
	for _, path := range []string{"", "/download", "/manifest", "/checksums", "/events"} {
		if a := s.call(http.MethodGet, "/v1/exports/"+id+path, demodata.OwnerKey, ""); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stream.Body) // it ends with the export, or with the role
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("the events go on")
	}
}

// A person has one budget, whatever they come in by.
func TestOneBudget(t *testing.T) {
	t.Parallel()
	w, issuer := testenv.New(t), testenv.NewIssuer(t)
	s := start(t, w, 0, "OIDC_ISSUER="+issuer.URL(), "OIDC_CLIENT_ID="+testenv.IssuerClientID, "OIDC_CLIENT_SECRET="+testenv.IssuerClientSecret, "RATE_LIMIT=6")
	doors := []string{demodata.OwnerKey, issuer.Sign(issuer.AccessToken(demodata.OwnerEmail)), issuer.Sign(issuer.AccessToken(strings.ToUpper(demodata.OwnerEmail)))}
	passed := 0
	for i := range 18 {
		a := s.call(http.MethodGet, exportsOf(demodata.DemoProject), doors[i%3], "")
		switch a.status {
		case http.StatusOK:
			passed++
		case http.StatusTooManyRequests:
			if a.header.Get("Retry-After") == "" || a.header.Get("RateLimit") == "" || a.header.Get("RateLimit-Policy") == "" {
				t.Errorf("no word on when: %v", a.header)
			}
		default:
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if passed < 6 || passed > 8 { // one comes back every ten seconds
		t.Errorf("%d of 18 requests passed, 6 were allowed", passed)
	}
	if a := s.call(http.MethodGet, exportsOf(demodata.DemoProject), demodata.AdminKey, ""); a.status != http.StatusOK {
		t.Errorf("another person: %d", a.status)
	}
}

// No program needs a disk: other users of the machine find nothing.
func TestNothingOnDisk(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 11, Conversations: demodata.Volume{Rows: 200}})
	s := start(t, w, 0, "TMPDIR=/nonexistent", "HOME=/nonexistent")
	worker := s.worker()
	// No file that it could write to may be larger than nothing.
	if err := unix.Prlimit(worker.cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{}, nil); err != nil {
		t.Fatal(err)
	}
	j := s.succeed(s.create(demodata.DemoProject, conversations).ID)
	s.check(j, s.table(demodata.DemoProject))
}
