package sim

import (
	"fmt"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// run lets a world live until every job has ended, and all has come to rest.
func (w *world) run() {
	s := w.stream("world")
	for i := range 2 + s.IntN(3) {
		w.mu.Lock()
		w.start(fmt.Sprintf("worker%d", i), 1)
		w.mu.Unlock()
	}
	w.wg.Go(func() { w.people(w.stream("people")) })
	w.wg.Go(func() { w.trouble(w.stream("trouble")) })
	for end := w.calm.Add(endLimit); time.Now().Before(end) && !w.over(); {
		<-time.After(time.Second)
	}
	w.mu.Lock()
	w.closing = true
	for _, p := range w.procs {
		p.stop()
	}
	w.mu.Unlock()
	w.wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.checkEnd()
}

// over reports whether nothing will happen any more.
func (w *world) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.table.rows {
		if !r.state.Final() {
			return false
		}
	}
	return w.asked
}

func (w *world) projectSlots() int { return 1 + int(w.seed%2) }

// people ask for exports and cancel some of them, in calm times too.
func (w *world) people(s *stream) {
	for i := range 2 + s.IntN(7) {
		<-time.After(s.between(time.Millisecond, 15*time.Second))
		r := &row{id: fmt.Sprintf("job%d", i), project: fmt.Sprintf("p%d", s.IntN(3)), lane: jobs.Large, size: 1 + s.Int64N(60)}
		if r.size <= 8 {
			r.lane = jobs.Small
		}
		r.poison = s.chance(2)
		w.mu.Lock()
		w.table.create(r)
		w.mu.Unlock()
		if s.chance(25) {
			after := s.between(time.Millisecond, 3*time.Minute)
			w.wg.Go(func() { w.cancelLater(r, after) })
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = true
}

func (w *world) cancelLater(r *row, after time.Duration) {
	<-time.After(after)
	w.mu.Lock()
	calm := w.isCalm() && time.Since(w.calm) > time.Minute && w.table.held(r) // nothing of the trouble lingers
	w.table.requestCancel(r.id)
	w.mu.Unlock()
	if calm {
		<-time.After(cancelLimit)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.checkCancel(r)
	}
}

// trouble kills, freezes and stops workers, and takes dependencies away.
func (w *world) trouble(s *stream) {
	for {
		<-time.After(s.between(time.Millisecond, 20*time.Second))
		w.mu.Lock()
		if w.isCalm() {
			w.mu.Unlock()
			return
		}
		w.strike(s)
		w.mu.Unlock()
	}
}

func (w *world) strike(s *stream) {
	p := w.procs[s.IntN(len(w.procs))]
	lasts := s.between(time.Second, 40*time.Second)
	kind := s.IntN(9)
	if kind <= 4 && (p.handle == nil || p.dead) {
		return // this one has gone already
	}
	switch kind {
	case 0, 1:
		w.fault("worker killed")
		w.moved("%s is killed", p.id)
		p.kill()
		w.respawn(p)
	case 2, 3:
		w.fault("worker frozen")
		w.moved("%s is frozen for %s", p.id, lasts)
		p.frozen = time.Now().Add(lasts)
	case 4:
		w.fault("worker drained")
		w.moved("%s is drained", p.id)
		p.stop()
		w.respawn(p)
	case 5:
		w.down("database", &w.table.down, lasts)
	case 6:
		w.down("queue", &w.queue.down, lasts)
		w.queue.forgot = w.queue.rung
	case 7:
		w.down("bucket", &w.bucket.down, lasts)
	case 8:
		w.fault("uploads aborted")
		w.moved("all uploads are aborted")
		clear(w.bucket.uploads)
	}
}

// down takes a dependency away for a while. The caller holds the lock.
func (w *world) down(name string, flag *bool, lasts time.Duration) {
	w.fault(name + " down")
	w.moved("%s is down for %s", name, lasts)
	*flag = true
	w.wg.Add(1)
	time.AfterFunc(lasts, func() {
		defer w.wg.Done()
		w.mu.Lock()
		defer w.mu.Unlock()
		*flag = false
	})
}

// respawn starts a successor of a process. The caller holds the lock.
func (w *world) respawn(p *process) {
	var name string
	var life int
	if _, err := fmt.Sscanf(p.id, "worker%1s.%d", &name, &life); err != nil {
		panic(err)
	}
	after := w.stream("respawn "+p.id).between(100*time.Millisecond, 10*time.Second)
	w.wg.Add(1)
	time.AfterFunc(after, func() {
		defer w.wg.Done()
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.closing {
			w.start("worker"+name, life+1)
		}
	})
}
