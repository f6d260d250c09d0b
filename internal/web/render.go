package web

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

//go:embed templates
var templateFiles embed.FS

// templates are the pages by name, each with the layout around it.
type templates map[string]*template.Template

// parseTemplates makes all pages. Their addresses begin with base.
func parseTemplates(base string) (templates, error) {
	funcs := template.FuncMap{
		"at":      func(path ...string) string { return base + strings.Join(path, "") },
		"asset":   func(name string) string { return base + assetURLs[name] },
		"segment": url.PathEscape,
		"count":   humanize.Comma,
		"bytes":   func(n int64) string { return humanize.Bytes(uint64(max(n, 0))) },
		"between": between,
		"machine": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"kind":    func(k jobs.Kind) string { return kindWords[k] },
		"span":    span,
		"states":  func() []stateChoice { return stateChoices },
		"meaning": func(code string) string { return failureWords[code] },
		"reason":  func(r string) string { return cmp.Or(reasonWords[r], r) },
	}
	layout, err := template.New("layout.html").Funcs(funcs).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/opsparts.html")
	if err != nil {
		return nil, err
	}
	all := make(templates)
	for _, name := range []string{"home", "project", "preview", "export", "ask", "audit", "message", "ops", "opsjobs", "opsjob", "opsask", "opsqueues", "opstasks"} {
		t, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if all[name], err = t.ParseFS(templateFiles, "templates/"+name+".html"); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// frame is what the layout shows around a page.
type frame struct {
	Title  string
	Person string // empty: nobody is signed in
	Crumbs []crumb
	Zone   string
	// Reload: the page may be asked for again once the browser's zone is known.
	Reload bool
	Body   any
}

// crumb is a step of the way back.
type crumb struct{ Text, Link string }

// csp lets a page load its own script and style, and nothing else from anywhere.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "private, no-store")
	// With no-referrer, which is the API's, a form would come from Origin: null.
	w.Header().Set("Referrer-Policy", "same-origin")
}

// show sends a page: the layout, or one block of it.
func (p *Pages) show(v *visit, status int, name string, f frame) error {
	return p.write(v, status, name, "layout.html", f)
}

func (p *Pages) write(v *visit, status int, name, block string, data any) error {
	if f, ok := data.(frame); ok {
		f.Person, f.Zone = v.who.Email, v.zone.String()
		f.Reload = v.r.Method == http.MethodGet
		data = f
	}
	var b bytes.Buffer
	if err := p.tmpl[name].ExecuteTemplate(&b, block, data); err != nil {
		return fmt.Errorf("page %s: %w", name, err)
	}
	noStore(v.w)
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.Header().Set("Content-Security-Policy", csp)
	v.w.WriteHeader(status)
	_, _ = v.w.Write(b.Bytes()) // the browser has gone
	return nil
}

// message is a page that says what happened, and what to do.
type message struct {
	Title, Text string
	// Link leads on; LinkText is empty if there is nowhere to go.
	Link, LinkText string
}

// failed shows why there is nothing else to show. A page that asked in the
// background is loaded anew where only that helps, and else stays as it is.
func (p *Pages) failed(v *visit, err error) {
	status, m := p.explain(v, err)
	if v.r.Header.Get("HX-Request") == "true" {
		if status < http.StatusTooManyRequests {
			v.w.Header().Set("HX-Refresh", "true")
		}
		v.w.Header().Set("HX-Reswap", "none")
	}
	if status == http.StatusServiceUnavailable && v.w.Header().Get("Retry-After") == "" {
		v.w.Header().Set("Retry-After", "10")
	}
	if err := p.show(v, status, "message", frame{Title: m.Title, Body: m}); err != nil {
		p.cfg.Log.Error("page not made", "error", err)
	}
}

func (p *Pages) explain(v *visit, err error) (int, message) {
	var down *jobs.Unavailable
	switch {
	case errors.Is(err, jobs.ErrUnauthenticated):
		return http.StatusUnauthorized, p.signedOut(v)
	case errors.Is(err, jobs.ErrTooMany):
		return http.StatusTooManyRequests, message{Title: "Too many requests", Text: "You, or a program with your key, asked for more pages than is good for others. Wait a minute, then load this page again."}
	case errors.As(err, &down):
		p.cfg.Log.Warn("page not possible", "error", err)
		return http.StatusServiceUnavailable, message{Title: "Not possible just now",
			Text: "Currently " + down.Dependency + " does not answer. Nothing is lost, and exports that run go on. Load this page again in a moment."}
	}
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			m := message{Title: r.title, Text: r.text, Link: "/", LinkText: "Your projects"}
			if id := v.r.PathValue("id"); isID(id) && r.status != http.StatusNotFound && r.status != http.StatusForbidden {
				m.Link, m.LinkText = "/exports/"+id, "The export's page"
			}
			return r.status, m
		}
	}
	p.cfg.Log.Error("page failed", "error", err)
	return http.StatusInternalServerError, message{Title: "Something went wrong",
		Text: "The error is inside this service, and has been noted. Load this page again in a moment."}
}

// signedOut leads to the sign-in, and from there back to what was asked for.
func (p *Pages) signedOut(v *visit) message {
	if !p.cfg.SignIn {
		return message{Title: "There is no sign-in here", Text: "This service takes API keys of the platform only. Who operates it can set an OpenID provider up."}
	}
	next := v.r.URL.RequestURI()
	if id := v.r.PathValue("id"); v.r.Method != http.MethodGet && isID(id) {
		next = "/exports/" + id // whose form it was
	}
	m := message{Title: "Please sign in", Text: "This page is for the owner and the admins of a project. You are not signed in, or your sign-in has ended.",
		Link: "/login?" + url.Values{"next": {next}}.Encode(), LinkText: "Sign in"}
	if v.r.URL.Path == "/" {
		m.Title = "Bulk Export"
		m.Text = "Export everything that was said in a project, or all of its documents, as one file. For the owner and the admins of the project."
	}
	return m
}

func lastSegment(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// between is a range of times in words; a common unit is said once.
func between(least, most time.Duration) string {
	a, b := inWords(least), inWords(most)
	n, unit, _ := strings.Cut(a, " ")
	if strings.HasPrefix(lastWord(b), unit) {
		a = n
	}
	if a == b || n+" "+unit == b {
		return b
	}
	return a + " to " + b
}

func lastWord(s string) string { return s[strings.LastIndexByte(s, ' ')+1:] }

// inWords is a time span as people say it, rounded to what matters.
func inWords(d time.Duration) string {
	plural := func(n int64, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	switch {
	case d < time.Minute:
		return plural(max(1, int64(d.Round(time.Second)/time.Second)), "second")
	case d < time.Hour:
		return plural(int64(d.Round(time.Minute)/time.Minute), "minute")
	case d < 48*time.Hour:
		return plural(int64(d.Round(time.Hour)/time.Hour), "hour")
	}
	return plural(int64(d.Round(24*time.Hour)/(24*time.Hour)), "day")
}
