package auth

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Sessions keeps the sessions of browsers, by the SHA-256 of what a cookie holds.
type Sessions interface {
	// FindSession returns false if there is none or it is over.
	FindSession(ctx context.Context, id string) (data []byte, found bool, err error)
	// CommitSession keeps one for ttl from now on. Subject and sid are the
	// provider's; empty before the sign-in, or where it does not tell.
	CommitSession(ctx context.Context, id string, data []byte, subject, sid string, ttl time.Duration) error
	// DeleteSession ends one; that there is none is no error.
	DeleteSession(ctx context.Context, id string) error
	// EndSessions ends those of the provider's session or, without a sid, of the
	// person, and returns how many.
	EndSessions(ctx context.Context, subject, sid string) (int64, error)
}

// What a session holds: after the sign-in these, before it an attempt a key.
const (
	keyEmail   = "email"
	keySubject = "sub"
	keySID     = "sid"
	keyIDToken = "id_token" // the hint by which the provider ends its own session
	keyAttempt = "attempt:"
)

// newSessions makes the sessions' manager. They end SessionTTL after the sign-in
// at the latest, used or not, and with the browser.
func newSessions(cfg Config) *scs.SessionManager {
	m := &scs.SessionManager{ // scs.New would start a store of its own
		Codec: scs.GobCodec{}, Lifetime: cfg.SessionTTL, HashTokenInStore: true,
		Cookie: scs.SessionCookie{HttpOnly: true, SameSite: http.SameSiteLaxMode},
	}
	m.Store = sessionStore{cfg.Sessions, m.Codec}
	m.Cookie.Name, m.Cookie.Path, m.Cookie.Secure = cookieFor(cfg.PublicURL)
	return m
}

// Cookie is the name of the cookie that a session has at this public URL.
func Cookie(publicURL string) string {
	name, _, _ := cookieFor(publicURL)
	return name
}

// cookieFor names the cookie by the strongest promise that a browser can hold it
// to: __Host- is taken from this very host only, and __Secure- not from plain HTTP.
func cookieFor(publicURL string) (name, path string, secure bool) {
	name, path = "bulkexport", "/"
	u, err := url.Parse(publicURL)
	if err != nil {
		return name, path, false
	}
	if strings.Trim(u.Path, "/") != "" {
		path = strings.TrimSuffix(u.EscapedPath(), "/")
	}
	switch secure = u.Scheme == "https"; {
	case secure && path == "/":
		name = "__Host-" + name
	case secure:
		name = "__Secure-" + name
	}
	return name, path, secure
}

// sameOrigin takes the public URL's origin for this service's own also where a
// proxy changes the Host header.
func sameOrigin(publicURL string) *http.CrossOriginProtection {
	p := http.NewCrossOriginProtection()
	if u, err := url.Parse(publicURL); err == nil {
		// What is no origin is none of a page's either.
		_ = p.AddTrustedOrigin(strings.ToLower(u.Scheme + "://" + u.Host))
	}
	return p
}

// sessionEmail returns whose session a request's cookie names.
func (a *Authenticator) sessionEmail(ctx context.Context, header http.Header) (string, error) {
	cookie, err := (&http.Request{Header: header}).Cookie(a.sessions.Cookie.Name)
	if err != nil {
		return "", jobs.ErrUnauthenticated
	}
	ctx, err = a.sessions.Load(ctx, cookie.Value)
	if err != nil {
		return "", err
	}
	email := a.sessions.GetString(ctx, keyEmail)
	if email == "" {
		return "", jobs.ErrUnauthenticated
	}
	return email, nil
}

// sessionStore lets scs keep its sessions in Sessions. Its ids are hashed already.
type sessionStore struct {
	sessions Sessions
	codec    scs.Codec
}

var _ scs.CtxStore = sessionStore{}

// FindCtx implements scs.CtxStore.
func (s sessionStore) FindCtx(ctx context.Context, id string) ([]byte, bool, error) {
	return s.sessions.FindSession(ctx, id)
}

// CommitCtx implements scs.CtxStore. Whose session it is stands beside the data,
// so that the provider can end it.
func (s sessionStore) CommitCtx(ctx context.Context, id string, data []byte, expiry time.Time) error {
	_, values, err := s.codec.Decode(data)
	if err != nil {
		return err
	}
	subject, _ := values[keySubject].(string)
	sid, _ := values[keySID].(string)
	return s.sessions.CommitSession(ctx, id, data, subject, sid, time.Until(expiry))
}

// DeleteCtx implements scs.CtxStore.
func (s sessionStore) DeleteCtx(ctx context.Context, id string) error {
	return s.sessions.DeleteSession(ctx, id)
}

// Find implements scs.Store; scs calls those with a context.
func (s sessionStore) Find(id string) ([]byte, bool, error) {
	return s.FindCtx(context.Background(), id)
}

// Commit implements scs.Store.
func (s sessionStore) Commit(id string, data []byte, expiry time.Time) error {
	return s.CommitCtx(context.Background(), id, data, expiry)
}

// Delete implements scs.Store.
func (s sessionStore) Delete(id string) error { return s.DeleteCtx(context.Background(), id) }
