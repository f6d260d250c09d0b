package mailsink

import (
	"encoding/base64"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"regexp"
	"strings"
	"time"
)

// Message is one that arrived.
type Message struct {
	ID      int       `json:"id"`
	At      time.Time `json:"at"`
	From    string    `json:"from"` // of the envelope
	To      []string  `json:"to"`   // of the envelope
	Subject string    `json:"subject"`
	Headers []Header  `json:"headers"`
	Text    string    `json:"text"` // its plain text, if it has any
	Raw     string    `json:"raw"`
}

// piece of a text is a link, or what stands between two.
type piece struct {
	Text string
	Link bool
}

var links = regexp.MustCompile(`https?://[^\s<>"]+`)

// Pieces are the plain text's, so that a reader can follow its links.
func (m Message) Pieces() (list []piece) {
	rest := 0
	for _, at := range links.FindAllStringIndex(m.Text, -1) {
		list = append(list, piece{m.Text[rest:at[0]], false}, piece{m.Text[at[0]:at[1]], true})
		rest = at[1]
	}
	if rest < len(m.Text) {
		list = append(list, piece{m.Text[rest:], false})
	}
	return list
}

// Header is one line of a message's head, decoded.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// shown are the headers that a reader looks for first.
var shown = []string{
	"From", "To", "Cc", "Reply-To", "Subject", "Date", "Message-Id", "In-Reply-To", "Auto-Submitted",
	"Content-Type", "List-Unsubscribe",
}

// parse reads what it can: the raw source of a malformed message is kept too.
func parse(id int, at time.Time, raw string) Message {
	m := Message{ID: id, At: at, To: []string{}, Headers: []Header{}, Raw: raw}
	parsed, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		return m
	}
	m.From = strings.Trim(parsed.Header.Get("Return-Path"), "<>")
	m.To = append(m.To, parsed.Header["Delivered-To"]...)
	m.Subject = decoded(parsed.Header.Get("Subject"))
	for _, name := range shown {
		for _, v := range parsed.Header[name] {
			m.Headers = append(m.Headers, Header{name, decoded(v)})
		}
	}
	m.Text = text(textproto.MIMEHeader(parsed.Header), parsed.Body)
	return m
}

func decoded(header string) string {
	s, err := new(mime.WordDecoder).DecodeHeader(header)
	if err != nil {
		return header
	}
	return s
}

// text finds the first part of plain text.
func text(header textproto.MIMEHeader, body io.Reader) string {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case err == nil && strings.HasPrefix(kind, "multipart/"):
		parts := multipart.NewReader(body, params["boundary"])
		for {
			p, err := parts.NextRawPart()
			if err != nil {
				return ""
			}
			if s := text(p.Header, p); s != "" {
				return s
			}
		}
	case err == nil && kind != "text/plain":
		return ""
	}
	switch strings.ToLower(header.Get("Content-Transfer-Encoding")) {
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	b, _ := io.ReadAll(body) // what can be read of a broken part is shown
	return string(b)
}
