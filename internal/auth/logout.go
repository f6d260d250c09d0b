package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// askLogout asks before the sign-out, or tells that it is done: the provider
// sends people back here.
func (a *Authenticator) askLogout(w http.ResponseWriter, r *http.Request) {
	if !a.sessions.Exists(r.Context(), keyEmail) {
		a.show(w, page{Status: http.StatusOK, Title: "You are signed out", Text: "Nothing of yours can be reached from here.",
			Link: a.base + "/login", LinkText: "Sign in"})
		return
	}
	p := page{Status: http.StatusOK, Title: "Sign out?", Text: "You will be signed out here and at the sign-in provider.",
		Form: a.base + "/logout", Button: "Sign out"}
	// Chrome holds the redirect that answers a form to the page's form-action.
	if u, err := url.Parse(a.endSession(r.Context(), "")); err == nil {
		p.formTo = u.Scheme + "://" + u.Host
	}
	a.show(w, p)
}

// logout ends the session here, then at the provider. It takes no word from
// another site's page.
func (a *Authenticator) logout(w http.ResponseWriter, r *http.Request) {
	if err := a.sameOrigin.Check(r); err != nil {
		a.show(w, page{Status: http.StatusForbidden, Title: "You are still signed in", Text: "The request to sign you out came from another site.",
			Link: a.base + "/logout", LinkText: "Sign out"})
		return
	}
	ctx, to := r.Context(), a.base+"/logout"
	if a.sessions.Exists(ctx, keyEmail) {
		to = a.endSession(ctx, a.sessions.GetString(ctx, keyIDToken))
	}
	if err := a.sessions.Destroy(ctx); err != nil {
		a.failed(w, err, "/")
		return
	}
	a.sessions.WriteSessionCookie(ctx, w, "", time.Time{})
	redirect(w, r, to)
}

// endSession is where the provider ends its own session and sends people back
// (OpenID Connect RP-Initiated Logout). A provider that offers it not, or is
// down, keeps nobody from signing out here.
func (a *Authenticator) endSession(ctx context.Context, idToken string) string {
	back := a.base + "/logout"
	d, err := a.oidc.discovery.get(ctx)
	if err != nil || d.endSession == "" {
		return back
	}
	u, err := url.Parse(d.endSession)
	if err != nil {
		return back
	}
	q := u.Query()
	q.Set("client_id", a.oidc.cfg.ClientID)
	q.Set("post_logout_redirect_uri", back)
	if idToken != "" {
		q.Set("id_token_hint", idToken)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

const (
	// logoutAge is how old a logout token may be.
	logoutAge = 5 * time.Minute
	// logoutLimit is far above any logout token.
	logoutLimit = 64 << 10
)

// backchannel ends sessions at the provider's word (OpenID Connect Back-Channel
// Logout).
func (a *Authenticator) backchannel(w http.ResponseWriter, r *http.Request) {
	guarded(w)
	r.Body = http.MaxBytesReader(w, r.Body, logoutLimit)
	subject, sid, err := a.oidc.logoutToken(r.Context(), r.PostFormValue("logout_token"))
	if err == nil {
		var ended int64
		if ended, err = a.store.EndSessions(r.Context(), subject, sid); err == nil {
			a.log.Info("the provider ended sessions", "sessions", ended)
			return
		}
	}
	status, kind := http.StatusInternalServerError, "server_error"
	var down *jobs.Unavailable
	switch {
	case errors.Is(err, jobs.ErrUnauthenticated):
		status, kind = http.StatusBadRequest, "invalid_request"
	case errors.As(err, &down):
		status, kind = http.StatusServiceUnavailable, "temporarily_unavailable"
	}
	a.log.Warn("no sessions ended at the provider's word", "status", status, "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": kind}) // the provider has gone
}

// logoutToken returns whose sessions shall end. go-oidc demands jti, exp, and
// sub or sid, and no nonce.
func (p *provider) logoutToken(ctx context.Context, raw string) (subject, sid string, err error) {
	c := &check{keys: p.keys}
	t, err := p.verifier(c, p.cfg.ClientID).VerifyLogout(ctx, raw)
	if err != nil {
		return "", "", c.reason()
	}
	var cl struct {
		claims
		Events map[string]json.RawMessage `json:"events"`
	}
	if err := t.Claims(&cl); err != nil {
		return "", "", errOther
	}
	event := cl.Events["http://schemas.openid.net/event/backchannel-logout"]
	old := float64(p.now().Add(-logoutAge).Unix())
	switch {
	case !bytes.HasPrefix(event, []byte("{")), cl.Type != "" && cl.Type != "Logout":
		return "", "", errKind
	case cl.IssuedAt < old:
		return "", "", errExpired
	}
	return t.Subject, t.SessionID, p.inTime(t.Expiry, cl.claims)
}
