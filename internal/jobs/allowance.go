package jobs

import "time"

// Allowance is what a person has left who has just asked once more. Where
// nobody counts, all but OK is zero.
type Allowance struct {
	OK         bool // the request may pass
	Limit      int  // requests a minute
	Remaining  int
	Reset      time.Duration // until nothing of Limit is used any more
	RetryAfter time.Duration // until a request passes again; 0 if this one did
}
