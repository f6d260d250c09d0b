// Package mailsink takes every mail, keeps it in a folder, and shows an inbox.
package mailsink

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// What a mail server would allow, generously.
const (
	maxBytes      = 25 << 20
	maxRecipients = 100
	idle          = time.Minute
)

// Sink is a mail server and its inbox.
type Sink struct {
	dir         string
	smtp        *smtp.Server
	inbox       *http.Server
	smtpAddr    string
	inboxAddr   string
	mu          sync.Mutex
	messages    []Message // in the order of their arrival
	lastMessage int
}

// Start serves both listeners. Messages of an earlier run in dir are shown again.
func Start(dir string, smtpListener, inboxListener net.Listener, failed func(error)) (*Sink, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	s := &Sink{dir: dir, smtpAddr: smtpListener.Addr().String(), inboxAddr: inboxListener.Addr().String()}
	if err := s.load(); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	s.smtp = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{sink: s}, nil }))
	s.smtp.Domain = "localhost"
	s.smtp.EnableSMTPUTF8 = true
	s.smtp.MaxMessageBytes, s.smtp.MaxRecipients = maxBytes, maxRecipients
	s.smtp.ReadTimeout, s.smtp.WriteTimeout = idle, idle
	s.smtp.ErrorLog = slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug)
	s.inbox = &http.Server{Handler: s.pages(), ReadHeaderTimeout: 5 * time.Second}
	serve := func(f func(net.Listener) error, l net.Listener) {
		if err := f(l); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, smtp.ErrServerClosed) {
			failed(fmt.Errorf("mail sink: %w", err))
		}
	}
	go serve(s.smtp.Serve, smtpListener)
	go serve(s.inbox.Serve, inboxListener)
	return s, nil
}

// SMTP is the mail server's address.
func (s *Sink) SMTP() string { return "smtp://" + s.smtpAddr }

// Inbox is the address of the pages.
func (s *Sink) Inbox() string { return "http://" + s.inboxAddr }

// Stop ends the sink.
func (s *Sink) Stop() error { return errors.Join(s.smtp.Close(), s.inbox.Close()) }

// session is one SMTP conversation.
type session struct {
	sink *Sink
	from string
	to   []string
}

// Reset, Logout, Mail, Rcpt and Data are what go-smtp asks of a session.
func (s *session) Reset() { s.from, s.to = "", nil }

func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error { s.from = from; return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error { s.to = append(s.to, to); return nil }

func (s *session) Data(r io.Reader) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Return-Path: <%s>\r\n", s.from)
	for _, to := range s.to {
		fmt.Fprintf(&b, "Delivered-To: %s\r\n", to)
	}
	if _, err := io.Copy(&b, r); err != nil {
		return err
	}
	return s.sink.keep(b.String())
}

// keep stores a message as a mail server does on delivery: with its envelope
// as the first headers.
func (s *Sink) keep(raw string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC()
	name := fmt.Sprintf("%s-%d.eml", now.Format(fileTime), s.lastMessage+1)
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(raw), 0o600); err != nil {
		slog.Error("mail sink cannot keep a message", "error", err)
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "no room"}
	}
	s.lastMessage++
	s.messages = append(s.messages, parse(s.lastMessage, now, raw))
	return nil
}

// fileTime orders files by their arrival.
const fileTime = "20060102T150405.000000000Z"

func (s *Sink) load() error {
	files, err := s.files()
	if err != nil {
		return err
	}
	for _, path := range files {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		stamp, _, _ := strings.Cut(filepath.Base(path), "-")
		at, err := time.Parse(fileTime, stamp)
		if err != nil {
			continue // not one of ours
		}
		s.lastMessage++
		s.messages = append(s.messages, parse(s.lastMessage, at, string(raw)))
	}
	return nil
}

func (s *Sink) files() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(s.dir, "*.eml"))
	slices.Sort(files)
	return files, err
}

// Messages returns all of them, the newest first.
func (s *Sink) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Clone(s.messages)
	slices.Reverse(list)
	return list
}

// Empty forgets all messages.
func (s *Sink) Empty() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, err := s.files()
	for _, path := range files {
		err = errors.Join(err, os.Remove(path))
	}
	s.messages = nil
	return err
}
