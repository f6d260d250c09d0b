package export

import (
	"context"
	"sync"
)

// order lets the windows of an export get their connections in their order. A
// reader that is ahead holds its connection until its chunks are taken, which
// is after those of the windows before. Where connections are scarce, as behind
// a pooler, those windows could else wait for the very connection that waits
// for them.
type order struct {
	mu      sync.Mutex
	next    int // window that may ask for a connection
	changed chan struct{}
}

// wait returns when all windows before i have had a connection.
func (o *order) wait(ctx context.Context, i int) error {
	for {
		o.mu.Lock()
		next, changed := o.next, o.changed
		o.mu.Unlock()
		if i <= next {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// begun notes that window i has a connection. It may be told twice.
func (o *order) begun(i int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i == o.next {
		o.next++
		close(o.changed)
		o.changed = make(chan struct{})
	}
}
