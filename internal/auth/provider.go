package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/time/rate"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

const (
	// patience is how long the provider may take for one answer.
	patience = 4 * time.Second
	// breather is the pause after it did not answer, in which nobody waits for it.
	breather = time.Second
	// answerLimit is far above any document of a provider.
	answerLimit = 1 << 20
	maxReason   = 300
	// reachedAge is how long it is known whether the provider answers: probes
	// come from anybody, and must not all be passed on to it.
	reachedAge = 5 * time.Second
	// discoveryAge is how long the provider's description of itself is used.
	discoveryAge = time.Hour
)

// provider is the OpenID provider, as this service sees it.
type provider struct {
	cfg       Config
	now       func() time.Time
	client    *http.Client
	discovery *cached[*discovered]
	keys      *keys
	reached   *cached[reached]
}

// reached is whether the provider answers.
type reached struct{ err error }

// discovered is what the provider tells about itself.
type discovered struct {
	*oidc.Provider
	jwksURL       string
	endSession    string // empty: it offers no sign-out
	introspection string // empty: it does not tell about opaque tokens
	authStyle     oauth2.AuthStyle
}

func newProvider(cfg Config, now func() time.Time) *provider {
	p := &provider{cfg: cfg, now: now}
	p.client = &http.Client{Timeout: patience, Transport: &breaker{next: http.DefaultTransport, now: now}}
	p.discovery = &cached[*discovered]{load: p.discover, age: discoveryAge, now: now}
	p.keys = &keys{
		set:      &cached[[]key]{load: p.fetchKeys, age: keysAge, now: now},
		renewals: rate.NewLimiter(rate.Every(time.Second), renewalBurst),
	}
	p.reached = &cached[reached]{load: p.reach, age: reachedAge, now: now}
	return p
}

// reach asks for the provider's description of itself, and does not use it.
func (p *provider) reach(ctx context.Context) (reached, error) {
	at := strings.TrimSuffix(p.cfg.Issuer, "/") + "/.well-known/openid-configuration"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err == nil {
		err = p.fetchJSON(req, &struct{}{})
	}
	if err != nil {
		err = unavailable(err)
	}
	return reached{err}, nil
}

// unavailable is the answer while the provider cannot be asked. go-oidc quotes
// whole answers: what is logged of them is cut.
func unavailable(err error) error {
	if text := err.Error(); len(text) > maxReason {
		err = errors.New(strings.ToValidUTF8(text[:maxReason], "") + "…")
	}
	return &jobs.Unavailable{Dependency: "the sign-in provider", Err: err}
}

// within gives go-oidc and oauth2 this provider's client.
func (p *provider) within(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

func (p *provider) discover(ctx context.Context) (*discovered, error) {
	o, err := oidc.NewProvider(p.within(ctx), p.cfg.Issuer)
	if err != nil {
		return nil, unavailable(fmt.Errorf("discovery: %w", err))
	}
	var more struct {
		JWKS          string   `json:"jwks_uri"`
		EndSession    string   `json:"end_session_endpoint"`
		Introspection string   `json:"introspection_endpoint"`
		AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := o.Claims(&more); err != nil {
		return nil, unavailable(fmt.Errorf("discovery: %w", err))
	}
	d := &discovered{Provider: o, jwksURL: more.JWKS, endSession: more.EndSession, authStyle: oauth2.AuthStyleInHeader}
	basic := len(more.AuthMethods) == 0 || slices.Contains(more.AuthMethods, "client_secret_basic")
	if p.cfg.ClientSecret == "" || !basic {
		d.authStyle = oauth2.AuthStyleInParams
	}
	if p.cfg.ClientSecret != "" {
		d.introspection = more.Introspection
	}
	return d, nil
}

// breaker lets nobody wait for a provider that has just not answered. Only
// silence and broken connections count: an error that it answers is quick, and
// an odd token that provokes one must not shut everybody out.
type breaker struct {
	next http.RoundTripper
	now  func() time.Time

	mu    sync.Mutex
	until time.Time
}

var errBreather = errors.New("it did not answer a moment ago")

// RoundTrip implements http.RoundTripper.
func (b *breaker) RoundTrip(r *http.Request) (*http.Response, error) {
	b.mu.Lock()
	open := b.now().Before(b.until)
	b.mu.Unlock()
	if open {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errBreather
	}
	res, err := b.next.RoundTrip(r)
	if err != nil {
		b.mu.Lock()
		b.until = b.now().Add(breather)
		b.mu.Unlock()
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(res.Body, answerLimit), res.Body}
	return res, nil
}

// statusOf notes the status of an answer that go-oidc only puts into words.
type statusOf struct {
	next   http.RoundTripper
	status int
}

// RoundTrip implements http.RoundTripper.
func (s *statusOf) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := s.next.RoundTrip(r)
	if err == nil {
		s.status = res.StatusCode
	}
	return res, err
}

// refusing are the statuses by which a provider says that a token is no good.
var refusing = []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden}

// userinfo asks whose an access token is.
func (p *provider) userinfo(ctx context.Context, token string) (claims, error) {
	d, err := p.discovery.get(ctx)
	if err != nil {
		return claims{}, err
	}
	probe := &statusOf{next: p.client.Transport}
	ctx = oidc.ClientContext(ctx, &http.Client{Timeout: patience, Transport: probe})
	info, err := d.UserInfo(ctx, oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}))
	switch {
	case err == nil:
	case slices.Contains(refusing, probe.status):
		return claims{}, refusal("the provider does not know the token")
	default:
		return claims{}, unavailable(fmt.Errorf("userinfo: status %d: %w", probe.status, err))
	}
	var c claims
	if err := info.Claims(&c); err != nil {
		return claims{}, unavailable(fmt.Errorf("userinfo: %w", err))
	}
	if c.Subject == "" {
		return claims{}, refusal("the token was not issued for OpenID Connect")
	}
	return c, nil
}

// inspect is userinfo for a token that says nothing by itself. userinfo does not
// tell whom a token was issued to; where the provider offers introspection
// (RFC 7662), a token of another client is refused.
func (p *provider) inspect(ctx context.Context, token string) (claims, error) {
	d, err := p.discovery.get(ctx)
	if err != nil {
		return claims{}, err
	}
	if d.introspection != "" {
		if err := p.introspect(ctx, d.introspection, token); err != nil {
			return claims{}, err
		}
	}
	return p.userinfo(ctx, token)
}

// introspect refuses a token that is not active or was not issued to this client.
func (p *provider) introspect(ctx context.Context, endpoint, token string) error {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return unavailable(fmt.Errorf("introspection: %w", err))
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(p.cfg.ClientID), url.QueryEscape(p.cfg.ClientSecret))
	var told struct {
		Active   bool     `json:"active"`
		ClientID string   `json:"client_id"`
		Audience audience `json:"aud"`
	}
	if err := p.fetchJSON(req, &told); err != nil {
		return unavailable(fmt.Errorf("introspection: %w", err))
	}
	switch {
	case !told.Active:
		return refusal("the provider does not know the token, or not as one for this service")
	case told.ClientID != p.cfg.ClientID && !slices.Contains(told.Audience, p.cfg.Audience):
		return errOtherClient
	}
	return nil
}

// fetchJSON is for what neither go-oidc nor oauth2 asks.
func (p *provider) fetchJSON(req *http.Request, v any) error {
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return json.NewDecoder(res.Body).Decode(v)
}
