// Package auth turns the credentials of a request into a jobs.Principal: an API
// key of the platform, a token of the OpenID provider, or a browser's session.
package auth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Keys knows whose an API key is; jobs.ErrUnauthenticated if nobody's.
type Keys interface {
	KeyEmail(ctx context.Context, key string) (string, error)
}

// Config is what New needs. Without an Issuer there are API keys only, and the
// provider's fields and the sessions are not looked at.
type Config struct {
	Keys Keys
	Log  *slog.Logger

	Issuer       string // the provider's, exactly as it names itself
	ClientID     string
	ClientSecret string // empty: a public client
	Audience     string // what bearer tokens must name; empty: ClientID

	Sessions   Sessions
	SessionTTL time.Duration
	PublicURL  string // without a slash at the end; may have a path
	Stylesheet string // address of the pages' look; empty: none
}

// Authenticator proves who sent a request.
type Authenticator struct {
	keys Keys
	log  *slog.Logger
	base string // the public URL
	look string // the stylesheet's address

	// Without a provider these are nil.
	oidc     *provider
	infos    *infos
	sessions *scs.SessionManager
	store    Sessions
	// sameOrigin keeps other sites' pages from signing people out.
	sameOrigin *http.CrossOriginProtection
}

// New makes an Authenticator. It does not speak to the provider yet: one that is
// down at start is waited for, and API keys work without it.
func New(cfg Config) *Authenticator { return newAt(cfg, time.Now) }

func newAt(cfg Config, now func() time.Time) *Authenticator {
	a := &Authenticator{keys: cfg.Keys, log: cfg.Log, base: cfg.PublicURL, look: cfg.Stylesheet}
	if cfg.Issuer != "" {
		cfg.Audience = cmp.Or(cfg.Audience, cfg.ClientID)
		a.oidc = newProvider(cfg, now)
		a.infos = &infos{now: now}
		a.sessions, a.store = newSessions(cfg), cfg.Sessions
		a.sameOrigin = sameOrigin(cfg.PublicURL)
	}
	return a
}

// Ping reports whether the OpenID provider answers, or did a moment ago. There
// must be one.
func (a *Authenticator) Ping(ctx context.Context) error {
	r, err := a.oidc.reached.get(ctx)
	return cmp.Or(err, r.err)
}

// maxToken is far above any key and above the largest tokens with many roles,
// and far below what would cost anything.
const maxToken = 16 << 10

// keyPrefix starts every API key that the platform makes.
const keyPrefix = "uc_"

// bearer is what a token may consist of (RFC 6750, section 2.1). What is not
// made so is never sent on to the provider.
var bearer = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// Authenticate returns the person behind an Authorization header or, where there
// is none, behind the session that the cookie names; else
// jobs.ErrUnauthenticated, or a *jobs.Unavailable.
func (a *Authenticator) Authenticate(ctx context.Context, header http.Header) (jobs.Principal, error) {
	email, err := a.email(ctx, header)
	if err == nil {
		email, err = address(email)
	}
	if err != nil {
		a.refused(err)
		return jobs.Principal{}, err
	}
	return jobs.Principal{Email: email}, nil
}

func (a *Authenticator) email(ctx context.Context, header http.Header) (string, error) {
	if header.Get("Authorization") == "" && a.sessions != nil {
		return a.sessionEmail(ctx, header)
	}
	scheme, token, ok := strings.Cut(header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return "", jobs.ErrUnauthenticated
	}
	switch {
	case a.oidc == nil || strings.HasPrefix(token, keyPrefix) || !bearer.MatchString(token):
		return a.keys.KeyEmail(ctx, token)
	case isJWT(token):
		return a.jwtEmail(ctx, token)
	}
	return a.opaqueEmail(ctx, token)
}

// opaqueEmail asks the provider about a token that says nothing by itself. What
// the provider does not know, or cannot tell now, may still be an old API key.
func (a *Authenticator) opaqueEmail(ctx context.Context, token string) (string, error) {
	info, err := a.infos.of(ctx, token, a.oidc.inspect)
	if err == nil {
		return info.verifiedEmail()
	}
	email, keyErr := a.keys.KeyEmail(ctx, token)
	if errors.Is(keyErr, jobs.ErrUnauthenticated) {
		return "", err
	}
	return email, keyErr
}

// refusal is an ErrUnauthenticated with a reason for operators, which holds
// nothing of the credentials.
type refusal string

func (r refusal) Error() string { return jobs.ErrUnauthenticated.Error() + ": " + string(r) }
func (refusal) Unwrap() error   { return jobs.ErrUnauthenticated }

// refused tells operators why credentials were refused, where a reason is known.
func (a *Authenticator) refused(err error) {
	var r refusal
	if errors.As(err, &r) {
		a.log.Info("credentials refused", "reason", string(r))
	}
}
