package auth

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Limiter counts a person's requests, for all processes together.
type Limiter interface {
	Take(ctx context.Context, who string) jobs.Allowance
}

// enterLimit bounds the questions about one request.
const enterLimit = 10 * time.Second

// Door is where people come in, through the API and through the pages alike.
type Door struct {
	People interface {
		Authenticate(ctx context.Context, header http.Header) (jobs.Principal, error)
	}
	Limiter Limiter        // nil: nobody counts
	Proxies []netip.Prefix // who they forward for is believed
}

// Enter says who sent a request, and from where. It is jobs.ErrUnauthenticated
// for nobody, jobs.ErrTooMany for who asks too often, a *jobs.Unavailable where
// neither can be told. The headers say how much may still be asked, as the
// IETF's draft on RateLimit fields has it.
func (d *Door) Enter(w http.ResponseWriter, r *http.Request) (jobs.Principal, error) {
	ctx, cancel := context.WithTimeout(r.Context(), enterLimit)
	defer cancel()
	p, err := d.People.Authenticate(ctx, r.Header)
	if err != nil {
		return jobs.Principal{}, err
	}
	p.Remote = remote(r, d.Proxies)
	if d.Limiter == nil {
		return p, nil
	}
	a := d.Limiter.Take(ctx, p.Email)
	if a.Limit > 0 {
		w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"person";q=%d;w=60`, a.Limit))
		w.Header().Set("RateLimit", fmt.Sprintf(`"person";r=%d;t=%d`, a.Remaining, seconds(a.Reset)))
	}
	if !a.OK {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, seconds(a.RetryAfter))))
		return jobs.Principal{}, jobs.ErrTooMany
	}
	return p, nil
}

// seconds are rounded up: who waits for so long has waited enough.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
