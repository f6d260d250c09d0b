package auth

import (
	"encoding/json"
	"strings"
	"unicode"
)

// claims are what is read from tokens and from userinfo, beside what go-oidc
// checks itself.
type claims struct {
	Subject  string          `json:"sub"`
	Email    string          `json:"email"`
	Verified json.RawMessage `json:"email_verified"` // some send a string
	// AuthorizedParty is the client that a token was issued to.
	AuthorizedParty string  `json:"azp"`
	SessionID       string  `json:"sid"`
	Type            string  `json:"typ"` // Keycloak's kind of token
	IssuedAt        float64 `json:"iat"`
	NotBefore       float64 `json:"nbf"`
	// These stand in ID tokens.
	Nonce           string `json:"nonce"`
	AccessTokenHash string `json:"at_hash"`
	CodeHash        string `json:"c_hash"`
}

// verifiedEmail is the e-mail, unless the provider says that it is not verified.
func (c claims) verifiedEmail() (string, error) {
	switch strings.Trim(string(c.Verified), `"`) {
	case "", "null", "true":
	default:
		return "", errUnverified
	}
	if c.Email == "" {
		return "", errNoEmail
	}
	return c.Email, nil
}

// The refusals that a person can do something about.
var (
	errUnverified = refusal("the provider says that the e-mail address is not verified")
	errNoEmail    = refusal("the provider tells no e-mail address")
)

// maxAddress is SMTP's own limit of an address.
const maxAddress = 254

// address is an e-mail in lower case, by ASCII's rules. A few letters beyond
// ASCII fold to one of ASCII (the Kelvin sign to k): an address with such a
// letter could pass for another person's, and is refused.
func address(email string) (string, error) {
	email = strings.TrimSpace(email)
	lower := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r > unicode.MaxASCII && foldsToASCII(r), unicode.IsControl(r), unicode.IsSpace(r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, email)
	if len(lower) != len(email) || len(email) > maxAddress || strings.Count(email, "@") != 1 {
		return "", refusal("what stands as e-mail address is none")
	}
	return lower, nil
}

func foldsToASCII(r rune) bool {
	if unicode.ToLower(r) <= unicode.MaxASCII || unicode.ToUpper(r) <= unicode.MaxASCII {
		return true
	}
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		if f <= unicode.MaxASCII {
			return true
		}
	}
	return false
}
