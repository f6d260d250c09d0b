package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// The limits of a preview.
const (
	previewLimit  = 5 * time.Second
	previewKept   = time.Minute
	previewsKept  = 1000
	previewSample = 3
)

// Preview is what an export would come to, before it is asked for.
type Preview struct {
	Spec Spec
	// Estimate: the rows were not counted but guessed from statistics.
	Estimate bool
	// Rows is nil where not even that is known; then so are bytes and time.
	Rows *int64
	// BytesRaw are those of the lines, Bytes those of the file.
	BytesRaw, Bytes *int64
	// Least and Most bound the time from start to end, waiting not included.
	Least, Most time.Duration
	// Samples are rows as JSON, with long values cut.
	Samples []json.RawMessage
	// Twin is an identical export that a request would join, or whose file can
	// be had at once.
	Twin *Job
}

// PreviewRequest is what a person would ask for, as they wrote it.
type PreviewRequest struct{ Project, Kind, From, To string }

// Preview counts what an export would hold, one at a time a project. Where that
// takes too long, it estimates. Counts are kept for a minute.
func (s *Service) Preview(ctx context.Context, p Principal, r PreviewRequest) (Preview, error) {
	if err := s.authorise(ctx, p, r.Project, ActionPreview, ""); err != nil {
		return Preview{}, err
	}
	spec, bad := resolve(CreateRequest{Project: r.Project, Kind: r.Kind, From: r.From, To: r.To})
	if len(bad) > 0 {
		return Preview{}, &Invalid{bad}
	}
	// Three rows are shown: that is worth a line.
	e := AuditEntry{Actor: p.Email, Action: ActionPreview, Project: spec.Project, Detail: string(spec.Kind), Remote: p.Remote}
	if err := s.Journal.Record(ctx, e); err != nil {
		return Preview{}, err
	}
	twin, err := s.Overview.Twin(ctx, spec)
	if err != nil {
		return Preview{}, err
	}
	limited, cancel := context.WithTimeout(ctx, previewLimit)
	defer cancel()
	v, err := s.previews.get(limited, spec, func() (Preview, error) { return s.survey(ctx, limited, spec) })
	if errors.Is(err, errTurn) && ctx.Err() == nil {
		v, err = s.estimate(ctx, spec)
	}
	v.Twin = twin
	return v, err
}

// survey measures within limited, or else estimates.
func (s *Service) survey(ctx, limited context.Context, spec Spec) (Preview, error) {
	size, err := s.Surveyor.Measure(limited, spec)
	samples := []json.RawMessage{}
	if err == nil && size.Rows > 0 {
		samples, err = s.Surveyor.Samples(limited, spec, previewSample)
	}
	switch {
	case err == nil:
		return s.sized(ctx, Preview{Spec: spec, Samples: samples}, size)
	case limited.Err() != nil && ctx.Err() == nil:
		return s.estimate(ctx, spec)
	}
	return Preview{}, err
}

func (s *Service) estimate(ctx context.Context, spec Spec) (Preview, error) {
	v := Preview{Spec: spec, Estimate: true, Samples: []json.RawMessage{}}
	size, known := s.Surveyor.Estimate(ctx, spec)
	if !known {
		return v, nil
	}
	return s.sized(ctx, v, size)
}

// sized puts bytes and a time beside the rows.
func (s *Service) sized(ctx context.Context, v Preview, size Size) (Preview, error) {
	y, err := s.Overview.Yardstick(ctx, v.Spec.Project, v.Spec.Kind)
	if err == nil {
		v.measure(size, y)
	}
	return v, err
}

// What there is to go by where nothing was exported yet: how much larger lines
// are than what the source stores, how much smaller the file is than the lines
// (demo data; docs/performance.md), and a rate that a busy machine keeps.
var (
	growth       = map[Kind]float64{Conversations: 2.2, Documents: 1.4}
	shrinkage    = map[Kind]float64{Conversations: 0.33, Documents: 0.38}
	rawPerSecond = 60e6
)

func (v *Preview) measure(size Size, y Yardstick) {
	rows := float64(size.Rows)
	raw := float64(size.Stored) * growth[v.Spec.Kind]
	file := raw * shrinkage[v.Spec.Kind]
	if y.RawPerRow > 0 {
		raw, file = rows*y.RawPerRow, rows*y.FilePerRow
	}
	rawBytes, bytes := int64(raw), int64(file)
	v.Rows, v.BytesRaw, v.Bytes = &size.Rows, &rawBytes, &bytes
	seconds := raw / cmp.Or(y.RawPerSecond, rawPerSecond)
	// Half as long on an idle machine; three times on a busy one, and the steps
	// that take their time however little there is.
	v.Least = time.Duration(seconds / 2 * float64(time.Second)).Round(time.Second)
	v.Most = time.Duration((3*seconds + 5) * float64(time.Second)).Round(time.Second)
}

// errTurn is for who waited in vain until another count of the project was over.
var errTurn = errors.New("another count takes its time")

// previews keeps what was counted, and lets one count a project at a time.
type previews struct {
	now  func() time.Time
	mu   sync.Mutex
	kept map[previewKey]keptPreview
	busy map[string]chan struct{} // by project; closed when it is over
}

type previewKey struct {
	project  string
	kind     Kind
	from, to time.Time
}

type keptPreview struct {
	Preview
	at time.Time
}

func newPreviews(now func() time.Time) *previews {
	return &previews{now: now, kept: make(map[previewKey]keptPreview), busy: make(map[string]chan struct{})}
}

// get returns what is kept for a spec, else what count says when the project's
// turn has come.
func (c *previews) get(ctx context.Context, spec Spec, count func() (Preview, error)) (Preview, error) {
	key := previewKey{project: spec.Project, kind: spec.Kind}
	if spec.From != nil {
		key.from = *spec.From
	}
	if spec.To != nil {
		key.to = *spec.To
	}
	for {
		v, turn, found := c.take(key)
		switch {
		case found:
			return v, nil
		case turn == nil:
			return c.count(key, count)
		}
		select {
		case <-turn:
		case <-ctx.Done():
			return Preview{}, errTurn
		}
	}
}

// take finds what is kept, or else whose turn it is: nil is the caller's own.
func (c *previews) take(key previewKey) (v Preview, turn chan struct{}, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k, ok := c.kept[key]; ok && c.now().Sub(k.at) < previewKept {
		return k.Preview, nil, true
	}
	if turn := c.busy[key.project]; turn != nil {
		return Preview{}, turn, false
	}
	c.busy[key.project] = make(chan struct{})
	return Preview{}, nil, false
}

func (c *previews) count(key previewKey, count func() (Preview, error)) (v Preview, err error) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			if len(c.kept) >= previewsKept {
				clear(c.kept)
			}
			c.kept[key] = keptPreview{v, c.now()}
		}
		close(c.busy[key.project])
		delete(c.busy, key.project)
	}()
	return count()
}
