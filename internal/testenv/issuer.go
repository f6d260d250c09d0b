package testenv

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// The client that signs in at an Issuer.
const (
	IssuerClientID     = "bulk-export"
	IssuerClientSecret = "issuer-secret"
)

// Issuer is an OpenID provider that a test has to itself, for what a real one
// does not do at a test's word: tokens of every bad kind, other keys, silence.
// Its access tokens look like Keycloak's. It asks nobody for a password:
// whoever comes to sign in is Person.
type Issuer struct {
	t         testing.TB
	addr, url string

	mu        sync.Mutex
	server    *httptest.Server
	key       *rsa.PrivateKey
	kid       string
	person    map[string]any
	intercept func(http.ResponseWriter, *http.Request) bool
	changeID  func(*Token)
	opaque    map[string]opaque
	logins    map[string]login
	hits      map[string]int
	discovery map[string]any
}

// Token is one to be signed: change what shall be wrong with it.
type Token struct {
	Claims map[string]any
	Typ    string // the header's typ
	Kid    string // the header's kid
	// Alg is RS256, none, or HS256 with the public key as the secret.
	Alg string
	// Forged signs with a key that the issuer never had.
	Forged bool
}

// NewIssuer starts an Issuer, whose person is owner@example.edu.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{
		t: t, addr: l.Addr().String(), url: "http://" + l.Addr().String() + "/realms/test",
		opaque: map[string]opaque{}, logins: map[string]login{}, hits: map[string]int{},
	}
	i.discovery = map[string]any{
		"issuer": i.url, "authorization_endpoint": i.url + "/authorize", "token_endpoint": i.url + "/token",
		"userinfo_endpoint": i.url + "/userinfo", "jwks_uri": i.url + "/keys", "end_session_endpoint": i.url + "/end-session",
		"id_token_signing_alg_values_supported": []string{"RS256"},
	}
	i.SetPerson("owner@example.edu")
	i.Rotate()
	i.serve(l)
	t.Cleanup(i.Stop)
	return i
}

// URL is the issuer's name, and what OIDC_ISSUER takes.
func (i *Issuer) URL() string { return i.url }

// Stop makes the issuer unreachable.
func (i *Issuer) Stop() {
	i.mu.Lock()
	s := i.server
	i.server = nil
	i.mu.Unlock()
	if s != nil {
		s.CloseClientConnections()
		s.Close()
	}
}

// Start makes a stopped issuer reachable again, at the same address.
func (i *Issuer) Start() {
	i.t.Helper()
	l, err := net.Listen("tcp", i.addr)
	if err != nil {
		i.t.Fatal(err)
	}
	i.serve(l)
}

func (i *Issuer) serve(l net.Listener) {
	s := httptest.NewUnstartedServer(i.handler())
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	i.mu.Lock()
	i.server = s
	i.mu.Unlock()
}

// Rotate replaces the signing key; the old one is no longer published.
func (i *Issuer) Rotate() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.t.Fatal(err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.kid = key, rand.Text()
}

// SetPerson says who signs in from now on. The e-mail counts as verified.
func (i *Issuer) SetPerson(email string) {
	i.SetPersonClaims(map[string]any{"sub": "sub of " + email, "email": email, "email_verified": true})
}

// SetPersonClaims says what is told of who signs in from now on; sub is needed.
func (i *Issuer) SetPersonClaims(claims map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.person = claims
}

// Intercept lets f answer requests in the issuer's place; it reports whether it
// did. It may block until the request's context ends: silence.
func (i *Issuer) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.intercept = f
}

// ChangeIDTokens lets f change each ID token before it is signed.
func (i *Issuer) ChangeIDTokens(f func(*Token)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.changeID = f
}

// SetDiscovery adds an entry to the discovery document, or takes it out: nil.
func (i *Issuer) SetDiscovery(name string, value any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.discovery[name] = value
	if value == nil {
		delete(i.discovery, name)
	}
}

// Hits counts the requests to a path such as /userinfo.
func (i *Issuer) Hits(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.hits[path]
}

// AccessToken is a good one of the person with this e-mail.
func (i *Issuer) AccessToken(email string) Token {
	t := i.token()
	maps.Copy(t.Claims, map[string]any{
		"sub": "sub of " + email, "aud": IssuerClientID, "azp": IssuerClientID, "typ": "Bearer", "sid": "sid of " + email,
		"scope": "openid email", "email": email, "email_verified": true,
	})
	return t
}

// LogoutToken is a good one that ends a session, or with sid "" all of them.
func (i *Issuer) LogoutToken(sub, sid string) Token {
	t := i.token()
	t.Typ = "logout+jwt"
	maps.Copy(t.Claims, map[string]any{
		"sub": sub, "aud": IssuerClientID, "typ": "Logout",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	})
	if sid != "" {
		t.Claims["sid"] = sid
	}
	return t
}

// token has what all of them have.
func (i *Issuer) token() Token {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now()
	return Token{
		Typ: "JWT", Kid: i.kid, Alg: "RS256",
		Claims: map[string]any{"iss": i.url, "exp": now.Add(2 * time.Minute).Unix(), "iat": now.Unix(), "jti": rand.Text()},
	}
}

// Sign makes a JWT of t, with the key that is in force now.
func (i *Issuer) Sign(t Token) string {
	i.t.Helper()
	i.mu.Lock()
	key := i.key
	i.mu.Unlock()
	payload, err := json.Marshal(t.Claims)
	if err != nil {
		i.t.Fatal(err)
	}
	signing := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(t.Alg), Key: key}
	switch {
	case t.Alg == "none":
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(payload) + "."
	case t.Alg == "HS256":
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			i.t.Fatal(err)
		}
		signing.Key = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	case t.Forged:
		if signing.Key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			i.t.Fatal(err)
		}
	}
	o := (&jose.SignerOptions{}).WithType(jose.ContentType(t.Typ)).WithHeader("kid", t.Kid)
	signer, err := jose.NewSigner(signing, o)
	if err != nil {
		i.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		i.t.Fatal(err)
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return compact
}

// opaque is an access token that only the issuer can read.
type opaque struct {
	client string
	claims map[string]any
}

// Opaque makes an access token that only the issuer can read, issued to client.
// The claims are userinfo's.
func (i *Issuer) Opaque(client string, claims map[string]any) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	token := rand.Text()
	i.opaque[token] = opaque{client, claims}
	return token
}

// Revoke makes an opaque token worthless.
func (i *Issuer) Revoke(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.opaque, token)
}
