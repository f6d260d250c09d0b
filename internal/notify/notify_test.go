package notify_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/notify"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, url string) *notify.Mailer {
	t.Helper()
	chicago, err := time.LoadLocation("America/Chicago")
	if err != nil {
		t.Fatal(err)
	}
	m, err := notify.Open(notify.Config{
		URL: url, From: "Bulk Export <exports@example.edu>", PublicURL: "https://export.example.edu/x", Zone: chicago,
		Now: func() time.Time { return noon },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// letter is one about an export of project p that has ended well.
func letter(o jobs.Outcome, change ...func(*jobs.Post)) jobs.Post {
	expires, finished := noon.Add(72*time.Hour), noon.Add(-time.Minute)
	p := jobs.Post{
		Letters: []jobs.Letter{{ID: 1, Job: "j1", Recipient: "owner@example.edu", Outcome: o, Edition: 1}},
		Jobs: []jobs.Job{{
			ID: "j1", Spec: jobs.Spec{Project: "p", Kind: jobs.Conversations}, State: jobs.Succeeded, RequestedBy: "a@example.edu",
			CreatedAt: noon.Add(-time.Hour), FinishedAt: &finished, ExpiresAt: &expires,
			Result: &jobs.Result{Rows: 54321, Bytes: 12_300_000, SHA256: strings.Repeat("ab", 32)},
		}},
	}
	for _, c := range change {
		c(&p)
	}
	return p
}

func TestOpen(t *testing.T) {
	for url, says := range map[string]string{
		"http://h":                        "must be smtp://",
		"smtp://":                         "must be smtp://",
		"smtp://h/path":                   "must be smtp://",
		"smtp://u:secret%zz@h":            "must be smtp://",
		"smtp://h?tls=maybe":              "nothing after the host",
		"smtps://h?tls=off":               "nothing after the host",
		"smtp://u:secret-mail@h?tls=off":  "everybody to read",
		"smtp://u:secret-mail@h:587?x=1":  "nothing after the host",
		"smtp://127.0.0.1.example.org?a=": "nothing after the host",
	} {
		_, err := notify.Open(notify.Config{URL: url, From: "a@b"})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := notify.Open(notify.Config{URL: "smtp://h", From: "nobody"}); err == nil {
		t.Error("a sender without an address")
	}
	for _, url := range []string{"smtp://h", "smtps://u:p%40w@h", "smtp://u:p@127.0.0.1:25", "smtp://u:p@[::1]", "smtp://localhost", "smtp://h?tls=off"} {
		if _, err := notify.Open(notify.Config{URL: url, From: "a@b"}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestEncryption(t *testing.T) {
	cert, roots := certificate(t)
	const whole = "\x00u\x00secret-pw"
	for name, c := range map[string]struct {
		server              *server
		implicit            bool
		elsewhere, trusting bool
		want                string // the class of the error; empty: it is sent
	}{
		"STARTTLS":              {server: &server{tls: cert, auth: true}, elsewhere: true, trusting: true},
		"TLS":                   {server: &server{tls: cert, auth: true}, implicit: true, trusting: true},
		"this machine":          {server: &server{auth: true}},
		"none offered":          {server: &server{auth: true}, elsewhere: true, want: "smtp_unavailable"},
		"nobody's certificate":  {server: &server{tls: cert, auth: true}, elsewhere: true, want: "smtp_tls"},
		"nobody's, from before": {server: &server{tls: cert, auth: true}, implicit: true, want: "smtp_tls"},
		"wrong password":        {server: &server{auth: true, answers: map[string]string{"AUTH": "535 go away, owner@example.edu"}}, want: "smtp_auth"},
	} {
		s := c.server
		url := "smtp://u:secret-pw@" + s.serve(t, c.implicit)
		if c.implicit {
			url = strings.Replace(url, "smtp", "smtps", 1)
		}
		m := open(t, url)
		if c.elsewhere {
			m.NotOnThisMachine()
		}
		if c.trusting {
			m.Trust(roots)
		}
		err := m.Send(t.Context(), letter(jobs.LetterReady))
		mails, password, secure := s.got()
		if c.want == "" {
			if err != nil || mails != 1 || password != whole || secure != (s.tls != nil) {
				t.Errorf("%s: %v, %d mails, %q, secure %v", name, err, mails, password, secure)
			}
			if err := m.Ping(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var e *jobs.MailError
		if !errors.As(err, &e) || *e != (jobs.MailError{Code: c.want, Away: true}) || mails != 0 || password != "" {
			t.Errorf("%s: %v, %d mails, password %q", name, err, mails, password)
		}
	}
}

// failed sends a letter that must fail.
func failed(t *testing.T, m *notify.Mailer, o jobs.Outcome) *jobs.MailError {
	t.Helper()
	err := m.Send(t.Context(), letter(o))
	var e *jobs.MailError
	if !errors.As(err, &e) {
		t.Fatalf("%v is no MailError", err)
	}
	if strings.Contains(e.Code, "@") || strings.Contains(e.Error(), "owner") {
		t.Errorf("%q names somebody", e.Code)
	}
	return e
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		verb, answer string
		want         jobs.MailError
	}{
		"no such person":        {"RCPT", "550 no owner@example.edu here", jobs.MailError{Code: "refused_550", Refused: true}},
		"greylisted":            {"RCPT", "451 later, owner@example.edu", jobs.MailError{Code: "refused_451"}},
		"hangs up at the name":  {"RCPT", "", jobs.MailError{Code: "smtp_unavailable"}},
		"sender not allowed":    {"MAIL", "550 not you", jobs.MailError{Code: "smtp_refused_550", Away: true}},
		"too much mail":         {"MAIL", "421 too much", jobs.MailError{Code: "smtp_refused_421", Away: true}},
		"hangs up early":        {"MAIL", "", jobs.MailError{Code: "smtp_unavailable", Away: true}},
		"no mail now":           {"DATA", "451 later", jobs.MailError{Code: "refused_451"}},
		"looks like spam":       {".", "554 spam", jobs.MailError{Code: "refused_554", Refused: true}},
		"no room":               {".", "452 full", jobs.MailError{Code: "refused_452"}},
		"shutting down":         {".", "421 bye", jobs.MailError{Code: "smtp_refused_421", Away: true}},
		"the answer is lost":    {".", "", jobs.MailError{Code: "answer_lost", Unknown: true}},
		"not serving":           {"greeting", "554 no service", jobs.MailError{Code: "smtp_refused_554", Away: true}},
		"another kind of thing": {"greeting", "HTTP/1.1 400 Bad Request", jobs.MailError{Code: "smtp_unavailable", Away: true}},
	} {
		s := &server{answers: map[string]string{c.verb: c.answer}}
		if e := failed(t, open(t, "smtp://"+s.serve(t, false)), jobs.LetterReady); *e != c.want {
			t.Errorf("%s: %+v, want %+v", name, *e, c.want)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	m := open(t, "smtp://"+nobody)
	if e := failed(t, m, jobs.LetterReady); *e != (jobs.MailError{Code: "smtp_unavailable", Away: true}) {
		t.Errorf("nobody there: %+v", e)
	}
	if err := m.Ping(t.Context()); err == nil {
		t.Error("nobody there, but a ping succeeds")
	}
}

// A server that falls silent is left in time, wherever it does.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // the kernel accepts, nobody answers
	m := open(t, "smtp://"+l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	var e *jobs.MailError
	if err := m.Send(ctx, letter(jobs.LetterReady)); !errors.As(err, &e) || !e.Away {
		t.Errorf("%v", err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if err := m.Ping(ctx); err == nil {
		t.Error("a ping succeeds")
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestBadAddresses(t *testing.T) {
	m := open(t, "smtp://127.0.0.1:1")
	for _, to := range []string{"", "nobody", "a@b\r\nRCPT TO:<c@d>", "a@b, c@d", "<script>"} {
		var e *jobs.MailError
		err := m.Send(t.Context(), letter(jobs.LetterReady, func(p *jobs.Post) { p.Letters[0].Recipient = to }))
		if !errors.As(err, &e) || !e.Refused || e.Code != "bad_address" {
			t.Errorf("%q: %v", to, err)
		}
	}
}
