package notify

import (
	"html/template"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize/english"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// words are what the catalogue's sentences are about.
type words struct {
	Project, Kind           string
	RequestedBy, CanceledBy string
	Expires, ExpiresIn      string // empty where there is no file
	Skipped                 string // how many rows; empty if none
	SkippedOne              bool
	Code                    string // of the failure
	Retryable               bool
	Count                   int
}

func (m *Mailer) words(p jobs.Post) words {
	j := p.Jobs[0]
	w := words{
		Project: clean(j.Project), Kind: say("kind", string(j.Kind)), Count: len(p.Jobs),
		RequestedBy: clean(j.RequestedBy), CanceledBy: clean(p.CanceledBy),
	}
	if j.State == jobs.Succeeded && j.ExpiresAt != nil && m.now().Before(*j.ExpiresAt) {
		w.Expires, w.ExpiresIn = m.when(*j.ExpiresAt), m.left(*j.ExpiresAt)
	}
	if j.Result != nil && j.Result.Skipped > 0 {
		w.Skipped, w.SkippedOne = english.Plural(int(j.Result.Skipped), "row", ""), j.Result.Skipped == 1
	}
	if j.Failure != nil {
		w.Code, w.Retryable = j.Failure.Code, j.Failure.Retryable
	}
	return w
}

// maxSubject is how much of a project's name a subject has room for, in characters.
const maxSubject = 60

// short is for a subject.
func (w words) short() words {
	if r := []rune(w.Project); len(r) > maxSubject {
		w.Project = strings.TrimSpace(string(r[:maxSubject-1])) + "…"
	}
	return w
}

// span are the bounds of an export. Whole days are told as days, both included.
type span struct {
	From, To string
	Days     bool
}

func (m *Mailer) span(s jobs.Spec) (d span) {
	const day = "2 January 2006"
	midnight := func(t *time.Time) bool { return t == nil || t.UTC().Equal(t.UTC().Truncate(24*time.Hour)) }
	d.Days = midnight(s.From) && midnight(s.To)
	if d.Days {
		if s.From != nil {
			d.From = s.From.UTC().Format(day)
		}
		if s.To != nil {
			d.To = s.To.UTC().AddDate(0, 0, -1).Format(day)
		}
		return d
	}
	if s.From != nil {
		d.From = m.when(*s.From)
	}
	if s.To != nil {
		d.To = m.when(*s.To)
	}
	return d
}

// clean makes one line of what somebody typed: nothing in it may end a line or a
// header, or turn the direction of what stands around it.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Bidi_Control, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// isolated keeps a name that runs from right to left from reordering the words
// around it, in text: first strong isolate, pop directional isolate.
func isolated(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= 0x590 }) < 0 {
		return s
	}
	return "\u2068" + s + "\u2069"
}

// bdi does the same in HTML.
func bdi(s string) template.HTML {
	return template.HTML("<bdi>" + template.HTMLEscapeString(s) + "</bdi>")
}
