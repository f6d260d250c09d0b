package auth_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func person(email string) map[string]any {
	return map[string]any{"sub": "sub of " + email, "email": email, "email_verified": true}
}

func TestOpaqueTokens(t *testing.T) {
	g := newGate(t)
	token := g.Opaque("bulk-export", person(owner))
	g.accepts("known to the provider", token, owner)
	g.refuses("nobody's", "made-up")
	g.accepts("an old key", "old-key", "old@example.edu")
	g.refuses("not verified", g.Opaque("bulk-export", map[string]any{"sub": "s", "email": owner, "email_verified": false}))
	g.refuses("no e-mail", g.Opaque("bulk-export", map[string]any{"sub": "s"}))
	g.refuses("no OpenID", g.Opaque("bulk-export", map[string]any{"email": owner}))

	hits := g.Hits("/userinfo")
	g.accepts("an API key", "uc_1", owner)
	g.refuses("what no token consists of", "made\x00up")
	g.refuses("with a space", "made up")
	g.accepts("remembered", token, owner)
	g.refuses("the refusal too", "made-up")
	if now := g.Hits("/userinfo"); now != hits {
		t.Errorf("userinfo was asked %d times for what it has no answer to", now-hits)
	}
}

// A token that the provider has revoked counts for a minute at most; one that it
// did not know may be known seconds later.
func TestOpaqueTokensAreForgotten(t *testing.T) {
	g := newGate(t)
	token := g.Opaque("bulk-export", person(owner))
	g.accepts("before", token, owner)
	g.Revoke(token)
	g.advance(59 * time.Second)
	g.accepts("remembered", token, owner)
	g.advance(time.Second)
	g.refuses("a minute after it was asked about", token)

	g.refuses("unknown", "later")
	g.advance(5 * time.Second)
	hits := g.Hits("/userinfo")
	g.refuses("asked again", "later")
	if g.Hits("/userinfo") == hits {
		t.Error("the refusal was remembered for too long")
	}
}

// A hundred requests with one token are one question.
func TestOpaqueTokenIsAskedAboutOnce(t *testing.T) {
	g := newGate(t)
	token := g.Opaque("bulk-export", person(owner))
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	g.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/userinfo" {
			once.Do(func() { close(asked) })
			<-release
		}
		return false
	})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() { g.accepts("at once", token, owner) })
	}
	<-asked
	close(release)
	wg.Wait()
	if n := g.Hits("/userinfo"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// userinfo alone does not tell whom a token was issued to; introspection does.
func TestOpaqueTokenOfAnotherClient(t *testing.T) {
	g := newGate(t)
	g.SetDiscovery("introspection_endpoint", g.URL()+"/introspect")
	g.accepts("this client's", g.Opaque("bulk-export", person(owner)), owner)
	g.refuses("another client's", g.Opaque("other", person(owner)))
	g.refuses("unknown", "made-up")

	g.answerTo("/introspect", http.StatusOK, `{"active":true,"client_id":"other","aud":["account","bulk-export"]}`)
	g.accepts("another client's for here", g.Opaque("other", person(owner)), owner)
	g.answerTo("/introspect", http.StatusOK, `{"active":false,"client_id":"bulk-export"}`)
	g.refuses("not active", g.Opaque("bulk-export", person(owner)))
	g.answerTo("/introspect", http.StatusUnauthorized, `{"error":"invalid_client"}`)
	g.cannotTell("this service may not ask", g.Opaque("bulk-export", person(owner)))
}

// A public client cannot ask: introspection wants its secret.
func TestOpaqueTokensOfPublicClient(t *testing.T) {
	g := newGate(t)
	g.SetDiscovery("introspection_endpoint", g.URL()+"/introspect")
	cfg := g.config()
	cfg.ClientSecret = ""
	g.Authenticator = auth.New(cfg)
	g.accepts("by userinfo alone", g.Opaque("bulk-export", person(owner)), owner)
	if g.Hits("/introspect") != 0 {
		t.Error("introspection was asked without a secret")
	}
}

func TestProviderDownAtStart(t *testing.T) {
	g := newGate(t)
	jwt, opaque := g.Sign(g.AccessToken(owner)), g.Opaque("bulk-export", person(owner))
	g.Stop()
	g.cannotTell("JWT", jwt)
	g.cannotTell("opaque", opaque)
	g.accepts("an API key", "uc_1", owner)
	g.accepts("an old key", "old-key", "old@example.edu")
	g.Start()
	g.cannotTell("the moment after it did not answer", jwt)
	g.advance(time.Second)
	g.accepts("JWT, once it is up", jwt, owner)
	g.accepts("opaque, once it is up", opaque, owner)
}

func TestProviderDownLater(t *testing.T) {
	g := newGate(t)
	opaque := g.Opaque("bulk-export", person(owner))
	g.accepts("before", g.Sign(g.AccessToken(owner)), owner)
	g.accepts("before", opaque, owner)
	g.Stop()
	g.accepts("remembered", opaque, owner)
	for range 3 {
		g.accepts("by the keys it had", g.claim("exp", in(24*time.Hour)), owner)
		g.refuses("forged", g.changed(func(t *testenv.Token) { t.Forged = true }))
		g.cannotTell("a key that may be new", g.changed(func(t *testenv.Token) { t.Kid = "new" }))
		g.cannotTell("opaque", "another-token")
		g.advance(2 * time.Hour) // everything is due to be renewed
	}
	g.cannotTell("no longer remembered", opaque)
}

// Nonsense from the provider, or from what stands before it, refuses nobody.
func TestProviderTalksNonsense(t *testing.T) {
	for path, token := range map[string]func(*gate) string{
		"/.well-known/openid-configuration": func(g *gate) string { return g.Sign(g.AccessToken(owner)) },
		"/keys":                             func(g *gate) string { return g.Sign(g.AccessToken(owner)) },
		"/userinfo":                         func(g *gate) string { return g.Opaque("bulk-export", person(owner)) },
		"/introspect":                       func(g *gate) string { return g.Opaque("bulk-export", person(owner)) },
	} {
		g := newGate(t)
		g.SetDiscovery("introspection_endpoint", g.URL()+"/introspect")
		for status, body := range map[int]string{
			500: `{"error":"server_error"}`, 503: "down for maintenance", 429: "{}", 404: "{}", 200: "<html>down for maintenance</html>",
		} {
			g.answerTo(path, status, body)
			g.cannotTell(path+" "+body, token(g))
		}
		g.Intercept(nil)
		g.accepts(path+" is well again", token(g), owner)
	}
}

// A provider of another name than the settings say is a fault of the settings.
func TestOtherIssuerThanConfigured(t *testing.T) {
	g := newGate(t)
	g.SetDiscovery("issuer", "https://evil.example")
	g.cannotTell("misconfigured", g.Sign(g.AccessToken(owner)))
}

// A silent provider keeps one request waiting, and bounded; not each of them.
func TestProviderIsSilent(t *testing.T) {
	g := newGate(t)
	g.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	})
	start := time.Now()
	for range 20 {
		g.cannotTell("silent", "some-token")
	}
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("20 requests took %v", took)
	}
	if n := g.Hits("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
