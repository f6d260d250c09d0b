// Package auth turns the credentials of a request into a jobs.Principal: today
// the platform's API keys.
package auth

import (
	"context"
	"net/http"
	"strings"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Keys knows whose an API key is; jobs.ErrUnauthenticated if nobody's.
type Keys interface {
	KeyEmail(ctx context.Context, key string) (string, error)
}

// Authenticator proves who sent a request.
type Authenticator struct{ keys Keys }

// New makes an Authenticator.
func New(k Keys) *Authenticator { return &Authenticator{k} }

// maxToken is far above any key, and far below what would cost anything.
const maxToken = 4096

// Authenticate returns the person behind an Authorization header, or
// jobs.ErrUnauthenticated, or a *jobs.Unavailable.
func (a *Authenticator) Authenticate(ctx context.Context, header http.Header) (jobs.Principal, error) {
	scheme, token, ok := strings.Cut(header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return jobs.Principal{}, jobs.ErrUnauthenticated
	}
	email, err := a.keys.KeyEmail(ctx, token)
	if err != nil {
		return jobs.Principal{}, err
	}
	return jobs.Principal{Email: strings.ToLower(strings.TrimSpace(email))}, nil
}
