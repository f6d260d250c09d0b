package queue_test

import (
	"testing"

	"github.com/hibiken/asynq"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// Dead tasks go when they are a day old.
func TestArchiveIsPruned(t *testing.T) {
	w := testenv.New(t)
	q, err := queue.Open(w.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	if n, err := q.Prune(t.Context(), false); n != 0 || err != nil {
		t.Fatal("without any queue:", n, err)
	}
	rdb := w.QueueRedis(t)
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	for i := range 3 {
		if err := q.Enqueue(t.Context(), jobs.Ticket{Job: "j", Dispatch: i, Lane: jobs.Large}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := inspector.ArchiveAllPendingTasks("exports"); err != nil {
		t.Fatal(err)
	}
	if n, err := q.Prune(t.Context(), true); n != 3 || err != nil {
		t.Errorf("tasks that never failed count as old: %d, %v", n, err)
	}
	if n, err := q.Prune(t.Context(), false); n != 3 || err != nil {
		t.Error(n, err)
	}
	tasks, err := inspector.ListArchivedTasks("exports")
	if err != nil || len(tasks) != 0 {
		t.Error(len(tasks), err)
	}
}
