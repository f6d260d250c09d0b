package jobs

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// watchEvery is the pause between looks at the jobs that are watched.
const watchEvery = time.Second

// Watcher looks at all watched jobs of a process by one statement a second,
// however many people watch them.
type Watcher struct {
	overview Overview
	log      *slog.Logger

	mu    sync.Mutex
	ended bool
	subs  map[string]map[*subscriber]struct{} // by job
}

// subscriber holds the newest state that its reader has not taken.
type subscriber struct {
	last mark
	ch   chan Job
}

// mark tells whether a job looks another way than before.
type mark struct {
	version  int64
	position int
}

func markOf(j Job) mark {
	m := mark{version: j.Version}
	if j.QueuePosition != nil {
		m.position = *j.QueuePosition
	}
	return m
}

// NewWatcher makes a Watcher; Run makes it look.
func NewWatcher(o Overview, log *slog.Logger) *Watcher {
	return &Watcher{overview: o, log: log, subs: make(map[string]map[*subscriber]struct{})}
}

// follow sends j and every later state of it. The channel is closed when the
// process ends; leave must be called.
func (w *Watcher) follow(j Job) (changes <-chan Job, leave func()) {
	s := &subscriber{ch: make(chan Job, 1), last: markOf(j)}
	s.ch <- j
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		close(s.ch)
		return s.ch, func() {}
	}
	if w.subs[j.ID] == nil {
		w.subs[j.ID] = make(map[*subscriber]struct{})
	}
	w.subs[j.ID][s] = struct{}{}
	return s.ch, func() { w.leave(j.ID, s) }
}

func (w *Watcher) leave(id string, s *subscriber) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.subs[id], s)
	if len(w.subs[id]) == 0 {
		delete(w.subs, id)
	}
}

// Run looks until ctx is done, and then ends all that is watched.
func (w *Watcher) Run(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := w.look(ctx); err != nil && ctx.Err() == nil {
				w.log.Warn("watched jobs not seen", "error", err)
			}
		case <-ctx.Done():
			w.end()
			return
		}
	}
}

func (w *Watcher) look(ctx context.Context) error {
	w.mu.Lock()
	ids := slices.Collect(maps.Keys(w.subs))
	w.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	call, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	list, err := w.overview.Jobs(call, ids)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, j := range list {
		for s := range w.subs[j.ID] {
			s.tell(j)
		}
	}
	return nil
}

// tell replaces what was not taken yet.
func (s *subscriber) tell(j Job) {
	if m := markOf(j); m != s.last {
		s.last = m
		select {
		case <-s.ch:
		default:
		}
		s.ch <- j
	}
}

func (w *Watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	for _, subs := range w.subs {
		for s := range subs {
			close(s.ch)
		}
	}
	clear(w.subs)
}
