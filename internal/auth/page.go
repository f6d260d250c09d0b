package auth

import (
	"bytes"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// page is what the handlers show: what happened, and what to do.
type page struct {
	Status int
	Title  string
	Text   string
	// Link leads on, by a click.
	Link, LinkText string
	// Form is where a button sends a form to.
	Form, Button string

	// Look is the stylesheet's address.
	Look string

	// formTo are origins beside this one where the form may lead in the end.
	formTo string
}

func (a *Authenticator) show(w http.ResponseWriter, p page) {
	var b bytes.Buffer
	p.Look = a.look
	if err := pageTemplate.Execute(&b, p); err != nil {
		a.log.Error("page not made", "error", err)
	}
	guarded(w)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", strings.TrimSpace("default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+p.formTo))
	if p.Status == http.StatusServiceUnavailable {
		h.Set("Retry-After", "5")
	}
	if p.Form != "" { // with no-referrer the form would come from Origin: null
		h.Set("Referrer-Policy", "same-origin")
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(b.Bytes()) // the browser has gone
}

// guarded keeps an answer out of caches and its address out of others' logs.
func guarded(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}

// redirect sends the browser on by GET.
func redirect(w http.ResponseWriter, r *http.Request, to string) {
	guarded(w)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// failed shows why a sign-in or sign-out came to nothing. The way to try again
// leads to next.
func (a *Authenticator) failed(w http.ResponseWriter, err error, next string) {
	p := page{Status: http.StatusInternalServerError, Title: "Something went wrong", Text: "The error is inside this service. Try again in a moment."}
	var down *jobs.Unavailable
	var r refusal
	switch {
	case errors.As(err, &down):
		p.Status, p.Title = http.StatusServiceUnavailable, "Not possible just now"
		p.Text = "Currently " + down.Dependency + " does not answer. Try again in a moment."
	case errors.Is(err, errUnverified):
		p.Status, p.Title = http.StatusForbidden, "Your e-mail address is not verified"
		p.Text = "The sign-in provider says so. Verify the address there, then sign in again."
	case errors.Is(err, errNoEmail):
		p.Status, p.Title = http.StatusForbidden, "Your e-mail address is not known"
		p.Text = "The sign-in provider does not tell it, and your role in a project hangs on it. Give your account there an address, or ask who operates this service."
	case errors.Is(err, errAttempt):
		p.Status, p.Title = http.StatusBadRequest, "This sign-in cannot go on"
		p.Text = "It was begun in another browser or too long ago, or is done already. Begin anew."
	case errors.Is(err, errDenied):
		p.Status, p.Title = http.StatusForbidden, "You were not signed in"
		p.Text = "The sign-in provider did not let you in, or you called it off."
	case errors.Is(err, errClient):
		p.Status, p.Title = http.StatusBadGateway, "The sign-in provider refuses this service"
		p.Text = "Who operates this service has to look at its settings at the provider."
	case errors.As(err, &r):
		p.Status, p.Title = http.StatusForbidden, "You were not signed in"
		p.Text = "What the sign-in provider told of you does not hold. If it goes on so, tell who operates this service."
	}
	if p.Status >= http.StatusInternalServerError {
		a.log.Error("sign-in failed", "status", p.Status, "error", err)
	} else {
		a.log.Info("sign-in refused", "status", p.Status, "reason", err)
	}
	p.Link, p.LinkText = a.base+"/login?"+url.Values{"next": {next}}.Encode(), "Sign in again"
	a.show(w, p)
}
