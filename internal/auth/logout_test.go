package auth_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/testenv"
)

// Signing out ends the session for good, and the provider's with it.
func TestSignOut(t *testing.T) {
	s := newSite(t, "http", "/bulk")
	v := s.signedIn()
	token := v.token()
	ask := v.step("/logout")
	v.shows("asked first", ask, http.StatusOK, `method="post" action="`+s.public+`/logout"`)
	if p := ask.Header.Get("Content-Security-Policy"); !strings.HasSuffix(p, "form-action 'self' "+strings.TrimSuffix(s.URL(), "/realms/test")) {
		t.Errorf("the provider could not be reached from the form: %s", p)
	}
	v.is("asked", owner)

	out := v.do(&v.at, http.MethodPost, "/logout", nil, "Sec-Fetch-Site", "same-origin")
	to, err := out.Location()
	if err != nil {
		t.Fatal(out)
	}
	q := to.Query()
	if !strings.HasPrefix(to.String(), s.URL()+"/end-session?") || q.Get("post_logout_redirect_uri") != s.public+"/logout" ||
		q.Get("client_id") != testenv.IssuerClientID || strings.Count(q.Get("id_token_hint"), ".") != 2 {
		t.Error(out)
	}
	v.is("signed out", "")
	v.shows("the way back", v.get(to.String()), http.StatusOK, "You are signed out")

	old := v.do(&http.Client{}, http.MethodGet, "/whoami", nil, "Cookie", "bulkexport="+token)
	if old.StatusCode != http.StatusUnauthorized || old.body != "" {
		t.Errorf("the cookie of before still counts: %s", old)
	}
	if again := v.get("/login"); again.body != owner {
		t.Errorf("signed in again: %s", again)
	}
}

// What signs nobody out by himself: a GET, another site's form.
func TestSignOutIsAskedFor(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.signedIn()
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}, {"Origin", "null"}} {
		v.shows(header[1], v.do(&v.at, http.MethodPost, "/logout", nil, header...), http.StatusForbidden, "came from another site")
	}
	v.get("/logout")
	v.is("all the same", owner)
	// A proxy may have changed Host: the public origin is this service's own.
	v.do(&v.at, http.MethodPost, "/logout", nil, "Origin", s.public, "Host", "inside")
	v.is("asked for", "")
}

func TestProviderWithoutSignOut(t *testing.T) {
	s := newSite(t, "http", "")
	s.SetDiscovery("end_session_endpoint", nil)
	v := s.signedIn()
	v.shows("signed out here", v.do(&v.Client, http.MethodPost, "/logout", nil), http.StatusOK, "You are signed out")
	v.is("signed out", "")
	v.shows("not signed in", v.do(&v.Client, http.MethodPost, "/logout", nil), http.StatusOK, "You are signed out")
}

// tell is the provider's call.
func (s *site) tell(token string) shown {
	s.t.Helper()
	return s.visitor().do(http.DefaultClient, http.MethodPost, "/logout/backchannel", url.Values{"logout_token": {token}})
}

// signedInAs is a person with a session of this name at the provider.
func (s *site) signedInAs(sub, sid string) *visitor {
	s.t.Helper()
	s.SetPersonClaims(map[string]any{"sub": sub, "sid": sid, "email": owner})
	return s.signedIn()
}

func TestBackchannel(t *testing.T) {
	s := newSite(t, "http", "")
	desk, phone, other := s.signedInAs("ann", "desk"), s.signedInAs("ann", "phone"), s.signedInAs("bob", "other")
	got := s.tell(s.Sign(s.LogoutToken("ann", "desk")))
	if got.StatusCode != http.StatusOK || got.Header.Get("Cache-Control") != "no-store" {
		t.Error(got)
	}
	desk.is("ended by its sid", "")
	phone.is("another session", owner)
	if got := s.tell(s.Sign(s.LogoutToken("ann", ""))); got.StatusCode != http.StatusOK {
		t.Error(got)
	}
	phone.is("all of the person", "")
	other.is("another person", owner)
	alone := s.LogoutToken("", "other")
	delete(alone.Claims, "sub")
	if got := s.tell(s.Sign(alone)); got.StatusCode != http.StatusOK {
		t.Error(got)
	}
	other.is("by sid alone", "")
	if got := s.tell(s.Sign(s.LogoutToken("nobody", "none"))); got.StatusCode != http.StatusOK {
		t.Errorf("nothing to end: %s", got)
	}
}

func TestBackchannelForgeries(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.signedInAs("ann", "desk")
	set := func(name string, value any) func(*testenv.Token) {
		return func(t *testenv.Token) { t.Claims[name] = value }
	}
	for name, change := range map[string]func(*testenv.Token){
		"of another audience":      set("aud", "another-service"),
		"of another issuer":        set("iss", "http://other.example"),
		"with a nonce":             set("nonce", "n"),
		"no event":                 set("events", nil),
		"another event":            set("events", map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}),
		"event is no object":       set("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": "yes"}),
		"no id":                    set("jti", nil),
		"no iat":                   set("iat", nil),
		"old":                      set("iat", time.Now().Add(-6*time.Minute).Unix()),
		"of the future":            set("iat", time.Now().Add(2*time.Minute).Unix()),
		"over":                     set("exp", time.Now().Add(-time.Minute).Unix()),
		"an ID token":              set("typ", "ID"),
		"names nobody":             func(t *testenv.Token) { delete(t.Claims, "sub"); delete(t.Claims, "sid") },
		"unsigned":                 func(t *testenv.Token) { t.Alg = "none" },
		"signed by the public key": func(t *testenv.Token) { t.Alg = "HS256" },
		"forged":                   func(t *testenv.Token) { t.Forged = true },
	} {
		token := s.LogoutToken("ann", "desk")
		change(&token)
		if got := s.tell(s.Sign(token)); got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, "invalid_request") {
			t.Errorf("%s: %s", name, got)
		}
		v.is(name, owner)
	}
	for _, junk := range []string{"", "a.b.c", strings.Repeat("a", 100<<10)} {
		if got := s.tell(junk); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%.10q: %s", junk, got)
		}
	}
	v.is("after all", owner)
}

// A provider whose keys cannot be had is told to try again.
func TestBackchannelWithoutKeys(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.signedInAs("ann", "desk")
	s.Rotate()
	s.answerTo("/keys", http.StatusInternalServerError, "")
	token := s.Sign(s.LogoutToken("ann", "desk"))
	if got := s.tell(token); got.StatusCode != http.StatusServiceUnavailable {
		t.Error(got)
	}
	v.is("not known yet", owner)
	s.Intercept(nil)
	s.advance(time.Minute)
	if got := s.tell(token); got.StatusCode != http.StatusOK {
		t.Error(got)
	}
	v.is("known", "")
}

// Who is not signed out is not told so; the provider tries again.
func TestSignOutWithoutTheDatabase(t *testing.T) {
	s := newSite(t, "http", "")
	v := s.signedInAs("ann", "desk")
	rename := func(from, to string) {
		if _, err := s.db.Exec(t.Context(), `alter table bulkexport.`+from+` rename to `+to); err != nil {
			t.Fatal(err)
		}
	}
	rename("sessions", "gone")
	out := v.do(&v.at, http.MethodPost, "/logout", nil)
	v.shows("signing out", out, http.StatusServiceUnavailable, "Not possible just now")
	if len(out.Cookies()) != 0 {
		t.Errorf("the browser has lost the session that goes on: %s", out.Header)
	}
	if got := s.tell(s.Sign(s.LogoutToken("ann", "desk"))); got.StatusCode != http.StatusServiceUnavailable {
		t.Error(got)
	}
	rename("gone", "sessions")
	v.is("still", owner)
}
