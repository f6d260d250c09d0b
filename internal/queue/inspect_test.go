package queue_test

import (
	"errors"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/queue"
)

// What an operator sees of a queue, and can do to it.
func TestInspect(t *testing.T) {
	q := open(t)
	ctx := t.Context()
	if all, err := q.Queues(ctx); err != nil || len(all.Queues)+len(all.Servers) != 0 {
		t.Errorf("an empty Redis: %+v, %v", all, err)
	}
	if _, err := q.Tasks(ctx, jobs.TaskQuery{Queue: "exports", State: "pending", Page: 1, Size: 9}); !errors.Is(err, jobs.ErrNotFound) {
		t.Error(err)
	}
	if used, _, err := q.Memory(ctx); err != nil || used < 100_000 {
		t.Errorf("%d bytes, %v", used, err)
	}
	for i := range 3 {
		enqueue(t, q, jobs.Ticket{Job: "j", Dispatch: i + 1, Lane: jobs.Large})
	}
	count := func(state string) int {
		t.Helper()
		p, err := q.Tasks(ctx, jobs.TaskQuery{Queue: "exports", State: state, Page: 1, Size: 9})
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range p.Tasks {
			if task.Job != "j" || task.Dispatch == 0 || task.State != state || task.ID == "" {
				t.Errorf("%+v", task)
			}
		}
		return len(p.Tasks)
	}
	if n := count("pending"); n != 3 {
		t.Errorf("%d pending", n)
	}
	if p, err := q.Tasks(ctx, jobs.TaskQuery{Queue: "exports", State: "pending", Page: 2, Size: 2}); err != nil || len(p.Tasks) != 1 {
		t.Errorf("the second page: %+v, %v", p, err)
	}
	change(t, q, jobs.TaskOrder{Do: "archive", Queue: "exports", Task: "j.1"}, 1)
	change(t, q, jobs.TaskOrder{Do: "archive", Queue: "exports", State: "pending"}, 2)
	if n := count("archived"); n != 3 {
		t.Errorf("%d archived", n)
	}
	change(t, q, jobs.TaskOrder{Do: "run", Queue: "exports", Task: "j.2"}, 1)
	change(t, q, jobs.TaskOrder{Do: "delete", Queue: "exports", State: "archived"}, 2)
	if n := count("pending"); n != 1 {
		t.Errorf("%d pending", n)
	}
	change(t, q, jobs.TaskOrder{Do: "pause", Queue: "exports"}, 0)
	change(t, q, jobs.TaskOrder{Do: "pause", Queue: "exports"}, 0) // it is so already
	if all, err := q.Queues(ctx); err != nil || len(all.Queues) != 1 || !all.Queues[0].Paused || all.Queues[0].Size != 1 {
		t.Errorf("%+v, %v", all, err)
	}
	change(t, q, jobs.TaskOrder{Do: "resume", Queue: "exports"}, 0)
	refused(t, q)
}

// refused are orders that a queue with one pending task, j.2, does not take.
func refused(t *testing.T, q *queue.Queue) {
	t.Helper()
	ctx := t.Context()
	for want, o := range map[error]jobs.TaskOrder{
		jobs.ErrNotFound: {Do: "delete", Queue: "exports", Task: "nobody"},
		jobs.ErrMoved:    {Do: "run", Queue: "exports", Task: "j.2"}, // it is pending
	} {
		if _, err := q.Change(ctx, o); !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", o, err, want)
		}
	}
	for _, o := range []jobs.TaskOrder{{Do: "delete", Queue: "exports", State: "active"}, {Do: "run", Queue: "exports", State: "pending"},
		{Do: "delete", Queue: "exports", State: "nonsense"}, {Do: "delete", Queue: "exports"}, {Do: "delete", Queue: "nowhere", Task: "t"}} {
		if _, err := q.Change(ctx, o); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func change(t *testing.T, q *queue.Queue, o jobs.TaskOrder, want int) {
	t.Helper()
	if n, err := q.Change(t.Context(), o); err != nil || n != want {
		t.Errorf("%+v: %d tasks, %v", o, n, err)
	}
}

// A Redis that does not answer is told from a queue that is not there.
func TestInspectWithoutRedis(t *testing.T) {
	q, err := queue.Open("redis://127.0.0.1:1/0")
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var down *jobs.Unavailable
	if _, _, err := q.Memory(t.Context()); !errors.As(err, &down) {
		t.Error(err)
	}
	if _, err := q.Queues(t.Context()); !errors.As(err, &down) {
		t.Error(err)
	}
	if _, err := q.Change(t.Context(), jobs.TaskOrder{Do: "pause", Queue: "exports"}); !errors.As(err, &down) {
		t.Error(err)
	}
}
