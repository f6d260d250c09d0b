package auth

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// staleRetry is how long an old value is used after it could not be renewed:
// while the provider is down, one request a minute finds that out.
const staleRetry = time.Minute

// cached is something of the provider's that is loaded at first need, and anew
// when it is older than age. What was loaded once outlives an outage.
type cached[T any] struct {
	load func(context.Context) (T, error)
	age  time.Duration
	now  func() time.Time

	flight singleflight.Group
	mu     sync.Mutex
	value  T
	loaded bool
	due    time.Time
}

// get returns the value, or a *jobs.Unavailable if there never was one.
func (c *cached[T]) get(ctx context.Context) (T, error) {
	c.mu.Lock()
	value, loaded, due := c.value, c.loaded, c.due
	c.mu.Unlock()
	if loaded && c.now().Before(due) {
		return value, nil
	}
	fresh, err := c.renew(ctx)
	if err != nil && loaded {
		return value, nil
	}
	return fresh, err
}

// renew loads the value now, once for all who ask for it meanwhile.
func (c *cached[T]) renew(ctx context.Context) (T, error) {
	done := c.flight.DoChan("", func() (any, error) {
		value, err := c.load(context.WithoutCancel(ctx))
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			c.due = c.now().Add(staleRetry)
			return nil, err
		}
		c.value, c.loaded, c.due = value, true, c.now().Add(c.age)
		return value, nil
	})
	return wait[T](ctx, done)
}

// wait ends with the caller's patience; the flight goes on for the others.
func wait[T any](ctx context.Context, done <-chan singleflight.Result) (T, error) {
	var none T
	select {
	case r := <-done:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	case <-ctx.Done():
		return none, unavailable(ctx.Err())
	}
}
