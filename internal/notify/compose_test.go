package notify_test

import (
	"crypto/rand"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/notify"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// read is a mail as a reader's program takes it apart.
type read struct {
	header              mail.Header
	subject, text, html string
	types               []string
}

func take(t testing.TB, raw string) (r read) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	r.header = m.Header
	if r.subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for parts := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := parts.NextRawPart()
		if err == io.EOF {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		r.types = append(r.types, kind)
		body := strings.ReplaceAll(string(b), "\r\n", "\n")
		if kind == "text/html" {
			r.html = body
		} else {
			r.text = body
		}
	}
}

func composed(t testing.TB, m *notify.Mailer, p jobs.Post) read {
	t.Helper()
	raw, err := m.Composed(p)
	if err != nil {
		t.Fatal(err)
	}
	return take(t, raw)
}

func holds(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: no %q in:\n%s", what, w, text)
		}
	}
}

// The real thing, through the stack's mail server.
func TestMailArrives(t *testing.T) {
	m := open(t, testenv.Var(t, "SMTP_URL"))
	id := rand.Text()
	p := letter(jobs.LetterReady, func(p *jobs.Post) { p.Letters[0].Job, p.Jobs[0].ID = id, id })
	for range 2 {
		if err := m.Send(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		p.Letters[0].Tries++
	}
	p.Letters[0].Edition++
	if err := m.Send(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	got := testenv.Inbox(t, "/exports/"+id)
	if len(got) != 3 || !slices.Equal(got[0].To, []string{"owner@example.edu"}) || got[0].From != "exports@example.edu" {
		t.Fatalf("%+v", got)
	}
	var ids []string
	for _, g := range got {
		ids = append(ids, g.Header(t, "Message-ID"))
	}
	if ids[0] != ids[1] || ids[0] == ids[2] || !strings.HasSuffix(ids[0], "@example.edu>") || len(ids[0]) < 40 {
		t.Errorf("message ids %q: the same for the same mail, another for one that was asked for anew", ids)
	}
	for name, want := range map[string]string{
		"From": `"Bulk Export" <exports@example.edu>`, "To": "<owner@example.edu>", "Subject": "Your export of p is ready",
		"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All", "Date": "Sun, 01 Mar 2026 12:00:00 +0000",
		"X-Mailer": "", "User-Agent": "",
	} {
		if v := got[0].Header(t, name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if r := take(t, got[0].Raw); !slices.Equal(r.types, []string{"text/plain", "text/html"}) || r.text == "" || r.html == "" {
		t.Errorf("parts %v", r.types)
	}
	if err := m.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

const when = "4 March 2026, 06:00 CST (4 March 2026, 12:00 UTC)"

func TestWords(t *testing.T) {
	m := open(t, "smtp://localhost")
	link := "https://export.example.edu/x/exports/j1"
	failure := func(code string, retryable bool) func(*jobs.Post) {
		return func(p *jobs.Post) {
			j := &p.Jobs[0]
			j.State, j.Result, j.ExpiresAt = jobs.Failed, nil, nil
			j.Failure = &jobs.Failure{Code: code, Message: "for logs", Retryable: retryable}
		}
	}
	for name, c := range map[string]struct {
		post    jobs.Post
		subject string
		words   []string
		not     string
	}{
		"ready": {letter(jobs.LetterReady), "Your export of p is ready", []string{
			"The file will be deleted on " + when + ", in 3 days.", "Project: p\n", "What: conversations\n", "Time span: everything there is\n",
			"Rows: 54,321\n", "Size of the file: 12 MB\n", "Checksum (SHA-256): " + strings.Repeat("ab", 32), "Will be deleted on: " + when + ", in 3 days"}, "missing"},
		"ready with gaps": {letter(jobs.LetterReady, func(p *jobs.Post) { p.Jobs[0].Result.Skipped = 2 }), "",
			[]string{"2 rows could not be read in the platform's database and are missing"}, ""},
		"ready with a gap": {letter(jobs.LetterReady, func(p *jobs.Post) { p.Jobs[0].Result.Skipped = 1 }), "",
			[]string{"1 row could not be read in the platform's database and is missing"}, ""},
		"ready, and gone": {letter(jobs.LetterReady, func(p *jobs.Post) { p.Jobs[0].State = jobs.Expired }), "",
			[]string{"has been deleted meanwhile"}, "will be deleted"},
		"failed": {letter(jobs.LetterFailed, failure(jobs.CodeSource, true)), "Your export of p has failed",
			[]string{"did not answer for a long time", "Running it again can help", "Asked for on: 1 March 2026, 05:00 CST"}, "for logs"},
		"failed for good": {letter(jobs.LetterFailed, failure(jobs.CodeTooLarge, false)), "",
			[]string{"shorter span of time", "will end like this again"}, "can help"},
		"canceled": {letter(jobs.LetterCanceled, func(p *jobs.Post) { p.CanceledBy = "b@example.edu"; p.Jobs[0].Result = nil }),
			"Your export of p was canceled", []string{"was canceled by b@example.edu."}, "Rows"},
		"expiring": {letter(jobs.LetterExpiring), "Your export of p will soon be deleted",
			[]string{"Nobody has downloaded", "deleted on " + when + ", in 3 days"}, ""},
		"exported": {letter(jobs.LetterExported), "All conversations of p were exported",
			[]string{"a@example.edu has exported all conversations of p.", "Asked for by: a@example.edu", "Rows: 54,321"}, "SHA"},
		"documents, with dates": {letter(jobs.LetterReady, func(p *jobs.Post) {
			from, to := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
			p.Jobs[0].Kind, p.Jobs[0].From, p.Jobs[0].To = jobs.Documents, &from, &to
		}), "", []string{"What: documents\n", "Time span: 1 January 2026 to 31 January 2026, both days included (UTC)\n"}, ""},
		"since a minute": {letter(jobs.LetterReady, func(p *jobs.Post) {
			from := time.Date(2026, 1, 1, 8, 30, 0, 0, time.UTC)
			p.Jobs[0].From = &from
		}), "", []string{"Time span: from 1 January 2026, 02:30 CST (1 January 2026, 08:30 UTC) on\n"}, ""},
		"until a day": {letter(jobs.LetterReady, func(p *jobs.Post) {
			to := time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)
			p.Jobs[0].To = &to
		}), "", []string{"Time span: until 31 January 2026, that day included (UTC)\n"}, ""},
	} {
		r := composed(t, m, c.post)
		if c.subject != "" && r.subject != c.subject {
			t.Errorf("%s: subject %q, want %q", name, r.subject, c.subject)
		}
		holds(t, name, r.text, append(c.words, link)...)
		holds(t, name+" in HTML", r.html, `href="`+link+`"`, `<bdi>p</bdi>`)
		if c.not != "" && strings.Contains(r.text+r.html, c.not) {
			t.Errorf("%s: says %q:\n%s", name, c.not, r.text)
		}
	}
}

func TestDigestNamesAll(t *testing.T) {
	r := composed(t, open(t, "smtp://localhost"), letter(jobs.LetterExported, func(p *jobs.Post) {
		second := p.Jobs[0]
		second.ID, second.Kind, second.RequestedBy = "j2", jobs.Documents, "b@example.edu"
		p.Letters, p.Jobs = append(p.Letters, p.Letters[0]), append(p.Jobs, second)
	}))
	if r.subject != "2 exports of all data of p" {
		t.Errorf("subject %q", r.subject)
	}
	for _, text := range []string{r.text, r.html} {
		holds(t, "digest", text, "/exports/j1", "/exports/j2", "a@example.edu", "b@example.edu", "documents")
	}
}

// Every failure has words of its own, and the words are those of the house.
func TestCatalogue(t *testing.T) {
	source, err := os.ReadFile("../jobs/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, "smtp://localhost")
	said := map[string]string{}
	codes := regexp.MustCompile(`(?m)^\tCode\w+ += "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	for _, c := range codes {
		r := composed(t, m, letter(jobs.LetterFailed, func(p *jobs.Post) {
			p.Jobs[0].State, p.Jobs[0].Failure = jobs.Failed, &jobs.Failure{Code: c[1], Message: "m"}
		}))
		if other, ok := said[r.text]; ok {
			t.Errorf("%s and %s are told alike", c[1], other)
		}
		said[r.text] = c[1]
	}
	if len(codes) < 10 {
		t.Errorf("%d codes found", len(codes))
	}
	if strings.Contains(notify.Catalogue, "!") {
		t.Error("an exclamation mark")
	}
}

// Nothing is loaded from anywhere, and nothing leads elsewhere than to the page.
func TestHTMLIsQuiet(t *testing.T) {
	for _, o := range []jobs.Outcome{jobs.LetterReady, jobs.LetterFailed, jobs.LetterCanceled, jobs.LetterExpiring, jobs.LetterExported} {
		r := composed(t, open(t, "smtp://localhost"), letter(o))
		for _, bad := range []string{"<img", "<link", "<script", "src=", "url(", "@import", "http://"} {
			if strings.Contains(r.html, bad) {
				t.Errorf("%s: %s", o, bad)
			}
		}
		for _, to := range regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(r.html, -1) {
			if to[1] != "https://export.example.edu/x/exports/j1" {
				t.Errorf("%s leads to %s", o, to[1])
			}
		}
		holds(t, string(o), r.html, `lang="en"`, "prefers-color-scheme: dark", "width=device-width", `name="color-scheme"`)
	}
}

// names are what people call projects, and what they could.
var names = map[string]string{
	"header injection": "a\r\nBcc: everybody@example.org\r\n\r\nbody",
	"bare line feeds":  "a\nSubject: other\rX: y\u2028z\u0085",
	"markup":           `<script>alert(1)</script>"'&<a href="https://evil.example">`,
	"templates":        `{{.Project}} {{define "x"}}`,
	"Arabic":           "مشروع التصدير 2024",
	"Hebrew override":  "\u202Eabc\u202C\u2067שלום",
	"isolates":         "a\u2069\u2066b\u2068",
	"Chinese":          "人工智能课程",
	"long":             strings.Repeat("é", 200),
	"long, no spaces":  strings.Repeat("W", 200),
	"emoji":            "👩‍🏫 class",
	"controls":         "a\x00\x1b[31mb\x7f\x9b",
	"broken UTF-8":     "a\xff\xfe",
	"spaces":           "  a \t b  ",
	"encoded word":     "=?utf-8?q?Bcc=3A_x?=",
	"dot line":         "a\r\n.\r\nMAIL FROM:<x@y>",
	"nothing":          "",
}

// harmless checks a mail about a project of that name.
func harmless(t testing.TB, raw, name string) {
	t.Helper()
	r := take(t, raw)
	known := []string{"Auto-Submitted", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To", "X-Auto-Response-Suppress", "Return-Path", "Delivered-To"}
	for _, h := range slices.Sorted(maps.Keys(r.header)) {
		if !slices.Contains(known, h) || len(r.header[h]) != 1 {
			t.Errorf("%q: a header %s: %q", name, h, r.header[h])
		}
	}
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") {
			t.Errorf("%q: head line %q", name, line)
		}
	}
	if utf8.RuneCountInString(r.subject) > 100 || strings.ContainsFunc(r.subject, func(c rune) bool { return c < ' ' || c == 0x202E || c == 0x7f }) {
		t.Errorf("%q: subject %q", name, r.subject)
	}
	for _, s := range []string{r.subject, r.text} {
		if strings.Count(s, "\u2068") != strings.Count(s, "\u2069") || strings.ContainsAny(s, "\u202A\u202B\u202D\u202E\u2066\u2067") {
			t.Errorf("%q: directions do not end where they should in %q", name, s)
		}
	}
	if strings.Contains(r.html, "<script") || strings.Contains(r.html, `href="https://evil`) || !strings.Contains(r.html, "<bdi>") {
		t.Errorf("%q in HTML:\n%s", name, r.html)
	}
	if !strings.HasSuffix(strings.TrimSpace(r.text), "Nobody reads answers to it.") || !strings.Contains(r.html, "</html>") {
		t.Errorf("%q: the mail is cut short:\n%s", name, r.text)
	}
}

func TestHostileNames(t *testing.T) {
	m := open(t, testenv.Var(t, "SMTP_URL"))
	for what, name := range names {
		id := rand.Text()
		p := letter(jobs.LetterReady, func(p *jobs.Post) { p.Letters[0].Job, p.Jobs[0].ID, p.Jobs[0].Project = id, id, name })
		if err := m.Send(t.Context(), p); err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		got := testenv.Inbox(t, "/exports/"+id)
		if len(got) != 1 || !slices.Equal(got[0].To, []string{"owner@example.edu"}) {
			t.Fatalf("%s: %+v", what, got)
		}
		harmless(t, got[0].Raw, name)
	}
}

func FuzzNames(f *testing.F) {
	for _, name := range names {
		f.Add(name, name)
	}
	m, err := notify.Open(notify.Config{URL: "smtp://localhost", From: "a@b", PublicURL: "http://h", Zone: time.UTC, Now: func() time.Time { return noon }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, project, person string) {
		for _, o := range []jobs.Outcome{jobs.LetterReady, jobs.LetterExported} {
			raw, err := m.Composed(letter(o, func(p *jobs.Post) { p.Jobs[0].Project, p.Jobs[0].RequestedBy = project, person }))
			if err != nil {
				t.Fatal(err)
			}
			harmless(t, raw, project)
		}
	})
}
