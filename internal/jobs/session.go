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

	seen    Observer
	job     Job
	begun   time.Time
	stepped time.Time // when the phase began
	steps   []StepTime
	told    Progress // to the observer
}

// Step declares what comes next and how long it may take. The lease is renewed
// only within that limit: a step that hangs loses the job to another worker.
func (s *Session) Step(p Phase, limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step(s.now())
	s.phase = p
	s.until = s.now().Add(limit)
}

// stageOf are the phases that are a stage as a whole.
var stageOf = map[Phase]Stage{Planning: StagePlan, Completing: StageComplete, Verifying: StageVerify}

// step notes how long the phase took that is over now.
func (s *Session) step(now time.Time) {
	s.steps = append(s.steps, StepTime{s.phase, s.stepped, now})
	if stage, ok := stageOf[s.phase]; ok {
		s.seen.Spent(s.job.Kind, stage, now.Sub(s.stepped))
	}
	s.stepped = now
}

// over notes the last phase, and what was not told yet.
func (s *Session) over() {
	s.mu.Lock()
	s.step(s.now())
	s.mu.Unlock()
	s.tell()
}

// Spent tells how long a stage worked or waited.
func (s *Session) Spent(stage Stage, d time.Duration) { s.seen.Spent(s.job.Kind, stage, d) }

// tell says what has come into the file since it was last told.
func (s *Session) tell() {
	s.mu.Lock()
	p, t := s.progress, s.told
	s.told = p
	s.mu.Unlock()
	s.seen.Wrote(s.job.Kind, p.Rows-t.Rows, p.BytesRaw-t.BytesRaw, p.BytesStored-t.BytesStored)
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
		if s.fence.Attempt == 1 && rows > 0 {
			s.seen.Took(s.job.Kind, s.job.Lane, FirstRows, s.first.Sub(s.job.CreatedAt))
		}
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

	s.tell()
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
