package jobs

import (
	"context"
	"sync"
	"time"
)

// Session is a running attempt's side of the job row: what the Exporter tells
// while it works. Its methods may be called from several goroutines.
type Session struct {
	attempts Attempts
	fence    Fence
	lease    time.Duration
	now      func() time.Time
	draining <-chan struct{}

	mu       sync.Mutex
	phase    Phase
	until    time.Time // the current step's own limit
	held     time.Time // the lease is surely ours until then, by the local clock
	progress Progress
	first    time.Time // when the first row of this attempt came
	base     int64     // rows that were there before
	upload   *Upload   // that the row names, an earlier attempt's perhaps
}

// Step declares what comes next and how long it may take. The lease is renewed
// only within that limit: a step that hangs loses the job to another worker.
func (s *Session) Step(p Phase, limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase = p
	s.until = s.now().Add(limit)
}

// Extend grants the current step limit more from now on: it has moved.
func (s *Session) Extend(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = s.now().Add(limit)
}

// Draining is closed when the worker is to stop: the Exporter makes a cut of
// what it has and returns ErrDrained. An upload that completes goes on.
func (s *Session) Draining() <-chan struct{} { return s.draining }

// Planned tells how many rows will come.
func (s *Session) Planned(rows int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.RowsTotal = &rows
}

// Wrote tells what the file holds so far.
func (s *Session) Wrote(rows, raw, stored int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		s.first, s.base = s.now(), rows
	}
	s.progress.Rows, s.progress.BytesRaw, s.progress.BytesStored = rows, raw, stored
	if d := s.now().Sub(s.first).Seconds(); d > 0 {
		s.progress.RowsPerSecond = float64(rows-s.base) / d
	}
}

// BeginUpload names the object in the row; its first byte may be sent after that.
// Where the answer is lost, the row may name it all the same.
func (s *Session) BeginUpload(ctx context.Context, u Upload) error {
	s.mu.Lock()
	s.upload = &u
	s.mu.Unlock()
	return s.attempts.BeginUpload(ctx, s.fence, u)
}

// Commit makes a cut the point from which a successor may go on.
func (s *Session) Commit(ctx context.Context, c Cut) error {
	return s.attempts.Commit(ctx, s.fence, c)
}

// Holds reports whether the lease is surely still ours. The store is not
// fenced: nothing that writes to it may begin when this is false.
func (s *Session) Holds() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now().Before(s.held)
}

// beat renews the lease and writes the progress; it reports a requested cancel.
func (s *Session) beat(ctx context.Context) (cancel bool, err error) {
	s.mu.Lock()
	sent := s.now()
	b := Beat{Phase: s.phase, Progress: s.progress}
	if sent.Before(s.until) {
		b.Lease = s.lease
	}
	s.mu.Unlock()

	cancel, err = s.attempts.Renew(ctx, s.fence, b)
	if err == nil && b.Lease > 0 {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held = sent.Add(s.lease)
	}
	return cancel, err
}

// snapshot is the state that an ending needs.
func (s *Session) snapshot() (Progress, *Upload) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress, s.upload
}
