package parts

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// Mail is a sink: it takes every message, keeps it, and shows an inbox.
type Mail struct {
	dir   string
	smtp  *smtp.Server
	inbox *http.Server
	ports [2]int

	mu       sync.Mutex
	messages []Message
}

// Message is one that arrived.
type Message struct {
	ID      int       `json:"id"`
	At      time.Time `json:"at"`
	From    string    `json:"from"`
	To      []string  `json:"to"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	Raw     string    `json:"raw"`
}

//go:embed inbox.html
var inboxFiles embed.FS

var inboxPage = template.Must(template.ParseFS(inboxFiles, "inbox.html"))

// StartMail runs a sink that keeps its messages below dir too.
func StartMail(dir string, smtpPort, inboxPort int) (*Mail, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	m := &Mail{dir: dir, ports: [2]int{smtpPort, inboxPort}}
	m.smtp = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{sink: m}, nil }))
	m.smtp.Domain = "devstack"
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", m.list)
	mux.HandleFunc("GET /message/{id}", m.one)
	mux.HandleFunc("GET /api/messages", m.api)
	mux.HandleFunc("DELETE /api/messages", m.empty)
	m.inbox = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	for port, serve := range map[int]func(net.Listener) error{smtpPort: m.smtp.Serve, inboxPort: m.inbox.Serve} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("mail: %w", err), m.Stop())
		}
		go func() { _ = serve(l) }()
	}
	return m, nil
}

// SMTP and Inbox are the sink's addresses.
func (m *Mail) SMTP() string  { return fmt.Sprintf("smtp://127.0.0.1:%d", m.ports[0]) }
func (m *Mail) Inbox() string { return fmt.Sprintf("http://127.0.0.1:%d", m.ports[1]) }

// Stop ends the sink.
func (m *Mail) Stop() error { return errors.Join(m.smtp.Close(), m.inbox.Close()) }

// session is one SMTP conversation.
type session struct {
	sink *Mail
	from string
	to   []string
}

func (s *session) Reset()                                      { s.from, s.to = "", nil }
func (s *session) Logout() error                               { return nil }
func (s *session) Mail(from string, _ *smtp.MailOptions) error { s.from = from; return nil }
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error   { s.to = append(s.to, to); return nil }

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return s.sink.keep(Message{At: time.Now().UTC(), From: s.from, To: slices.Clone(s.to), Raw: string(raw)})
}

func (m *Mail) keep(msg Message) error {
	if parsed, err := mail.ReadMessage(strings.NewReader(msg.Raw)); err == nil {
		msg.Subject, _ = new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
		msg.Text = textPart(parsed.Header.Get("Content-Type"), parsed.Header.Get("Content-Transfer-Encoding"), parsed.Body)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	msg.ID = len(m.messages) + 1
	m.messages = append(m.messages, msg)
	return os.WriteFile(filepath.Join(m.dir, fmt.Sprintf("%d-%d.eml", msg.At.UnixNano(), msg.ID)), []byte(msg.Raw), 0o600)
}

// textPart finds what a reader of plain text sees.
func textPart(contentType, encoding string, body io.Reader) string {
	kind, params, err := mime.ParseMediaType(contentType)
	if strings.HasPrefix(kind, "multipart/") && err == nil {
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextPart()
			if err != nil {
				return ""
			}
			if text := textPart(p.Header.Get("Content-Type"), p.Header.Get("Content-Transfer-Encoding"), p); text != "" {
				return text
			}
		}
	}
	if kind != "" && kind != "text/plain" {
		return ""
	}
	if strings.EqualFold(encoding, "quoted-printable") {
		body = quotedprintable.NewReader(body)
	}
	b, _ := io.ReadAll(body)
	return string(b)
}

// all returns the messages, newest first.
func (m *Mail) all() []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.messages)
	slices.Reverse(list)
	return list
}

func (m *Mail) list(w http.ResponseWriter, _ *http.Request) {
	render(w, map[string]any{"Messages": m.all()})
}

func (m *Mail) one(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.Atoi(r.PathValue("id"))
	for _, msg := range m.all() {
		if msg.ID == id {
			render(w, map[string]any{"Message": msg})
			return
		}
	}
	http.NotFound(w, r)
}

func render(w http.ResponseWriter, data any) {
	var b bytes.Buffer
	if err := inboxPage.Execute(&b, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = b.WriteTo(w)
}

func (m *Mail) api(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(append([]Message{}, m.all()...))
}

func (m *Mail) empty(w http.ResponseWriter, _ *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages = nil
	w.WriteHeader(http.StatusNoContent)
}
