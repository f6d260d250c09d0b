package auth_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

const owner = "owner@example.edu"

// clock can be moved on.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// gate is an Authenticator before an issuer of the test's own.
type gate struct {
	*auth.Authenticator
	*testenv.Issuer
	clock
	t   *testing.T
	log strings.Builder
}

func newGate(t *testing.T) *gate {
	g := &gate{Issuer: testenv.NewIssuer(t), t: t}
	g.Authenticator = auth.NewAt(g.config(), g.now)
	return g
}

func (g *gate) config() auth.Config {
	return auth.Config{
		Keys:   keys{"uc_1": owner, "old-key": "old@example.edu"},
		Issuer: g.URL(), ClientID: testenv.IssuerClientID, ClientSecret: testenv.IssuerClientSecret,
		Log: slog.New(slog.NewTextHandler(&g.log, nil)),
	}
}

func (g *gate) bearer(token string) (string, error) {
	p, err := g.Authenticate(g.t.Context(), http.Header{"Authorization": {"Bearer " + token}})
	return p.Email, err
}

func (g *gate) accepts(name, token, email string) {
	g.t.Helper()
	if got, err := g.bearer(token); got != email || err != nil {
		g.t.Errorf("%s: %q %v, want %q", name, got, err, email)
	}
}

func (g *gate) refuses(name, token string) {
	g.t.Helper()
	if email, err := g.bearer(token); !errors.Is(err, jobs.ErrUnauthenticated) || email != "" {
		g.t.Errorf("%s: %q %v", name, email, err)
	}
}

func (g *gate) cannotTell(name, token string) {
	g.t.Helper()
	var down *jobs.Unavailable
	if email, err := g.bearer(token); !errors.As(err, &down) || errors.Is(err, jobs.ErrUnauthenticated) || email != "" {
		g.t.Errorf("%s: %q %v", name, email, err)
	}
}

// changed signs a good access token after a change.
func (g *gate) changed(change func(*testenv.Token)) string {
	t := g.AccessToken(owner)
	change(&t)
	return g.Sign(t)
}

// claim sets one claim of an otherwise good token; nil takes it out.
func (g *gate) claim(name string, value any) string {
	return g.changed(func(t *testenv.Token) {
		t.Claims[name] = value
		if value == nil {
			delete(t.Claims, name)
		}
	})
}

func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

func TestGoodTokens(t *testing.T) {
	g := newGate(t)
	g.accepts("as Keycloak makes them", g.changed(func(*testenv.Token) {}), owner)
	for name, change := range map[string]func(*testenv.Token){
		"e-mail in capitals":           func(t *testenv.Token) { t.Claims["email"] = "OWNER@Example.EDU" },
		"e-mail verified, as a string": func(t *testenv.Token) { t.Claims["email_verified"] = "true" },
		"nothing said of verification": func(t *testenv.Token) { delete(t.Claims, "email_verified") },
		"several audiences":            func(t *testenv.Token) { t.Claims["aud"] = []string{"account", "bulk-export"}; t.Claims["azp"] = "cli" },
		"another client's for here":    func(t *testenv.Token) { t.Claims["azp"] = "cli" },
		"aud account, this client's":   func(t *testenv.Token) { t.Claims["aud"] = "account" },
		"no aud, this client's":        func(t *testenv.Token) { delete(t.Claims, "aud") },
		"RFC 9068":                     func(t *testenv.Token) { t.Typ = "at+jwt"; delete(t.Claims, "typ") },
		"RFC 9068, long":               func(t *testenv.Token) { t.Typ = "application/AT+JWT"; delete(t.Claims, "typ") },
		"no kind told":                 func(t *testenv.Token) { t.Typ = ""; delete(t.Claims, "typ") },
		"Keycloak's before 25":         func(t *testenv.Token) { t.Claims["nonce"] = "n" },
		"a clock that is slow":         func(t *testenv.Token) { t.Claims["exp"] = in(-10 * time.Second) },
		"a clock that is fast":         func(t *testenv.Token) { t.Claims["iat"] = in(10 * time.Second); t.Claims["nbf"] = in(10 * time.Second) },
	} {
		g.accepts(name, g.changed(change), owner)
	}
}

func TestBadTokens(t *testing.T) {
	g := newGate(t)
	// A JWT is refused whatever the keys know.
	for name, change := range map[string]func(*testenv.Token){
		"another issuer":              func(t *testenv.Token) { t.Claims["iss"] = "https://evil.example" },
		"the issuer with a slash":     func(t *testenv.Token) { t.Claims["iss"] = g.URL() + "/" },
		"no issuer":                   func(t *testenv.Token) { delete(t.Claims, "iss") },
		"another client's, for there": func(t *testenv.Token) { t.Claims["aud"], t.Claims["azp"] = "other", "other" },
		"another client's, account":   func(t *testenv.Token) { t.Claims["aud"], t.Claims["azp"] = []string{"account"}, "other" },
		"neither aud nor azp":         func(t *testenv.Token) { delete(t.Claims, "aud"); delete(t.Claims, "azp") },
		"aud that only begins so":     func(t *testenv.Token) { t.Claims["aud"], t.Claims["azp"] = "bulk-export-2", "other" },
		"expired":                     func(t *testenv.Token) { t.Claims["exp"] = in(-time.Minute) },
		"no expiry":                   func(t *testenv.Token) { delete(t.Claims, "exp") },
		"not yet valid":               func(t *testenv.Token) { t.Claims["nbf"] = in(time.Minute) },
		"issued in the future":        func(t *testenv.Token) { t.Claims["iat"] = in(time.Minute) },
		"ID token of Keycloak":        func(t *testenv.Token) { t.Claims["typ"] = "ID" },
		"refresh token":               func(t *testenv.Token) { t.Claims["typ"] = "Refresh" },
		"offline token":               func(t *testenv.Token) { t.Claims["typ"] = "Offline" },
		"token bound to a key":        func(t *testenv.Token) { t.Claims["typ"] = "DPoP" },
		"ID token with nonce":         func(t *testenv.Token) { delete(t.Claims, "typ"); t.Claims["nonce"] = "n" },
		"ID token with at_hash":       func(t *testenv.Token) { delete(t.Claims, "typ"); t.Claims["at_hash"] = "h" },
		"ID token with c_hash":        func(t *testenv.Token) { delete(t.Claims, "typ"); t.Claims["c_hash"] = "h" },
		"ID token as at+jwt":          func(t *testenv.Token) { t.Typ = "at+jwt"; t.Claims["typ"] = "ID" },
		"logout token":                func(t *testenv.Token) { *t = g.LogoutToken("s", "s"); t.Claims["email"] = owner },
		"logout token without typ":    func(t *testenv.Token) { t.Typ = "logout+jwt"; delete(t.Claims, "typ") },
		"e-mail not verified":         func(t *testenv.Token) { t.Claims["email_verified"] = false },
		"not verified, as a string":   func(t *testenv.Token) { t.Claims["email_verified"] = "false" },
		"verified, but how":           func(t *testenv.Token) { t.Claims["email_verified"] = "maybe" },
		"e-mail that is none":         func(t *testenv.Token) { t.Claims["email"] = "owner" },
		"two e-mails":                 func(t *testenv.Token) { t.Claims["email"] = owner + ",evil@example.edu" },
		"e-mail with a line break":    func(t *testenv.Token) { t.Claims["email"] = "own\ner@example.edu" },
		"a Kelvin sign for a k":       func(t *testenv.Token) { t.Claims["email"] = "\u212aim@example.edu" },
		"a dotted capital I":          func(t *testenv.Token) { t.Claims["email"] = "k\u0130m@example.edu" },
		"a long s":                    func(t *testenv.Token) { t.Claims["email"] = "\u017fam@example.edu" },
		"unsigned":                    func(t *testenv.Token) { t.Alg = "none" },
		"signed with the public key":  func(t *testenv.Token) { t.Alg = "HS256" },
		"signed by somebody else":     func(t *testenv.Token) { t.Forged = true },
		"unknown key":                 func(t *testenv.Token) { t.Kid = "unknown" },
	} {
		g.refuses(name, g.changed(change))
	}
	good := g.changed(func(*testenv.Token) {})
	part := strings.Split(good, ".")
	other := strings.Split(g.Sign(g.AccessToken("admin@example.edu")), ".")
	g.refuses("tampered payload", part[0]+"."+other[1]+"."+part[2])
	g.refuses("no signature", part[0]+"."+part[1]+".")
	g.refuses("cut", good[:len(good)-2])
	g.refuses("header alone", part[0]+"..")
	for _, secret := range []string{part[2], owner} {
		if strings.Contains(g.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
	if log := g.log.String(); !strings.Contains(log, "expired") || !strings.Contains(log, "not verified") {
		t.Errorf("the log does not say why: %s", log)
	}
}

// The audience may be named otherwise than the client.
func TestAudience(t *testing.T) {
	g := newGate(t)
	cfg := g.config()
	cfg.Audience = "https://export.example.edu"
	g.Authenticator = auth.New(cfg)
	g.accepts("names it", g.changed(func(t *testenv.Token) { t.Claims["aud"], t.Claims["azp"] = cfg.Audience, "cli" }), owner)
	g.accepts("this client's", g.claim("aud", "account"), owner)
	g.refuses("names the client only", g.claim("azp", "cli"))
}

func TestKeyRotation(t *testing.T) {
	g := newGate(t)
	old := g.Sign(g.AccessToken(owner))
	g.accepts("before", old, owner)
	g.Rotate()
	g.accepts("the new key", g.Sign(g.AccessToken(owner)), owner)
	g.refuses("the old key", old)
}

// A withdrawn key counts for ten minutes at most, even if no new one is met.
func TestWithdrawnKey(t *testing.T) {
	g := newGate(t)
	token := g.claim("exp", in(time.Hour))
	g.accepts("before", token, owner)
	g.Rotate()
	g.advance(10 * time.Minute)
	g.refuses("after ten minutes", token)
}

// Whoever makes up names of keys does not make the keys be fetched each time.
func TestUnknownKeysAreBounded(t *testing.T) {
	g := newGate(t)
	var down *jobs.Unavailable
	for n := range 50 {
		_, err := g.bearer(g.changed(func(t *testenv.Token) { t.Kid = fmt.Sprint(n) }))
		if !errors.Is(err, jobs.ErrUnauthenticated) && !errors.As(err, &down) {
			t.Fatal(err)
		}
	}
	if hits := g.Hits("/keys"); hits > 15 {
		t.Errorf("%d fetches", hits)
	}
	g.accepts("known key", g.Sign(g.AccessToken(owner)), owner)
	// A bad signature of a known key says nothing about the keys.
	hits := g.Hits("/keys")
	for range 10 {
		g.refuses("forged", g.changed(func(t *testenv.Token) { t.Forged = true }))
	}
	if now := g.Hits("/keys"); now != hits {
		t.Errorf("%d fetches for forged tokens", now-hits)
	}
}

// What the published set holds beside signing keys changes nothing.
func TestOddKeys(t *testing.T) {
	g := newGate(t)
	key := g.publishedKey()
	forEncryption := strings.Replace(key, `"use":"sig"`, `"use":"enc"`, 1)
	g.publish(`{"kty":"OKP","crv":"X448","x":"AAAA"},{"kty":"unheard"},{"kty":"oct","k":"c2VjcmV0","kid":"hs"},` + forEncryption + `,` + key)
	g.accepts("beside odd keys", g.Sign(g.AccessToken(owner)), owner)
	g.publish(forEncryption)
	g.advance(10 * time.Minute)
	g.accepts("a set of no use does not replace one", g.claim("exp", in(time.Hour)), owner)
}

func (g *gate) publishedKey() string {
	g.t.Helper()
	res, err := http.Get(g.URL() + "/keys")
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(body)), `{"keys":[`), `]}`)
}

func (g *gate) publish(keys string) { g.answerTo("/keys", http.StatusOK, `{"keys":[`+keys+`]}`) }

// answerTo makes the issuer say so at a path, whatever it is asked there.
func (g *gate) answerTo(path string, status int, body string) {
	g.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == path {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, body) // the caller may have gone
		}
		return r.URL.Path == path
	})
}

// Without an e-mail in the token, userinfo has it; of the same person.
func TestTokenWithoutEmail(t *testing.T) {
	g := newGate(t)
	token := g.claim("email", nil)
	g.accepts("from userinfo", token, owner)
	g.SetPersonClaims(map[string]any{"sub": "sub of " + owner, "email": "new@example.edu"})
	g.accepts("remembered", token, owner)
	g.advance(time.Minute)
	g.accepts("asked again after a minute", g.claim("email", nil), "new@example.edu")
	g.SetPersonClaims(map[string]any{"sub": "somebody else", "email": owner})
	g.refuses("another person's", g.claim("email", nil))
	g.SetPersonClaims(map[string]any{"sub": "sub of " + owner})
	g.refuses("no e-mail at all", g.claim("email", nil))
}
