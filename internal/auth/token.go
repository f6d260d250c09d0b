package auth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// leeway is for clocks that do not quite agree.
const leeway = 30 * time.Second

// Why a token that the provider did sign is refused.
var (
	errExpired     = refusal("the token has expired")
	errNotYet      = refusal("the token is not valid yet")
	errKind        = refusal("it is no access token")
	errOtherClient = refusal("the token was issued neither for this service nor to it")
	errOther       = refusal("the token is not the provider's, or not as it was signed")
)

// isJWT tells by the shape: a header that is JSON, a payload, a signature.
func isJWT(token string) bool {
	head, rest, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(head)
	return err == nil && bytes.HasPrefix(header, []byte("{")) && json.Valid(header) && strings.Count(rest, ".") == 1
}

// audience is one name, or a list of them.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// check is one token's way through go-oidc: the key set of one verifier. It
// keeps what go-oidc puts into words: whether the provider was to be had.
type check struct {
	keys *keys
	typ  string // the header's
	err  error
}

// VerifySignature implements oidc.KeySet.
func (c *check) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err == nil {
		c.typ, _ = jws.Signatures[0].Header.ExtraHeaders[jose.HeaderType].(string)
		payload, err = c.keys.verify(ctx, jws)
	}
	c.err = err
	return payload, err
}

// verifier is go-oidc's, for one token.
func (p *provider) verifier(c *check, clientID string) *oidc.IDTokenVerifier {
	conf := &oidc.Config{ClientID: clientID, SkipClientIDCheck: clientID == "", SkipExpiryCheck: true, Now: p.now}
	for _, a := range algorithms {
		conf.SupportedSigningAlgs = append(conf.SupportedSigningAlgs, string(a))
	}
	return oidc.NewVerifier(p.cfg.Issuer, c, conf)
}

// verify checks signature, issuer and times of a token, and that it names
// clientID as its audience, unless that is empty.
func (p *provider) verify(ctx context.Context, token, clientID string) (*oidc.IDToken, claims, *check, error) {
	c := &check{keys: p.keys}
	t, err := p.verifier(c, clientID).Verify(ctx, token)
	if err != nil {
		return nil, claims{}, c, c.reason()
	}
	var cl claims
	if err := t.Claims(&cl); err != nil {
		return nil, claims{}, c, errOther
	}
	return t, cl, c, p.inTime(t.Expiry, cl)
}

// reason of a token that go-oidc refused.
func (c *check) reason() error {
	var down *jobs.Unavailable
	if errors.As(c.err, &down) {
		return c.err
	}
	return errOther
}

// inTime is stricter than go-oidc, which allows five minutes.
func (p *provider) inTime(expiry time.Time, c claims) error {
	now := p.now()
	soon := float64(now.Add(leeway).Unix())
	switch {
	case now.Add(-leeway).After(expiry):
		return errExpired
	case c.NotBefore > soon, c.IssuedAt > soon:
		return errNotYet
	}
	return nil
}

// jwtEmail reads the person from an access token in the form of a JWT.
func (a *Authenticator) jwtEmail(ctx context.Context, token string) (string, error) {
	t, c, check, err := a.oidc.verify(ctx, token, "")
	if err != nil {
		return "", err
	}
	if !accessToken(check.typ, c) {
		return "", errKind
	}
	// Keycloak names this service in aud only where a mapper is told to, and the
	// client that a token was issued to always. A token of this very client was
	// issued to somebody who signed in to this service.
	if !slices.Contains(t.Audience, a.oidc.cfg.Audience) && c.AuthorizedParty != a.oidc.cfg.ClientID {
		return "", errOtherClient
	}
	if c.Email == "" {
		info, err := a.infos.of(ctx, token, a.oidc.userinfo)
		if err != nil {
			return "", err
		}
		if info.Subject != t.Subject {
			return "", errOther
		}
		c = info
	}
	return c.verifiedEmail()
}

// accessToken tells by what providers write into their tokens: the header's
// media type (RFC 9068), Keycloak's claim typ, and what stands in ID tokens only.
func accessToken(typ string, c claims) bool {
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "at+jwt":
		return c.Type == "" || c.Type == "Bearer"
	case "jwt", "":
	default:
		return false
	}
	if c.Type != "" {
		return c.Type == "Bearer"
	}
	return c.Nonce == "" && c.AccessTokenHash == "" && c.CodeHash == ""
}
