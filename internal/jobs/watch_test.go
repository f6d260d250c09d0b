package jobs

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watched is an Overview over one job that changes under the watcher's eyes.
type watched struct {
	Overview
	Records
	mu    sync.Mutex
	job   Job
	looks int
}

func (w *watched) Get(context.Context, string) (Job, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.job, nil
}

func (w *watched) Jobs(context.Context, []string) ([]Job, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	return []Job{w.job}, nil
}

func (w *watched) seen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.looks
}

func (w *watched) set(change func(*Job)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.job.Version++
	change(&w.job)
}

// changing is a role that can be lost.
type changing struct {
	mu   sync.Mutex
	role Role
}

func (c *changing) Role(context.Context, string, string) (Role, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.role, nil
}

func (c *changing) set(r Role) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.role = r
}

type watching struct {
	*Service
	world *watched
	roles *changing
	ctx   context.Context
	end   context.CancelFunc
}

// startWatching runs f in virtual time with a watcher at work.
func startWatching(t *testing.T, f func(t *testing.T, w watching)) {
	synctest.Test(t, func(t *testing.T) {
		world, roles := &watched{job: Job{ID: "j", State: Running, Version: 1}}, &changing{role: RoleAdmin}
		watcher := NewWatcher(world, quiet().Log)
		ctx, end := context.WithCancel(t.Context())
		s := NewService(ServicePorts{Records: world, Overview: world, Roles: roles, Journal: &journal{}, Watcher: watcher}, quiet(), ServiceOptions{})
		var wg sync.WaitGroup
		wg.Go(func() { watcher.Run(ctx) })
		f(t, watching{s, world, roles, ctx, end})
		end()
		wg.Wait()
		if len(watcher.subs) != 0 {
			t.Errorf("%d jobs are still watched", len(watcher.subs))
		}
	})
}

func TestWatch(t *testing.T) {
	startWatching(t, func(t *testing.T, w watching) {
		var all []<-chan Job
		for range 50 {
			c, err := w.Watch(w.ctx, Principal{Email: "a"}, "j")
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		next := func(version int64) {
			t.Helper()
			for _, c := range all {
				if j, ok := <-c; !ok || j.Version != version {
					t.Fatalf("version %d, %v, want %d", j.Version, ok, version)
				}
			}
		}
		next(1)
		w.world.set(func(*Job) {})
		next(2)
		// Nothing changes: nothing is told, and one look a second serves all.
		before := w.world.seen()
		<-time.After(20*time.Second + time.Millisecond)
		if looks := w.world.seen() - before; looks < 19 || looks > 21 {
			t.Errorf("%d looks in 20 s", looks)
		}
		w.world.set(func(j *Job) { j.State = Succeeded })
		next(3)
		for _, c := range all {
			if _, ok := <-c; ok {
				t.Fatal("goes on after the end")
			}
		}
	})
}

func TestWatchEndsWithTheRole(t *testing.T) {
	startWatching(t, func(t *testing.T, w watching) {
		c, err := w.Watch(w.ctx, Principal{Email: "a"}, "j")
		if err != nil {
			t.Fatal(err)
		}
		<-c
		w.roles.set(RoleNone)
		select {
		case _, ok := <-c:
			if ok {
				t.Error("told after the role was lost")
			}
		case <-time.After(watchRole + time.Second):
			t.Error("still open after the role was lost")
		}
		if _, err := w.Watch(w.ctx, Principal{Email: "a"}, "j"); err == nil {
			t.Error("begins without a role")
		}
	})
}

func TestWatchEndsWithTheProcess(t *testing.T) {
	startWatching(t, func(t *testing.T, w watching) {
		c, err := w.Watch(t.Context(), Principal{Email: "a"}, "j")
		if err != nil {
			t.Fatal(err)
		}
		<-c
		w.end()
		if _, ok := <-c; ok {
			t.Error("goes on")
		}
	})
}
