package testenv

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// login is a sign-in whose code was not redeemed yet.
type login struct {
	query  url.Values
	person map[string]any
}

func (i *Issuer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		document := maps.Clone(i.discovery)
		i.mu.Unlock()
		answer(w, http.StatusOK, document)
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		key := jose.JSONWebKey{Key: &i.key.PublicKey, KeyID: i.kid, Algorithm: "RS256", Use: "sig"}
		i.mu.Unlock()
		answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
	})
	mux.HandleFunc("GET /userinfo", i.userinfo)
	mux.HandleFunc("POST /introspect", i.introspect)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.redeem)
	mux.HandleFunc("GET /end-session", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.FormValue("post_logout_redirect_uri"), http.StatusFound)
	})
	return http.StripPrefix("/realms/test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.hits[r.URL.Path]++
		intercept := i.intercept
		i.mu.Unlock()
		if intercept == nil || !intercept(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

// userinfo knows the opaque tokens, and the bearers of its own JWTs.
func (i *Issuer) userinfo(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	i.mu.Lock()
	known, ok := i.opaque[token]
	claims, key, person := known.claims, i.key, i.person
	i.mu.Unlock()
	if jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256}); err == nil {
		_, err = jws.Verify(&key.PublicKey)
		claims, ok = person, err == nil
	}
	if !ok {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
		return
	}
	answer(w, http.StatusOK, claims)
}

// introspect tells a client of its own tokens alone. Only a test that puts
// introspection_endpoint into the discovery document sees it used.
func (i *Issuer) introspect(w http.ResponseWriter, r *http.Request) {
	if !i.client(w, r) {
		return
	}
	i.mu.Lock()
	token, ok := i.opaque[r.FormValue("token")]
	i.mu.Unlock()
	if !ok {
		answer(w, http.StatusOK, map[string]any{"active": false})
		return
	}
	answer(w, http.StatusOK, map[string]any{"active": true, "client_id": token.client})
}

func (i *Issuer) client(w http.ResponseWriter, r *http.Request) bool {
	id, secret, ok := r.BasicAuth()
	if !ok || id != IssuerClientID || secret != IssuerClientSecret {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return false
	}
	return true
}

// authorize signs Person in at once.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != IssuerClientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "not a code flow with PKCE", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	i.mu.Lock()
	i.logins[code] = login{q, i.person}
	i.mu.Unlock()
	back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {i.url}}.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// redeem takes a code once, from the client that it was made for.
func (i *Issuer) redeem(w http.ResponseWriter, r *http.Request) {
	if !i.client(w, r) {
		return
	}
	i.mu.Lock()
	l, ok := i.logins[r.FormValue("code")]
	delete(i.logins, r.FormValue("code"))
	change := i.changeID
	i.mu.Unlock()
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if !ok || r.FormValue("redirect_uri") != l.query.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != l.query.Get("code_challenge") {
		answer(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		return
	}
	id := i.token()
	maps.Copy(id.Claims, l.person)
	maps.Copy(id.Claims, map[string]any{"aud": IssuerClientID, "azp": IssuerClientID, "typ": "ID", "nonce": l.query.Get("nonce")})
	if id.Claims["sid"] == nil {
		id.Claims["sid"] = rand.Text()
	}
	if change != nil {
		change(&id)
	}
	answer(w, http.StatusOK, map[string]any{
		"access_token": i.Opaque(IssuerClientID, l.person), "token_type": "Bearer", "expires_in": 120, "id_token": i.Sign(id),
	})
}
