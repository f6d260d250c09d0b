package auth_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

type keys map[string]string

func (k keys) KeyEmail(_ context.Context, key string) (string, error) {
	if email, ok := k[key]; ok {
		return email, nil
	}
	return "", jobs.ErrUnauthenticated
}

func TestAuthenticate(t *testing.T) {
	a := auth.New(auth.Config{Keys: keys{"uc_1": " Owner@Example.EDU ", "": "empty@example.edu"}, Log: slog.New(slog.DiscardHandler)})
	for header, want := range map[string]string{
		"Bearer uc_1":                        "owner@example.edu",
		"bearer  uc_1 ":                      "owner@example.edu",
		"uc_1":                               "",
		"Basic uc_1":                         "",
		"Bearer":                             "",
		"Bearer ":                            "",
		"Bearer uc_2":                        "",
		"Bearer uc_1 uc_1":                   "",
		"":                                   "",
		"Bearer " + strings.Repeat("a", 1e5): "",
	} {
		p, err := a.Authenticate(t.Context(), http.Header{"Authorization": {header}})
		if p.Email != want || (want == "") != errors.Is(err, jobs.ErrUnauthenticated) {
			t.Errorf("%.40q: %q, %v", header, p.Email, err)
		}
	}
}
