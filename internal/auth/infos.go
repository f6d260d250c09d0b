package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

const (
	// infoAge is how long a token that was revoked may still count.
	infoAge = time.Minute
	// refusalAge is short: a token may be asked about before it is known everywhere.
	refusalAge = 5 * time.Second
	// maxInfos bounds what a flood of made-up tokens can take: some 3 MB.
	maxInfos = 10_000
)

// infos remembers for a moment what the provider said about tokens. It knows
// them by their SHA-256 only.
type infos struct {
	now    func() time.Time
	flight singleflight.Group

	mu    sync.Mutex
	known map[[sha256.Size]byte]info
}

type info struct {
	claims  claims
	refused error
	until   time.Time
}

// of returns what ask says, or said a moment ago. All who ask about one token at
// once wait for the same answer.
func (i *infos) of(ctx context.Context, token string, ask func(context.Context, string) (claims, error)) (claims, error) {
	sum := sha256.Sum256([]byte(token))
	i.mu.Lock()
	known, ok := i.known[sum]
	i.mu.Unlock()
	if ok && i.now().Before(known.until) {
		return known.claims, known.refused
	}
	return wait[claims](ctx, i.flight.DoChan(string(sum[:]), func() (any, error) {
		asked := i.now()
		c, err := ask(context.WithoutCancel(ctx), token)
		switch {
		case err == nil:
			i.keep(sum, info{claims: c, until: asked.Add(infoAge)})
		case errors.Is(err, jobs.ErrUnauthenticated):
			i.keep(sum, info{refused: err, until: asked.Add(refusalAge)})
		}
		return c, err
	}))
}

// keep makes room first for what is still of use, then at random.
func (i *infos) keep(sum [sha256.Size]byte, in info) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known == nil {
		i.known = map[[sha256.Size]byte]info{}
	}
	if len(i.known) >= maxInfos {
		now := i.now()
		for k, v := range i.known {
			if !now.Before(v.until) {
				delete(i.known, k)
			}
		}
		for k := range i.known {
			if len(i.known) < maxInfos*9/10 {
				break
			}
			delete(i.known, k)
		}
	}
	i.known[sum] = in
}
