package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/telemetry"
)

// Only a required dependency takes a process out of service.
func TestReady(t *testing.T) {
	fine := func(context.Context) error { return nil }
	down := func(context.Context) error { return errors.New("secret address") }
	for name, c := range map[string]struct {
		required, optional telemetry.Check
		code               int
		status             string
	}{
		"all well":     {fine, fine, http.StatusOK, "ready"},
		"optional one": {fine, down, http.StatusOK, "degraded"},
		"required one": {down, fine, http.StatusServiceUnavailable, "unavailable"},
		"both":         {down, down, http.StatusServiceUnavailable, "unavailable"},
	} {
		p := &telemetry.Probes{
			Required: map[string]telemetry.Check{"database": c.required}, Optional: map[string]telemetry.Check{"queue": c.optional},
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		}
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		var body struct {
			Status string
			Checks map[string]string
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		if rec.Code != c.code || body.Status != c.status || len(body.Checks) != 2 {
			t.Errorf("%s: %d %+v", name, rec.Code, body)
		}
		if strings.Contains(rec.Body.String(), "secret") {
			t.Errorf("%s: tells strangers what is internal: %s", name, rec.Body)
		}
	}
}

// One that is silent uses up its own time only, or operators would look for
// the fault everywhere.
func TestReadyBesideSilence(t *testing.T) {
	asked := make(chan struct{})
	p := &telemetry.Probes{
		Required: map[string]telemetry.Check{"database": func(ctx context.Context) error {
			select {
			case <-asked:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}},
		Optional: map[string]telemetry.Check{"queue": func(ctx context.Context) error { close(asked); return ctx.Err() }},
		Log:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz", nil))
	if want := `{"checks":{"database":"ok","queue":"ok"},"status":"ready"}`; strings.TrimSpace(rec.Body.String()) != want {
		t.Errorf("%s, want %s", rec.Body, want)
	}
}
