package proc

import (
	"context"
	"fmt"
	"time"
)

// Timeout is the longest that a component may take to get ready. A database
// that recovers from a crash on a busy machine needs most of it.
const Timeout = time.Minute

// Ready polls until probe succeeds or the child has ended.
func (c *Child) Ready(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return c.Err()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready (%w), its log is %s: %w", c.opts.Name, ctx.Err(), c.opts.Log, err)
		case <-tick.C:
		}
	}
}
