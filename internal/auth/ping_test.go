package auth_test

import (
	"errors"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Probes come from anybody, as often as they like: the provider hears of one in
// five seconds, and what it cannot answer is known after as many.
func TestPing(t *testing.T) {
	g := newGate(t)
	const at = "/.well-known/openid-configuration"
	for range 20 {
		if err := g.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := g.Hits(at); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
	g.Stop()
	g.advance(5 * time.Second)
	var down *jobs.Unavailable
	if err := g.Ping(t.Context()); !errors.As(err, &down) {
		t.Errorf("while it is away: %v", err)
	}
	g.Start()
	g.advance(5 * time.Second)
	if err := g.Ping(t.Context()); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}
