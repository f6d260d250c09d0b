// Package telemetry is what operators see of a process: its log, its probes,
// its metrics and its traces.
package telemetry

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// NewLogger writes one JSON object a line.
func NewLogger(w io.Writer, level slog.Level, program string) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})).With("program", program)
}

// probeLimit is how long a dependency may take to answer a probe.
const probeLimit = 2 * time.Second

// Check asks one dependency whether it answers.
type Check func(ctx context.Context) error

// Probes answers /healthz and /readyz. Required checks decide about readiness;
// the others are told in the body: a process that can still do part of its
// work must not be taken out of service.
type Probes struct {
	Required map[string]Check
	Optional map[string]Check
	Log      *slog.Logger
}

// ServeHTTP implements http.Handler.
func (p *Probes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/healthz":
		writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
	case "/readyz":
		p.ready(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (p *Probes) ready(w http.ResponseWriter, r *http.Request) {
	up := p.answers(r.Context())
	checks := map[string]string{}
	status, code := "ready", http.StatusOK
	for name, ok := range up {
		checks[name] = "ok"
		if ok {
			continue
		}
		checks[name] = "failing"
		if _, required := p.Required[name]; required {
			status, code = "unavailable", http.StatusServiceUnavailable
		} else if code == http.StatusOK {
			status = "degraded"
		}
	}
	writeJSON(w, code, map[string]any{"status": status, "checks": checks})
}

// answers asks every dependency whether it answers. All at once: one that is
// silent must not use up the others' time.
func (p *Probes) answers(ctx context.Context) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	up := map[string]bool{}
	for _, set := range []map[string]Check{p.Required, p.Optional} {
		for name, check := range set {
			wg.Go(func() {
				err := check(ctx)
				if err != nil {
					p.Log.Warn("probe failed", "dependency", name, "error", err)
				}
				mu.Lock()
				defer mu.Unlock()
				up[name] = err == nil
			})
		}
	}
	wg.Wait()
	return up
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the prober has gone
}
