package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// notes is an observer that writes everything down.
type notes struct {
	nobody
	mu    sync.Mutex
	told  []string
	moves []Move
	rows  int64
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, fmt.Sprintf(format, args...))
}

func (n *notes) Moved(m Move) {
	n.note("%s>%s", m.From, m.To)
	n.moves = append(n.moves, m)
}
func (n *notes) Took(_ Kind, _ Lane, m Moment, d time.Duration) { n.note("%s %s", m, d) }
func (n *notes) Spent(_ Kind, s Stage, d time.Duration)         { n.note("%s %s", s, d) }
func (n *notes) Wrote(_ Kind, rows, _, _ int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rows += rows
}

// observed runs one attempt of a job that was made a minute before.
func observed(t *testing.T, run func(context.Context, *Session) (Result, error)) (n *notes, log string) {
	t.Helper()
	n = &notes{}
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		r := &row{job: Job{ID: "j", Spec: Spec{Kind: Documents}, State: Queued, Dispatch: 1, CreatedAt: time.Now(), Trace: "tp"}}
		<-time.After(time.Minute)
		env := Env{Now: time.Now, Jitter: func() float64 { return 0 }, Log: slog.New(slog.NewJSONHandler(&out, nil)), Observer: n}
		NewRunner(r, &exporter{run: run}, env, RunnerOptions{Worker: "w", Slots: map[Lane]int{Large: 1}, Freed: func() {}}).
			Handle(Ticket{Job: "j", Dispatch: 1, Lane: Large})
	})
	return n, out.String()
}

// An attempt tells when it came to what, and what its time went into.
func TestAttemptIsObserved(t *testing.T) {
	n, _ := observed(t, func(_ context.Context, s *Session) (Result, error) {
		<-time.After(2 * time.Second)
		s.Step(Streaming, time.Hour)
		<-time.After(3 * time.Second)
		s.Wrote(5, 50, 5)
		<-time.After(10 * time.Second)
		s.Wrote(9, 90, 9)
		s.Step(Completing, time.Hour)
		<-time.After(time.Second)
		s.Step(Verifying, time.Hour)
		return Result{}, nil
	})
	want := []string{"queued>running", "wait 1m0s", "plan 2s", "first_byte 1m5s", "complete 1s", "verify 0s", "running>succeeded", "run 16s", "link 1m16s"}
	if !slices.Equal(n.told, want) || n.rows != 9 {
		t.Errorf("told %q and %d rows, want %q", n.told, n.rows, want)
	}
	end := n.moves[1]
	if end.Outcome != "succeeded" || end.Attempt != 1 || end.Rows != 9 || end.Trace != "tp" || end.Kind != Documents || len(end.Steps) != 4 ||
		end.Steps[1].Phase != Streaming || end.Steps[1].Till.Sub(end.Steps[1].From) != 13*time.Second {
		t.Errorf("%+v", end)
	}
}

// A failure is told by its code, in the log by its error, too.
func TestFailureIsObserved(t *testing.T) {
	n, log := observed(t, func(context.Context, *Session) (Result, error) {
		return Result{}, Transient(CodeStoreFull, "words for people", errors.New("507"))
	})
	if end := n.moves[len(n.moves)-1]; end.Outcome != "retried" || end.Code != CodeStoreFull || end.To != Queued {
		t.Errorf("%+v", end)
	}
	var line map[string]any
	lines := strings.Split(strings.TrimSpace(log), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &line); err != nil || len(lines) != 2 {
		t.Fatal(err, log)
	}
	for key, want := range map[string]any{"msg": "job moved", "level": "WARN", "job": "j", "from": "running", "to": "queued", "outcome": "retried", "code": CodeStoreFull, "error": "store_full: 507"} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
}
