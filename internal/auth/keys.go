package auth

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/time/rate"
)

const (
	// keysAge is how long a key that the provider no longer publishes still counts.
	keysAge = 10 * time.Minute
	// renewalBurst: tokens that name unknown keys make the keys be fetched so
	// often at once, then once a second. Anybody can make up such tokens.
	renewalBurst = 5
)

// algorithms are the asymmetric ones: "none" and those with a shared secret are
// not among them, whatever the provider says of itself.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// key is one that the provider signs with.
type key struct {
	id, algorithm string
	public        crypto.PublicKey
}

// keys are the provider's. go-oidc's own set forgets a withdrawn key only when
// an unknown one turns up, fetches for every unknown one, and does not tell a
// bad signature from a provider that is down.
type keys struct {
	set      *cached[[]key]
	renewals *rate.Limiter
}

// verify returns the payload of a token that one of the keys has signed.
func (k *keys) verify(ctx context.Context, jws *jose.JSONWebSignature) ([]byte, error) {
	set, err := k.set.get(ctx)
	if err != nil {
		return nil, err
	}
	payload, known := signed(set, jws)
	if !known {
		if !k.renewals.Allow() {
			return nil, unavailable(errors.New("too many tokens name keys that it does not publish"))
		}
		if set, err = k.set.renew(ctx); err != nil {
			return nil, err
		}
		payload, _ = signed(set, jws)
	}
	if payload == nil {
		return nil, refusal("the token is not signed by the provider")
	}
	return payload, nil
}

// signed returns the payload if a key of the set signed it, else nil; known
// says whether the set has what the token names.
func signed(set []key, jws *jose.JSONWebSignature) (payload []byte, known bool) {
	header := jws.Signatures[0].Header
	for _, k := range set {
		if header.KeyID != "" && k.id != header.KeyID {
			continue
		}
		known = header.KeyID != ""
		if k.algorithm != "" && k.algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(k.public); err == nil {
			return payload, true
		}
	}
	return nil, known
}

// fetchKeys reads the provider's published keys. Those of kinds that are not
// known here, or are not for signatures, are passed over.
func (p *provider) fetchKeys(ctx context.Context) ([]key, error) {
	d, err := p.discovery.get(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.jwksURL, nil)
	if err != nil {
		return nil, unavailable(fmt.Errorf("keys: %w", err))
	}
	var published struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := p.fetchJSON(req, &published); err != nil {
		return nil, unavailable(fmt.Errorf("keys: %w", err))
	}
	var set []key
	for _, raw := range published.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(raw, &k) != nil || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
			continue
		}
		if k.Algorithm == "" || slices.Contains(algorithms, jose.SignatureAlgorithm(k.Algorithm)) {
			set = append(set, key{k.KeyID, k.Algorithm, k.Key})
		}
	}
	if len(set) == 0 {
		return nil, unavailable(errors.New("keys: it publishes none that can be used"))
	}
	return set, nil
}
