package auth_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/store"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// site is the sign-in as a server, before an issuer of the test's own. All its
// other addresses tell who asks.
type site struct {
	*gate
	store  *store.Store
	db     *pgx.Conn
	public string
	lines  *lines
}

// lines are a log that may be written and read at once.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// sessionTTL is not a round number of anything, so that it is known again.
const sessionTTL = 77 * time.Minute

// newSite serves the sign-in by the scheme, below the path.
func newSite(t *testing.T, scheme, path string) *site {
	t.Helper()
	w := testenv.New(t)
	s := &site{gate: &gate{Issuer: testenv.NewIssuer(t), t: t}, db: w.Admin(t), lines: &lines{}}
	var err error
	if s.store, err = store.Open(t.Context(), w.DatabaseURL, "test"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.store.Close)
	if err := s.store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(nil)
	s.public = scheme + "://" + server.Listener.Addr().String() + path
	cfg := s.config()
	cfg.Sessions, cfg.SessionTTL, cfg.PublicURL, cfg.Log = s.store, sessionTTL, s.public, slog.New(slog.NewTextHandler(s.lines, nil))
	s.Authenticator = auth.NewAt(cfg, s.now)
	mux := http.NewServeMux()
	for _, p := range auth.BrowserPaths {
		mux.Handle(p, s.Browser())
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		p, err := s.Authenticate(r.Context(), r.Header)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
		_, _ = io.WriteString(w, p.Email) // who asked has gone
	})
	server.Config.Handler = http.StripPrefix(path, mux)
	if scheme == "https" {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return s
}

// visitor is a person with a browser.
type visitor struct {
	*site
	http.Client
	// at follows no redirect.
	at http.Client
}

func (s *site) visitor() *visitor {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the test's own server
	s.t.Cleanup(tr.CloseIdleConnections)
	v := &visitor{site: s, Client: http.Client{Jar: jar, Transport: tr}, at: http.Client{Jar: jar, Transport: tr}}
	v.at.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return v
}

// shown is what a browser shows in the end.
type shown struct {
	*http.Response
	body string
}

func (s shown) String() string {
	return fmt.Sprintf("%s: %s, to %q\n%s", s.Request.URL, s.Status, s.Header.Get("Location"), s.body)
}

// cookie is the one that the answer sets.
func (s shown) cookie() *http.Cookie {
	for _, c := range s.Cookies() {
		if c.Value != "" {
			return c
		}
	}
	return &http.Cookie{}
}

func (v *visitor) do(c *http.Client, method, to string, form url.Values, header ...string) shown {
	v.t.Helper()
	if strings.HasPrefix(to, "/") {
		to = v.public + to
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	s := shown{res, string(b)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") && strings.HasPrefix(res.Request.URL.String(), v.public) {
		v.decent(s)
	}
	return s
}

// decent holds every page to what all pages keep.
func (v *visitor) decent(s shown) {
	v.t.Helper()
	policy := s.Header.Get("Content-Security-Policy")
	if s.StatusCode/100 == 3 {
		policy = "default-src 'none'" // nobody sees it
	}
	if s.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		v.t.Errorf("%s: %v", s, s.Header)
	}
	if r := s.Header.Get("Referrer-Policy"); r != "no-referrer" && (r != "same-origin" || !strings.Contains(s.body, "<form")) {
		v.t.Errorf("%s: Referrer-Policy %q", s, r)
	}
	if strings.Contains(s.body, "<script") || strings.Contains(s.body, "style") {
		v.t.Errorf("%s: the policy would stop what is in there", s)
	}
}

func (v *visitor) get(to string) shown { v.t.Helper(); return v.do(&v.Client, http.MethodGet, to, nil) }
func (v *visitor) step(to string) shown {
	v.t.Helper()
	return v.do(&v.at, http.MethodGet, to, nil)
}

// begin goes as far as the address by which the provider sends people back.
func (v *visitor) begin(next string) (callback string) {
	v.t.Helper()
	to := v.step("/login?" + url.Values{"next": {next}}.Encode())
	back := v.step(to.Header.Get("Location"))
	callback = back.Header.Get("Location")
	if !strings.HasPrefix(callback, v.public+"/login/callback?") {
		v.t.Fatalf("%s\n%s", to, back)
	}
	return callback
}

// token is what the browser's cookie holds.
func (v *visitor) token() string {
	u, _ := url.Parse(v.public + "/")
	for _, c := range v.Jar.Cookies(u) {
		return c.Value
	}
	return ""
}

// is fails the test if the site takes the browser for somebody else; "" is nobody.
func (v *visitor) is(what, email string) {
	v.t.Helper()
	if got := v.step("/whoami"); got.body != email || (got.StatusCode == http.StatusOK) != (email != "") {
		v.t.Errorf("%s: %s, want %q", what, got, email)
	}
}

// signedIn is a visitor who is.
func (s *site) signedIn() *visitor {
	s.t.Helper()
	v := s.visitor()
	if got := v.get("/login"); got.body != owner {
		s.t.Fatal(got)
	}
	return v
}

// with fails the test if a page is not of this status or says nothing of text.
func (v *visitor) shows(what string, s shown, status int, text string) {
	v.t.Helper()
	if s.StatusCode != status || !strings.Contains(s.body, text) {
		v.t.Errorf("%s: %s, want %d and %q", what, s, status, text)
	}
}
