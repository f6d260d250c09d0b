package notify

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"html/template"
	netmail "net/mail"
	"strings"
	texttemplate "text/template"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/wneessen/go-mail"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

var (
	//go:embed catalogue.tmpl
	catalogue string
	//go:embed text.tmpl
	textLayout string
	//go:embed layout.html
	htmlLayout string
)

// The catalogue is read twice: as text, and as HTML, which escapes all that is
// put into it.
var (
	textWords = texttemplate.Must(texttemplate.New("").Funcs(texttemplate.FuncMap{"bdi": isolated}).Parse(catalogue))
	htmlWords = template.Must(template.New("").Funcs(template.FuncMap{"bdi": bdi}).Parse(catalogue))
	textPage  = texttemplate.Must(texttemplate.New("").Parse(textLayout))
	htmlPage  = template.Must(template.New("").Parse(htmlLayout))
)

// page is what the layouts get; each paragraph is of the layout's own kind.
type page[P any] struct {
	Subject, Title, Footer string
	Paragraphs             []P
	Exports                []export
}

// export is one in a mail, and where its page is.
type export struct {
	Facts        []fact
	Button, Link string
}

type fact struct{ Label, Value string }

// compose writes a mail: always as text and as HTML, with the same words.
func (m *Mailer) compose(p jobs.Post) (*mail.Msg, error) {
	to, err := netmail.ParseAddress(p.First().Recipient)
	if err != nil {
		return nil, &jobs.MailError{Code: codeBadAddress, Refused: true}
	}
	w := m.words(p)
	name := string(p.First().Outcome)
	if len(p.Jobs) > 1 {
		name = "digest"
	}
	subject := say(name+".subject", w.short())
	var text, html bytes.Buffer
	plain := page[string]{Subject: subject, Title: say(name+".title", w), Footer: say("footer", w)}
	rich := page[template.HTML]{Subject: subject, Title: plain.Title, Footer: plain.Footer}
	for _, j := range p.Jobs {
		plain.Exports = append(plain.Exports, export{m.facts(name, w, j), say(name+".button", w), m.publicURL + "/exports/" + j.ID})
	}
	rich.Exports = plain.Exports
	plain.Paragraphs = lines(say(name+".text", w))
	var b bytes.Buffer
	err = htmlWords.ExecuteTemplate(&b, name+".text", w)
	for _, line := range lines(b.String()) {
		rich.Paragraphs = append(rich.Paragraphs, template.HTML(line)) // the template has escaped it
	}
	if err == nil {
		err = textPage.Execute(&text, plain)
	}
	if err == nil {
		err = htmlPage.Execute(&html, rich)
	}
	if err != nil {
		return nil, &jobs.MailError{Code: "internal"}
	}
	return m.message(p.First(), to, subject, text.String(), html.String()), nil
}

// message puts a mail together. Nobody's absence note answers it.
func (m *Mailer) message(l jobs.Letter, to *netmail.Address, subject, text, html string) *mail.Msg {
	msg := mail.NewMsg(mail.WithNoDefaultUserAgent())
	msg.FromMailAddress(m.from)
	msg.ToMailAddress(&netmail.Address{Address: to.Address})
	msg.Subject(subject)
	msg.SetDateWithValue(m.now())
	msg.SetMessageIDWithValue(m.messageID(l))
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	msg.SetBodyString(mail.TypeTextPlain, text)
	msg.AddAlternativeString(mail.TypeTextHTML, html)
	return msg
}

// messageID is the same in every try, so that a mail that arrives twice can be
// known as one. Who asks for it anew gets another one.
func (m *Mailer) messageID(l jobs.Letter) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", l.Job, l.Recipient, l.Outcome, l.Edition))
	return hex.EncodeToString(sum[:16]) + m.from.Address[strings.LastIndexByte(m.from.Address, '@'):]
}

// say executes one piece of the catalogue. A test executes all of them.
func say(name string, w any) string {
	var b strings.Builder
	if err := textWords.ExecuteTemplate(&b, name, w); err != nil {
		panic("notify: the catalogue: " + err.Error())
	}
	return b.String()
}

// lines are the paragraphs of a text of the catalogue.
func lines(s string) (list []string) {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// facts are what a mail lists of an export.
func (m *Mailer) facts(name string, w words, j jobs.Job) (list []fact) {
	add := func(label, value string) { list = append(list, fact{say("label."+label, nil), value}) }
	others := name == "exported" || name == "digest"
	add("project", isolated(w.Project))
	add("kind", say("kind", string(j.Kind)))
	add("dates", say("dates", m.span(j.Spec)))
	if others {
		add("by", isolated(clean(j.RequestedBy)))
	}
	if others || name == "failed" || name == "canceled" {
		add("at", m.when(j.CreatedAt))
	}
	if r := j.Result; r != nil {
		add("rows", humanize.Comma(r.Rows))
		add("size", humanize.Bytes(uint64(r.Bytes)))
		if !others {
			add("sha256", r.SHA256)
		}
		if j.State == jobs.Succeeded && j.ExpiresAt != nil {
			add("deleted", m.when(*j.ExpiresAt)+", "+m.left(*j.ExpiresAt))
		}
	}
	return list
}

// when writes a time as people here know it, and in UTC.
func (m *Mailer) when(t time.Time) string {
	const layout = "2 January 2006, 15:04 "
	s := t.In(m.zone).Format(layout + "MST")
	if _, offset := t.In(m.zone).Zone(); offset != 0 {
		s += t.UTC().Format(" (2 January 2006, 15:04 UTC)")
	}
	return s
}

// left is the time until t, in words: in 3 days.
func (m *Mailer) left(t time.Time) string {
	d := t.Sub(m.now())
	unit := time.Minute
	switch { // a file of three days is not one of two when its mail is written
	case d > 48*time.Hour:
		unit = 24 * time.Hour
	case d > 2*time.Hour:
		unit = time.Hour
	}
	now := m.now()
	return "in " + strings.TrimSpace(humanize.RelTime(now, now.Add(d.Round(unit)), "", ""))
}
