package mailsink

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"slices"
	"strings"
	"testing"
)

func start(t *testing.T, dir string) *Sink {
	t.Helper()
	var l [2]net.Listener
	for i := range l {
		var err error
		if l[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Start(dir, l[0], l[1], func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

func send(t *testing.T, s *Sink, to []string, message string) {
	t.Helper()
	message = strings.ReplaceAll(message, "\n", "\r\n")
	if err := smtp.SendMail(s.smtpAddr, nil, "exports@example.edu", to, []byte(message)); err != nil {
		t.Fatal(err)
	}
}

// answer is one of the inbox, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func call(t *testing.T, method, url string, prepare ...func(*http.Request)) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepare {
		p(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func list(t *testing.T, s *Sink) (messages []Message) {
	t.Helper()
	body := call(t, http.MethodGet, s.Inbox()+"/api/messages").body
	if err := json.Unmarshal([]byte(body), &messages); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return messages
}

const twoParts = `From: Bulk Export <exports@example.edu>
To: owner@example.edu
Subject: =?utf-8?q?Ready_=E2=80=93_done?=
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/html; charset=utf-8

<script>alert(1)</script>
--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

caf=C3=A9 <b>
--b--
`

func TestMessageArrives(t *testing.T) {
	s := start(t, t.TempDir())
	send(t, s, []string{"owner@example.edu", "admin@example.edu"}, twoParts)
	m := list(t, s)[0]
	if m.Subject != "Ready – done" || m.Text != "café <b>" || m.From != "exports@example.edu" {
		t.Errorf("%+v", m)
	}
	if !slices.Equal(m.To, []string{"owner@example.edu", "admin@example.edu"}) {
		t.Errorf("to %v", m.To)
	}
	if !strings.Contains(m.Raw, "caf=C3=A9 <b>\r\n--b--") {
		t.Errorf("raw %q", m.Raw)
	}
	page := call(t, http.MethodGet, s.Inbox()+"/message/1")
	for _, want := range []string{"café &lt;b&gt;", "Ready – done", "<dt>To</dt><dd>owner@example.edu</dd>", "&lt;script&gt;"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("no %q in:\n%s", want, page.body)
		}
	}
	if csp := page.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'self';") {
		t.Errorf("policy %q", csp)
	}
	if page := call(t, http.MethodGet, s.Inbox()).body; !strings.Contains(page, `<a href="/message/1"><b>Ready – done</b>`) {
		t.Errorf("inbox:\n%s", page)
	}
	if raw := call(t, http.MethodGet, s.Inbox()+"/message/1/raw"); raw.body != m.Raw || raw.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("raw page: %+v", raw)
	}
	if res := call(t, http.MethodGet, s.Inbox()+"/message/2"); res.status != http.StatusNotFound {
		t.Errorf("no such message: %d", res.status)
	}
}

// A mail's link can be followed, and nothing else of it is one.
func TestLinksCanBeFollowed(t *testing.T) {
	s := start(t, t.TempDir())
	send(t, s, []string{"owner@example.edu"}, "Subject: x\n\nOpen: https://h/exports/1?a=b&c=d\nnot javascript:alert(1) <script>\n")
	page := call(t, http.MethodGet, s.Inbox()+"/message/1").body
	if !strings.Contains(page, `Open: <a href="https://h/exports/1?a=b&amp;c=d">https://h/exports/1?a=b&amp;c=d</a>`) || strings.Contains(page, `href="javascript`) {
		t.Error(page)
	}
}

func TestMessagesOfOtherKinds(t *testing.T) {
	s := start(t, t.TempDir())
	send(t, s, []string{"a@example.edu"}, "Content-Transfer-Encoding: base64\n\nR3LDvMOfZQ==\n")
	send(t, s, []string{"a@example.edu"}, "Subject: only html\nContent-Type: text/html\n\n<p>hello\n")
	send(t, s, []string{"a@example.edu"}, "no header at all\n")
	got := list(t, s)
	if len(got) != 3 || got[2].Text != "Grüße" || got[1].Text != "" || !strings.Contains(got[0].Raw, "no header at all") {
		t.Errorf("%+v", got)
	}
}

func TestMessagesStayUntilEmptied(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	send(t, s, []string{"a@example.edu"}, "Subject: first\n\nx\n")
	before := list(t, s)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	if after := list(t, s); len(after) != 1 || after[0].Raw != before[0].Raw || !after[0].At.Equal(before[0].At) {
		t.Errorf("%+v, after a restart %+v", before, after)
	}
	if res := call(t, http.MethodDelete, s.Inbox()+"/api/messages"); res.status != http.StatusNoContent {
		t.Error(res.status)
	}
	if got := list(t, s); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := list(t, start(t, dir)); len(got) != 0 {
		t.Errorf("after a restart: %+v", got)
	}
}

// A page elsewhere whose name has come to mean this address reads nothing.
func TestOtherHostsAreRefused(t *testing.T) {
	s := start(t, t.TempDir())
	res := call(t, http.MethodGet, s.Inbox()+"/api/messages", func(r *http.Request) { r.Host = "rebound.example" })
	if res.status != http.StatusMisdirectedRequest {
		t.Error(res.status)
	}
}
