package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// surveyor counts for some time.
type surveyor struct {
	takes   time.Duration
	err     error
	unknown bool

	mu     sync.Mutex
	counts int
	now    int // at once
	most   int
}

func (s *surveyor) Measure(ctx context.Context, _ Spec) (Size, error) {
	s.mu.Lock()
	s.counts++
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.now--; s.mu.Unlock() }()
	select {
	case <-time.After(s.takes):
		return Size{Rows: 100, Stored: 1000}, s.err
	case <-ctx.Done():
		return Size{}, ctx.Err()
	}
}

func (s *surveyor) Estimate(context.Context, Spec) (Size, bool) {
	return Size{Rows: 90, Stored: 900}, !s.unknown
}

func (s *surveyor) Samples(context.Context, Spec, int) ([]json.RawMessage, error) {
	return []json.RawMessage{json.RawMessage(`{"id":1}`)}, nil
}

// history is what earlier exports came to.
type history struct {
	Overview
	yardstick Yardstick
	twin      *Job
}

func (h history) Twin(context.Context, Spec) (*Job, error) { return h.twin, nil }
func (h history) Yardstick(context.Context, string, Kind) (Yardstick, error) {
	return h.yardstick, nil
}

func previewing(s *surveyor, h history) (*Service, *journal) {
	j := &journal{}
	return NewService(ServicePorts{Surveyor: s, Overview: h, Journal: j, Roles: everybody{role: RoleOwner}}, quiet(), ServiceOptions{}), j
}

func conversations(from string) PreviewRequest {
	return PreviewRequest{Project: "p", Kind: "conversations", From: from}
}

func TestPreview(t *testing.T) {
	s, j := previewing(&surveyor{}, history{yardstick: Yardstick{RawPerRow: 1e6, FilePerRow: 3e5, RawPerSecond: 1e7}, twin: &Job{ID: "t"}})
	v, err := s.Preview(t.Context(), Principal{Email: "a"}, conversations("2024-01-01"))
	if err != nil || v.Estimate || *v.Rows != 100 || *v.BytesRaw != 1e8 || *v.Bytes != 3e7 || len(v.Samples) != 1 || v.Twin.ID != "t" {
		t.Errorf("%+v, %v", v, err)
	}
	if v.Least != 5*time.Second || v.Most != 35*time.Second {
		t.Errorf("%v to %v", v.Least, v.Most)
	}
	if len(j.entries) != 1 || j.entries[0].Action != ActionPreview || j.entries[0].Detail != "conversations" {
		t.Errorf("%+v", j.entries)
	}
	var invalid *Invalid
	if _, err := s.Preview(t.Context(), Principal{Email: "a"}, PreviewRequest{Project: "p", From: "x"}); !errors.As(err, &invalid) || len(invalid.Fields) != 2 {
		t.Errorf("%v", err)
	}
}

func TestPreviewWithoutHistory(t *testing.T) {
	s, _ := previewing(&surveyor{}, history{})
	v, err := s.Preview(t.Context(), Principal{Email: "a"}, conversations(""))
	if err != nil || *v.BytesRaw <= 1000 || *v.Bytes >= *v.BytesRaw || v.Most < time.Second {
		t.Errorf("%+v, %v", v, err)
	}
}

// A count that takes too long is given up for an estimate, in five seconds.
func TestPreviewEstimates(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := previewing(&surveyor{takes: time.Hour, unknown: unknown}, history{})
			start := time.Now()
			v, err := s.Preview(t.Context(), Principal{Email: "a"}, conversations(""))
			if err != nil || !v.Estimate || len(v.Samples) != 0 || (v.Rows == nil) != unknown {
				t.Errorf("%+v, %v", v, err)
			}
			if d := time.Since(start); d != previewLimit {
				t.Errorf("took %v", d)
			}
		})
	}
}

// Who waits for another's count waits no longer for it than for their own.
func TestPreviewDoesNotQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := previewing(&surveyor{takes: time.Hour}, history{})
		start := time.Now()
		var wg sync.WaitGroup
		for _, from := range []string{"2024-01-01", "2024-01-02", "2024-01-03"} {
			wg.Go(func() {
				v, err := s.Preview(t.Context(), Principal{Email: "a"}, conversations(from))
				if err != nil || !v.Estimate || *v.Rows != 90 {
					t.Errorf("%+v, %v", v, err)
				}
			})
		}
		wg.Wait()
		if d := time.Since(start); d != previewLimit {
			t.Errorf("took %v", d)
		}
	})
}

func TestPreviewOfADeadSource(t *testing.T) {
	s, _ := previewing(&surveyor{err: &Unavailable{Dependency: "x", Err: io.EOF}}, history{})
	if _, err := s.Preview(t.Context(), Principal{Email: "a"}, conversations("")); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
}

// One count a project at a time, and none where one was made a moment ago.
func TestPreviewOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &surveyor{takes: time.Second}
		s, _ := previewing(c, history{})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				from := []string{"2024-01-01", "2024-01-02"}[i%2]
				if _, err := s.Preview(t.Context(), Principal{Email: "a"}, conversations(from)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if c.counts != 2 || c.most != 1 {
			t.Errorf("%d counts, %d at once", c.counts, c.most)
		}
		<-time.After(previewKept)
		if _, err := s.Preview(t.Context(), Principal{Email: "a"}, conversations("2024-01-01")); err != nil || c.counts != 3 {
			t.Errorf("an old count is told: %v", err)
		}
	})
}
