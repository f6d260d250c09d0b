package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

const id = "01a21584-9641-7d4d-8624-de1c52e58864"

// desk is a Service whose answers a test sets, and which notes what it was asked.
type desk struct {
	Service
	job      jobs.Job
	created  jobs.Created
	preview  jobs.Preview
	err      error
	asked    []jobs.CreateRequest
	previews []jobs.PreviewRequest
	did      []string
}

func (d *desk) Projects(context.Context, jobs.Principal) ([]jobs.OwnProject, error) {
	return []jobs.OwnProject{{Project: "a/b ö", Role: jobs.RoleOwner}}, d.err
}
func (d *desk) List(context.Context, jobs.Principal, jobs.ListQuery) ([]jobs.Job, error) {
	return nil, d.err
}
func (d *desk) Preview(_ context.Context, _ jobs.Principal, r jobs.PreviewRequest) (jobs.Preview, error) {
	d.previews = append(d.previews, r)
	return d.preview, d.err
}
func (d *desk) Create(_ context.Context, _ jobs.Principal, r jobs.CreateRequest) (jobs.Created, error) {
	d.asked = append(d.asked, r)
	return d.created, d.err
}
func (d *desk) Get(context.Context, jobs.Principal, string) (jobs.Job, error) { return d.job, d.err }
func (d *desk) Parts(context.Context, jobs.Principal, string) ([]jobs.Part, error) {
	return nil, nil
}
func (d *desk) Audit(context.Context, jobs.Principal, jobs.AuditQuery) ([]jobs.AuditEntry, error) {
	return nil, d.err
}
func (d *desk) Letters(context.Context, jobs.Principal, string) ([]jobs.Letter, error) {
	return nil, nil
}
func (d *desk) Check(context.Context, jobs.Principal, jobs.Wanted) error { return d.err }
func (d *desk) Cancel(context.Context, jobs.Principal, string) (jobs.Job, error) {
	d.did = append(d.did, "cancel")
	return d.job, d.err
}
func (d *desk) Extend(context.Context, jobs.Principal, string) (jobs.Job, error) {
	d.did = append(d.did, "extend")
	return d.job, d.err
}
func (d *desk) Purge(context.Context, jobs.Principal, string) error {
	d.did = append(d.did, "purge")
	return d.err
}
func (d *desk) Resend(_ context.Context, _ jobs.Principal, _ string, letter int64) error {
	d.did = append(d.did, fmt.Sprint("resend ", letter))
	return d.err
}

// gate lets somebody in who sends any cookie.
type gate struct{}

func (gate) Enter(_ http.ResponseWriter, r *http.Request) (jobs.Principal, error) {
	if r.Header.Get("Cookie") == "" {
		return jobs.Principal{}, jobs.ErrUnauthenticated
	}
	return jobs.Principal{Email: "a@example.edu"}, nil
}

func pagesOf(t *testing.T, s Service) *Pages {
	t.Helper()
	p, err := New(Config{Service: s, Door: gate{}, PublicURL: "https://h/base", SignIn: true, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) }, NewKey: func() string { return "key-1" }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// call returns the answer to somebody signed in, in Chicago.
func (d *desk) call(t *testing.T, method, path string, form url.Values, header ...string) (*http.Response, string) {
	t.Helper()
	return d.callWith(t, d, method, path, form, header...)
}

// callWith calls the pages of a service.
func (d *desk) callWith(t *testing.T, s Service, method, path string, form url.Values, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Header.Set("Cookie", "tz=America%2FChicago")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	pagesOf(t, s).ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Result(), string(body)
}

// Days are those of the browser's zone, both included, and go on as instants
// with offset; the day on which clocks change has 23 or 25 hours.
func TestDaysAreTheBrowsers(t *testing.T) {
	t.Parallel()
	d := &desk{created: jobs.Created{Job: jobs.Job{ID: id}, New: true}}
	res, _ := d.call(t, http.MethodPost, "/p/a%2Fb", url.Values{"kind": {"documents"}, "from": {"2025-03-09"}, "to": {"2025-11-02"}, "notify": {"x@e, y@e;z@e"}, "key": {"k"}})
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/base/exports/"+id+"?done=started" {
		t.Fatalf("%s to %s", res.Status, res.Header.Get("Location"))
	}
	got := d.asked[0]
	if got.Project != "a/b" || got.Kind != "documents" || got.From != "2025-03-09T00:00:00-06:00" || got.To != "2025-11-03T00:00:00-06:00" ||
		strings.Join(got.Notify, " ") != "x@e y@e z@e" || got.IdempotencyKey != "k" || got.Fresh {
		t.Errorf("asked for %+v", got)
	}
}

func TestSpansInWords(t *testing.T) {
	t.Parallel()
	chicago, err := time.LoadLocation("America/Chicago")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) *time.Time {
		if s == "" {
			return nil
		}
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	for _, c := range []struct{ from, to, want string }{
		{"", "", "all time"},
		{"2025-03-09T06:00:00Z", "", "since 9 March 2025"},
		{"", "2025-03-10T05:00:00Z", "until 9 March 2025"},
		{"2025-03-09T06:00:00Z", "2025-03-10T05:00:00Z", "9 March 2025"},
		{"2025-03-01T06:00:00Z", "2025-04-01T05:00:00Z", "1 March 2025 to 31 March 2025"},
		{"2025-03-01T00:00:00Z", "2025-04-01T05:00:00Z", "28 Feb 2025, 18:00 to 31 March 2025"},
	} {
		if got := (zone{chicago}).days(at(c.from), at(c.to)); got != c.want {
			t.Errorf("%s to %s: %q, want %q", c.from, c.to, got, c.want)
		}
	}
}

// A page is nobody else's: it is not kept, runs no script but its own, and
// cannot be framed.
func TestPagesAreGuarded(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/p/x", "/exports/" + id, "/nothing"} {
		res, body := (&desk{}).call(t, http.MethodGet, path, nil)
		if got := res.Header.Get("Cache-Control"); got != "private, no-store" {
			t.Errorf("%s: %s", path, got)
		}
		for _, part := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(res.Header.Get("Content-Security-Policy"), part) {
				t.Errorf("%s: no %s", path, part)
			}
		}
		if strings.Contains(res.Header.Get("Content-Security-Policy"), "unsafe") || strings.Contains(body, "<script>") || strings.Contains(body, " style=") || strings.Contains(body, " onclick=") {
			t.Errorf("%s: something inline", path)
		}
	}
}

// Each refusal has words of its own, and a page that asks in the background is
// loaded anew only where that helps.
func TestRefusalsInWords(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     error
		status  int
		words   string
		refresh bool
	}{
		{jobs.ErrNotFound, 404, "Nothing here for you", true},
		{jobs.ErrFrozen, 403, "This project is closed", true},
		{jobs.ErrGone, 410, "This file has been deleted", true},
		{jobs.ErrQueueFull, 409, "Too many exports are waiting", true},
		{jobs.ErrTooMany, 429, "Too many requests", false},
		{&jobs.Unavailable{Dependency: "the object store", Err: errors.New("secret")}, 503, "Currently the object store does not answer", false},
		{errors.New("secret"), 500, "Something went wrong", false},
	} {
		res, body := (&desk{err: c.err}).call(t, http.MethodGet, "/exports/"+id, nil, "HX-Request", "true")
		if res.StatusCode != c.status || !strings.Contains(body, c.words) || strings.Contains(body, "secret") {
			t.Errorf("%v: %s\n%s", c.err, res.Status, body)
		}
		if got := res.Header.Get("HX-Refresh") == "true"; got != c.refresh || res.Header.Get("HX-Reswap") != "none" {
			t.Errorf("%v: refresh %v", c.err, got)
		}
	}
}

// Who is not signed in is led to the sign-in, and from there to the page whose
// form or address it was.
func TestSignInLeadsBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ method, path, next string }{
		{http.MethodGet, "/p/a%2Fb?kind=documents", "/p/a%2Fb?kind=documents"},
		{http.MethodPost, "/p/a%2Fb", "/p/a%2Fb"},
		{http.MethodPost, "/exports/" + id + "/extend", "/exports/" + id},
		{http.MethodPost, "/exports/" + id + "/mails/7", "/exports/" + id},
	} {
		res, body := (&desk{}).call(t, c.method, c.path, nil, "Cookie", "")
		want := `href="/base/login?` + url.Values{"next": {c.next}}.Encode() + `"`
		if res.StatusCode != http.StatusUnauthorized || !strings.Contains(body, want) {
			t.Errorf("%s %s: %s, not %s\n%s", c.method, c.path, res.Status, want, body)
		}
	}
}

// A wrong choice is told beside the form, which keeps what was typed.
func TestWrongChoicesAreKept(t *testing.T) {
	t.Parallel()
	d := &desk{err: &jobs.Invalid{Fields: []jobs.FieldError{{Field: "to", Message: "must be later than from"}, {Field: "notify[0]", Message: "must be the owner or an admin of this project"}}}}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/p/x", strings.NewReader("kind=documents&from=2025-02-01&to=2025-01-01&notify=who%40e"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Cookie", "a=b")
	w := httptest.NewRecorder()
	p := pagesOf(t, d)
	p.cfg.Service = listing{d}
	p.ServeHTTP(w, r)
	body := w.Body.String()
	for _, want := range []string{"Last day must be later than from.", "Who else is told must be the owner", `value="2025-02-01"`, `value="who@e"`, `value="documents" checked`} {
		if w.Code != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%d without %s", w.Code, want)
		}
	}
}

// listing is a desk that lists although it refuses the rest.
type listing struct{ *desk }

func (listing) List(context.Context, jobs.Principal, jobs.ListQuery) ([]jobs.Job, error) {
	return nil, nil
}

// Nothing is changed by looking: the questions and the mail's link only ask.
func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	d := &desk{job: jobs.Job{ID: id, Spec: jobs.Spec{Project: "x", Kind: jobs.Documents}, State: jobs.Running}}
	for _, path := range []string{"/exports/" + id, "/exports/" + id + "/cancel", "/exports/" + id + "/fetch/download", "/p/x"} {
		if res, body := d.call(t, http.MethodGet, path, nil); res.StatusCode >= http.StatusInternalServerError {
			t.Errorf("%s: %s %s", path, res.Status, body)
		}
	}
	if len(d.did)+len(d.asked) != 0 {
		t.Errorf("looking did %v %v", d.did, d.asked)
	}
	for _, action := range []string{"cancel", "extend", "delete", "mails/7"} {
		if res, _ := d.call(t, http.MethodPost, "/exports/"+id+"/"+action, url.Values{}); res.StatusCode != http.StatusSeeOther {
			t.Errorf("%s: %s", action, res.Status)
		}
	}
	if got := strings.Join(d.did, ", "); got != "cancel, extend, purge, resend 7" {
		t.Errorf("did %s", got)
	}
}

// Everything that can be told has words.
func TestWordsAreWhole(t *testing.T) {
	t.Parallel()
	for _, code := range jobs.Codes {
		if helps[code] == "" {
			t.Errorf("no help about %s", code)
		}
	}
	for _, action := range []string{jobs.ActionCreate, jobs.ActionJoin, jobs.ActionCancel, jobs.ActionExtend, jobs.ActionPurge, jobs.ActionPurgeProject,
		jobs.ActionPreview, jobs.ActionOriginal, jobs.ActionResend, string(jobs.File), string(jobs.Manifest), string(jobs.Checksums)} {
		if didWords[action] == "" || wantedWords[action] == "" && action != jobs.ActionJoin {
			t.Errorf("no words for %s", action)
		}
	}
	for d, want := range map[time.Duration]string{0: "1 second", 59 * time.Second: "59 seconds", 90 * time.Second: "2 minutes", 47 * time.Hour: "47 hours", 71*time.Hour + 59*time.Minute: "3 days"} {
		if got := inWords(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
	if a, b := between(time.Second, 5*time.Second), between(time.Second, 3*time.Minute); a != "1 to 5 seconds" || b != "1 second to 3 minutes" {
		t.Errorf("%s, %s", a, b)
	}
}
