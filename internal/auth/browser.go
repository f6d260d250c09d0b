package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const (
	// attemptTTL is how long a person may take at the provider.
	attemptTTL = 15 * time.Minute
	// maxAttempts is how many sign-ins one browser may have begun, as in several tabs.
	maxAttempts = 8
)

// The refusals that have a page of their own.
var (
	errAttempt = refusal("no such sign-in was begun in this browser")
	errDenied  = refusal("the provider answered with an error")
	errClient  = errors.New("the provider refuses this client: look at OIDC_CLIENT_ID, OIDC_CLIENT_SECRET and the redirect URIs there")
)

// attempt is a sign-in that was begun.
type attempt struct {
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"` // PKCE
	Next     string    `json:"next"`
	Begun    time.Time `json:"begun"`
}

// BrowserPaths are what Browser answers, below the public URL.
var BrowserPaths = []string{"/login", "/login/callback", "/logout", "/logout/backchannel"}

// Browser answers BrowserPaths with pages and redirects for people. The caller
// has taken the public URL's own path off.
func (a *Authenticator) Browser() http.Handler {
	if a.oidc == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			a.show(w, page{Status: http.StatusNotFound, Title: "There is no sign-in here",
				Text: "This service takes API keys of the platform only. Who operates it can set an OpenID provider up."})
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", a.withSession(a.login))
	mux.HandleFunc("GET /login/callback", a.withSession(a.callback))
	mux.HandleFunc("GET /logout", a.withSession(a.askLogout))
	mux.HandleFunc("POST /logout", a.withSession(a.logout))
	mux.HandleFunc("POST /logout/backchannel", a.backchannel)
	for path, allow := range map[string]string{
		"/login": "GET", "/login/callback": "GET", "/logout": "GET, POST", "/logout/backchannel": "POST",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", allow)
			a.show(w, page{Status: http.StatusMethodNotAllowed, Title: "Not so", Text: "This address takes other methods.",
				Link: a.base + "/", LinkText: "To the first page"})
		})
	}
	return mux
}

// withSession gives h the session that the cookie names, or a new one. What h
// changes it saves itself, before it answers.
func (a *Authenticator) withSession(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token := ""
		if c, err := r.Cookie(a.sessions.Cookie.Name); err == nil {
			token = c.Value
		}
		ctx, err := a.sessions.Load(r.Context(), token)
		if err != nil {
			a.failed(w, err, "/")
			return
		}
		h(w, r.WithContext(ctx))
	}
}

// save commits the session and tells the browser its name.
func (a *Authenticator) save(ctx context.Context, w http.ResponseWriter) error {
	token, expiry, err := a.sessions.Commit(ctx)
	if err == nil {
		a.sessions.WriteSessionCookie(ctx, w, token, expiry)
	}
	return err
}

// login begins a sign-in: the code flow with PKCE, state and nonce.
func (a *Authenticator) login(w http.ResponseWriter, r *http.Request) {
	ctx, next := r.Context(), localPath(r.URL.Query().Get("next"))
	if a.sessions.Exists(ctx, keyEmail) {
		redirect(w, r, a.base+next)
		return
	}
	d, err := a.oidc.discovery.get(ctx)
	if err != nil {
		a.failed(w, err, next)
		return
	}
	state := rand.Text()
	begun := attempt{Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: next, Begun: a.oidc.now()}
	if err := a.begin(ctx, w, state, begun); err != nil {
		a.failed(w, err, next)
		return
	}
	conf := a.oauth(d)
	redirect(w, r, conf.AuthCodeURL(state, oidc.Nonce(begun.Nonce), oauth2.S256ChallengeOption(begun.Verifier)))
}

// begin keeps an attempt in the session, and of too many the newest ones.
func (a *Authenticator) begin(ctx context.Context, w http.ResponseWriter, state string, begun attempt) error {
	b, err := json.Marshal(begun)
	if err != nil {
		return err
	}
	var oldest string
	var since time.Time
	keys := a.sessions.Keys(ctx)
	for _, key := range keys {
		if old, err := a.attempt(ctx, key); err != nil || oldest == "" || old.Begun.Before(since) {
			oldest, since = key, old.Begun
		}
	}
	if len(keys) >= maxAttempts {
		a.sessions.Remove(ctx, oldest)
	}
	a.sessions.Put(ctx, keyAttempt+state, string(b))
	a.sessions.SetDeadline(ctx, time.Now().Add(attemptTTL).UTC())
	return a.save(ctx, w)
}

func (a *Authenticator) attempt(ctx context.Context, key string) (t attempt, err error) {
	err = json.Unmarshal([]byte(a.sessions.GetString(ctx, key)), &t)
	return t, err
}

func (a *Authenticator) oauth(d *discovered) *oauth2.Config {
	endpoint := d.Endpoint()
	endpoint.AuthStyle = d.authStyle
	return &oauth2.Config{
		ClientID: a.oidc.cfg.ClientID, ClientSecret: a.oidc.cfg.ClientSecret, Endpoint: endpoint,
		RedirectURL: a.base + "/login/callback", Scopes: []string{oidc.ScopeOpenID, oidc.ScopeEmail},
	}
}

// callback ends a sign-in. An attempt counts once: it is gone before the
// provider is asked anything.
func (a *Authenticator) callback(w http.ResponseWriter, r *http.Request) {
	ctx, query := r.Context(), r.URL.Query()
	key := keyAttempt + query.Get("state")
	begun, err := a.attempt(ctx, key)
	if err != nil || a.oidc.now().After(begun.Begun.Add(attemptTTL)) {
		if a.sessions.Exists(ctx, keyEmail) { // the way back, or another tab
			redirect(w, r, a.base+"/")
			return
		}
		a.failed(w, errAttempt, "/")
		return
	}
	a.sessions.Remove(ctx, key)
	// Without a cookie: of two callbacks at once the one that fails must not
	// take the browser back to the session of before.
	if _, _, err := a.sessions.Commit(ctx); err != nil {
		a.failed(w, err, begun.Next)
		return
	}
	issuer := query.Get("iss") // RFC 9207
	switch {
	case query.Get("error") != "":
		err = denied(query.Get("error"))
	case issuer != "" && issuer != a.oidc.cfg.Issuer:
		err = errOther
	default:
		err = a.signIn(ctx, query.Get("code"), begun)
	}
	if err == nil {
		err = a.save(ctx, w)
	}
	if err != nil {
		a.failed(w, err, begun.Next)
		return
	}
	a.log.Info("signed in")
	redirect(w, r, a.base+begun.Next)
}

// errorCode is what RFC 6749 and OpenID Connect name errors by.
var errorCode = regexp.MustCompile(`^[a-z_]{1,40}$`)

// denied tells operators the provider's reason, if it looks like one.
func denied(code string) error {
	if !errorCode.MatchString(code) {
		return errDenied
	}
	return fmt.Errorf("%w: %s", errDenied, code)
}

// signIn redeems the code and makes the session, under a new name, the person's.
func (a *Authenticator) signIn(ctx context.Context, code string, begun attempt) error {
	d, err := a.oidc.discovery.get(ctx)
	if err != nil {
		return err
	}
	token, err := a.redeem(ctx, d, code, begun.Verifier)
	if err != nil {
		return err
	}
	raw, _ := token.Extra("id_token").(string)
	c, err := a.idToken(ctx, raw, token.AccessToken, begun.Nonce)
	if err != nil {
		return err
	}
	email, err := c.verifiedEmail()
	if err == nil {
		email, err = address(email)
	}
	if err != nil {
		return err
	}
	if err := a.sessions.RenewToken(ctx); err != nil {
		return err
	}
	if err := a.sessions.Clear(ctx); err != nil {
		return err
	}
	for key, value := range map[string]string{keyEmail: email, keySubject: c.Subject, keySID: c.SessionID, keyIDToken: raw} {
		a.sessions.Put(ctx, key, value)
	}
	return nil
}

// redeem takes the code to the provider. It does not end with the browser's
// patience: a code counts once.
func (a *Authenticator) redeem(ctx context.Context, d *discovered, code, verifier string) (*oauth2.Token, error) {
	token, err := a.oauth(d).Exchange(a.oidc.within(context.WithoutCancel(ctx)), code, oauth2.VerifierOption(verifier))
	var refused *oauth2.RetrieveError
	switch {
	case err == nil:
		return token, nil
	case errors.As(err, &refused) && refused.ErrorCode == "invalid_grant":
		return nil, errAttempt
	case errors.As(err, &refused) && refused.ErrorCode != "" && refused.Response.StatusCode < http.StatusInternalServerError:
		return nil, errClient
	}
	if refused != nil { // its text quotes the answer
		err = fmt.Errorf("token endpoint: status %d", refused.Response.StatusCode)
	}
	return nil, unavailable(err)
}

// idToken checks an ID token that came with an access token, and completes what
// it tells from userinfo.
func (a *Authenticator) idToken(ctx context.Context, raw, accessToken, nonce string) (claims, error) {
	t, c, check, err := a.oidc.verify(ctx, raw, a.oidc.cfg.ClientID)
	if err != nil {
		return claims{}, err
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(t.Nonce), []byte(nonce)) != 1, t.Subject == "":
		return claims{}, errOther
	case c.AuthorizedParty != "" && c.AuthorizedParty != a.oidc.cfg.ClientID:
		return claims{}, errOtherClient
	case c.Type != "" && c.Type != "ID", check.typ != "" && !strings.EqualFold(check.typ, "JWT"):
		return claims{}, errKind
	case t.AccessTokenHash != "" && t.VerifyAccessToken(accessToken) != nil:
		return claims{}, errOther
	case c.Email != "":
		return c, nil
	}
	info, err := a.oidc.userinfo(ctx, accessToken)
	if err != nil {
		return claims{}, err
	}
	if info.Subject != t.Subject {
		return claims{}, errOther
	}
	c.Email, c.Verified = info.Email, info.Verified
	return c, nil
}
