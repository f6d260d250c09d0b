package auth_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func TestSignIn(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.visitor()
	v.is("before", "")
	got := v.get("/login?next=" + url.QueryEscape("/p/CS 101?kind=documents"))
	if got.body != owner || got.Request.URL.String() != s.public+"/p/CS%20101?kind=documents" {
		t.Error(got)
	}
	v.is("after", owner)
	s.visitor().is("somebody else", "")
	if again := v.step("/login?next=/there"); again.Header.Get("Location") != s.public+"/there" {
		t.Errorf("signed in already: %s", again)
	}
	if other := v.do(&v.at, http.MethodGet, "/whoami", nil, "Authorization", "Bearer uc_none"); other.StatusCode != http.StatusUnauthorized {
		t.Errorf("a bad key beside a good session: %s", other)
	}
}

// What the provider is asked, it can hold the answer to.
func TestSignInAsks(t *testing.T) {
	s := newSite(t, "http", "/bulk")
	v := s.visitor()
	first, err := v.step("/login").Location()
	if err != nil {
		t.Fatal(err)
	}
	second, err := v.step("/login").Location()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"response_type": "code", "client_id": testenv.IssuerClientID, "redirect_uri": s.public + "/login/callback",
		"scope": "openid email", "code_challenge_method": "S256",
	} {
		if got := first.Query().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if a, b := first.Query().Get(name), second.Query().Get(name); len(a) < 26 || a == b {
			t.Errorf("%s: %q, then %q", name, a, b)
		}
	}
}

// Only the browser that began a sign-in ends it, once and in time.
func TestCallback(t *testing.T) {
	s := newSite(t, "http", "")
	const refused = "This sign-in cannot go on"
	v, other := s.visitor(), s.visitor()
	callback := v.begin("/")
	other.shows("another browser", other.step(callback), http.StatusBadRequest, refused)
	other.is("another browser", "")

	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	change := func(name, value string) string {
		q := u.Query()
		q.Set(name, value)
		return s.public + "/login/callback?" + q.Encode()
	}
	v.shows("another state", v.step(change("state", "made-up")), http.StatusBadRequest, refused)
	v.shows("no state", v.step(change("state", "")), http.StatusBadRequest, refused)
	if n := s.Hits("/token"); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}

	before := v.token()
	if got := v.get(callback); got.body != owner {
		t.Fatal(got)
	}
	asked := s.Hits("/token")
	if got := v.step(callback); got.Header.Get("Location") != s.public+"/" {
		t.Errorf("the way back of a browser: %s", got)
	}
	replay := v.do(&http.Client{}, http.MethodGet, callback, nil, "Cookie", "bulkexport="+before)
	v.shows("again, with the cookie of then", replay, http.StatusBadRequest, refused)
	if n := s.Hits("/token"); n != asked {
		t.Errorf("a replay reached the provider")
	}

	late := other.begin("/")
	s.advance(15*time.Minute + time.Second)
	other.shows("too late", other.step(late), http.StatusBadRequest, refused)
	other.is("too late", "")
}

// A code that another browser was given is worth nothing: PKCE.
func TestCodeOfAnotherBrowser(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.visitor()
	mine, err := url.Parse(v.begin("/"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := url.Parse(s.visitor().begin("/"))
	if err != nil {
		t.Fatal(err)
	}
	q := mine.Query()
	q.Set("code", theirs.Query().Get("code"))
	mine.RawQuery = q.Encode()
	got := v.step(mine.String())
	v.shows("their code", got, http.StatusBadRequest, "This sign-in cannot go on")
	if len(got.Cookies()) != 0 {
		t.Errorf("a sign-in that failed names a session: %s", got.Header)
	}
	v.is("their code", "")
}

// A refusal at the provider, or the word of another one, signs nobody in.
func TestProviderRefuses(t *testing.T) {
	s := newSite(t, "http", "")
	for _, c := range []struct{ name, value, want string }{
		{"error", "access_denied", "did not let you in"},
		{"error", "<script>", "did not let you in"},
		{"iss", "http://other.example", "does not hold"},
	} {
		v := s.visitor()
		u, err := url.Parse(v.begin("/"))
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set(c.name, c.value)
		u.RawQuery = q.Encode()
		v.shows(c.value, v.step(u.String()), http.StatusForbidden, c.want)
		v.is(c.value, "")
	}
	if log := s.lines.String(); !strings.Contains(log, "access_denied") || strings.Contains(log, "script") {
		t.Errorf("operators read\n%s", log)
	}
}

// Whoever planted a cookie before the sign-in does not hold the session after it.
func TestSessionIsRenewed(t *testing.T) {
	s := newSite(t, "http", "")
	attacker := s.visitor()
	attacker.step("/login")
	planted := attacker.token()
	victim := s.visitor()
	u, err := url.Parse(s.public)
	if err != nil {
		t.Fatal(err)
	}
	victim.Jar.SetCookies(u, []*http.Cookie{{Name: "bulkexport", Value: planted, Path: "/"}})
	if got := victim.get("/login"); got.body != owner {
		t.Fatal(got)
	}
	if victim.token() == planted {
		t.Error("the session kept its name")
	}
	attacker.is("the planted cookie", "")
	victim.is("the person", owner)
}

func TestCookie(t *testing.T) {
	for _, c := range []struct {
		scheme, path, name, cookiePath string
	}{
		{"http", "", "bulkexport", "/"},
		{"http", "/a/b", "bulkexport", "/a/b"},
		{"https", "", "__Host-bulkexport", "/"},
		{"https", "/a/b", "__Secure-bulkexport", "/a/b"},
	} {
		s := newSite(t, c.scheme, c.path)
		v := s.visitor()
		for _, got := range []shown{v.step("/login"), v.step(v.begin("/"))} {
			k := got.cookie()
			if k.Name != c.name || k.Path != c.cookiePath || k.Secure != (c.scheme == "https") || !k.HttpOnly ||
				k.SameSite != http.SameSiteLaxMode || k.Domain != "" || k.MaxAge != 0 || !k.Expires.IsZero() {
				t.Errorf("%s %s: %s", c.scheme, c.path, k)
			}
		}
		v.is(s.public, owner)
		// A browser gives a cookie up only to one of the same kind.
		out := v.do(&v.at, http.MethodPost, "/logout", nil).Cookies()
		if len(out) != 1 || out[0].Name != c.name || out[0].Path != c.cookiePath || out[0].Secure != (c.scheme == "https") || out[0].MaxAge >= 0 {
			t.Errorf("%s %s: signed out by %v", c.scheme, c.path, out)
		}
		if got := auth.Cookie(s.public); got != c.name {
			t.Errorf("Cookie: %q", got)
		}
	}
}

// An ID token counts only as the provider made it, for this service and this
// very sign-in.
func TestIDTokens(t *testing.T) {
	s := newSite(t, "http", "")
	set := func(name string, value any) func(*testenv.Token) {
		return func(t *testenv.Token) { t.Claims[name] = value }
	}
	for name, change := range map[string]func(*testenv.Token){
		"of another audience":      set("aud", "another-service"),
		"no audience":              set("aud", nil),
		"issued to another client": set("azp", "another-service"),
		"of another issuer":        set("iss", "http://other.example"),
		"another nonce":            set("nonce", "made-up"),
		"no nonce":                 set("nonce", nil),
		"no subject":               set("sub", ""),
		"over":                     set("exp", time.Now().Add(-time.Minute).Unix()),
		"an access token":          set("typ", "Bearer"),
		"of another access token":  set("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"a bad address":            set("email", "no address"),
		"unsigned":                 func(t *testenv.Token) { t.Alg = "none" },
		"signed by the public key": func(t *testenv.Token) { t.Alg = "HS256" },
		"forged":                   func(t *testenv.Token) { t.Forged = true },
		"another media type":       func(t *testenv.Token) { t.Typ = "logout+jwt" },
	} {
		s.ChangeIDTokens(change)
		v := s.visitor()
		v.shows(name, v.get("/login"), http.StatusForbidden, "You were not signed in")
		v.is(name, "")
	}
	s.ChangeIDTokens(nil)
	s.signedIn().is("unchanged", owner)
}

func TestEmailOfASignIn(t *testing.T) {
	s := newSite(t, "http", "")
	for _, c := range []struct {
		name     string
		person   map[string]any
		email    string
		refusing string
	}{
		{"in capitals", map[string]any{"sub": "s", "email": "Ann@Example.EDU"}, "ann@example.edu", ""},
		{"verified, as text", map[string]any{"sub": "s", "email": owner, "email_verified": "true"}, owner, ""},
		{"not verified", map[string]any{"sub": "s", "email": owner, "email_verified": false}, "", "not verified"},
		{"not verified, as text", map[string]any{"sub": "s", "email": owner, "email_verified": "false"}, "", "not verified"},
		{"none", map[string]any{"sub": "s"}, "", "not known"},
	} {
		s.SetPersonClaims(c.person)
		v := s.visitor()
		got := v.get("/login")
		v.is(c.name, c.email)
		if c.refusing != "" {
			v.shows(c.name, got, http.StatusForbidden, c.refusing)
		}
	}
}

// Some providers tell the e-mail in userinfo only; it must be the same person's.
func TestEmailFromUserinfo(t *testing.T) {
	s := newSite(t, "http", "")
	s.ChangeIDTokens(func(t *testenv.Token) { delete(t.Claims, "email"); delete(t.Claims, "email_verified") })
	s.signedIn().is("from userinfo", owner)

	s.SetPersonClaims(map[string]any{"sub": "s", "email": owner, "email_verified": false})
	v := s.visitor()
	v.shows("not verified", v.get("/login"), http.StatusForbidden, "not verified")

	s.ChangeIDTokens(func(t *testenv.Token) { delete(t.Claims, "email"); t.Claims["sub"] = "somebody else" })
	v.shows("of another", v.get("/login"), http.StatusForbidden, "does not hold")
	v.is("of another", "")
}

// The database holds nothing that a browser could show, and the log nothing that
// anybody could use.
func TestSessionIsKeptByItsHash(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.visitor()
	callback := v.begin("/")
	v.step(callback)
	v.step("/logout")
	var id, data string
	var life time.Duration
	err := s.db.QueryRow(t.Context(), `select id, encode(data, 'escape'), expires_at - now() from bulkexport.sessions`).Scan(&id, &data, &life)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(v.token()))
	if id != base64.RawURLEncoding.EncodeToString(sum[:]) || strings.Contains(data, v.token()) || !strings.Contains(data, owner) {
		t.Errorf("%s: %s", id, data)
	}
	if life > sessionTTL || life < sessionTTL-time.Minute {
		t.Errorf("lives %v", life)
	}
	q, err := url.ParseQuery(callback)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{v.token(), id, q.Get("code"), "eyJ", owner, testenv.IssuerClientSecret} {
		if secret != "" && strings.Contains(s.lines.String(), secret) {
			t.Errorf("%q stands in the log\n%s", secret, s.lines)
		}
	}
}

// A session ends at its time, however much it is used.
func TestSessionEnds(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.signedIn()
	ends := func() (at time.Time) {
		if err := s.db.QueryRow(t.Context(), `select expires_at from bulkexport.sessions`).Scan(&at); err != nil {
			t.Fatal(err)
		}
		return at
	}
	before := ends()
	v.is("used", owner)
	v.step("/login")
	v.step("/logout")
	if after := ends(); !after.Equal(before) {
		t.Errorf("used, it ends at %v instead of %v", after, before)
	}
	if _, err := s.db.Exec(t.Context(), `update bulkexport.sessions set expires_at = now()`); err != nil {
		t.Fatal(err)
	}
	v.is("over", "")
}

// One browser begins as many sign-ins as it likes, and keeps the newest.
func TestManyAttempts(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.visitor()
	var callbacks []string
	for range 9 {
		callbacks = append(callbacks, v.begin("/"))
		s.advance(time.Second)
	}
	v.shows("the first", v.step(callbacks[0]), http.StatusBadRequest, "cannot go on")
	if got := v.get(callbacks[1]); got.body != owner {
		t.Errorf("the second: %s", got)
	}
}

func TestProviderDown(t *testing.T) {
	s := newSite(t, "http", "")
	early := s.visitor()
	s.Stop()
	got := early.get("/login?next=/p/x")
	early.shows("never reached", got, http.StatusServiceUnavailable, "does not answer")
	early.shows("the way on", got, http.StatusServiceUnavailable, "/login?next=%2Fp%2Fx")
	if got.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.Start()
	s.advance(time.Minute)
	v := s.signedIn()
	for name, answer := range map[string]struct {
		code         int
		body         string
		status       int
		text, secret string
	}{
		"errors":            {500, `quoted-code`, http.StatusServiceUnavailable, "does not answer", "quoted-code"},
		"no JSON":           {200, `quoted-code`, http.StatusServiceUnavailable, "does not answer", "quoted-code"},
		"knows no client":   {401, `{"error":"invalid_client"}`, http.StatusBadGateway, "settings at the provider", ""},
		"no ID token":       {200, `{"access_token":"quoted-token","token_type":"Bearer"}`, http.StatusForbidden, "does not hold", "quoted-token"},
		"code is no longer": {400, `{"error":"invalid_grant"}`, http.StatusBadRequest, "cannot go on", ""},
	} {
		s.answerTo("/token", answer.code, answer.body)
		early.shows(name, early.get("/login"), answer.status, answer.text)
		early.is(name, "")
		if answer.secret != "" && strings.Contains(s.lines.String(), answer.secret) {
			t.Errorf("%s: the log quotes the provider\n%s", name, s.lines)
		}
	}
	s.Stop()
	v.is("signed in before", owner)
	if out := v.do(&v.at, http.MethodPost, "/logout", nil); out.StatusCode != http.StatusSeeOther {
		t.Error(out)
	}
	v.is("signed out", "")
}

// noSessions is a database that is down.
type noSessions struct{ auth.Sessions }

func (noSessions) FindSession(context.Context, string) ([]byte, bool, error) {
	return nil, false, &jobs.Unavailable{Dependency: "the database", Err: errors.New("down")}
}

func TestDatabaseDown(t *testing.T) {
	cfg := newGate(t).config()
	cfg.Sessions, cfg.PublicURL = noSessions{}, "http://localhost"
	a := auth.New(cfg)
	header := http.Header{"Cookie": {"bulkexport=some"}}
	var down *jobs.Unavailable
	if _, err := a.Authenticate(t.Context(), header); !errors.As(err, &down) {
		t.Errorf("somebody who may be signed in was told %v", err)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/login", nil)
	r.Header = header
	a.Browser().ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Currently the database does not answer") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWithoutProvider(t *testing.T) {
	h := auth.New(auth.Config{Keys: keys{}, Log: slog.New(slog.DiscardHandler)}).Browser()
	for _, path := range auth.BrowserPaths {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "There is no sign-in here") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestOtherMethods(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.visitor()
	for path, allow := range map[string]string{"/login": "GET", "/login/callback": "GET", "/logout": "GET, POST", "/logout/backchannel": "POST"} {
		got := v.do(&v.at, http.MethodPut, path, nil)
		v.shows(path, got, http.StatusMethodNotAllowed, "takes other methods")
		if got.Header.Get("Allow") != allow {
			t.Errorf("%s: Allow %q", path, got.Header.Get("Allow"))
		}
	}
}
