package queue_test

import (
	"fmt"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// The load is what lies there, also before anything ever did.
func TestLoad(t *testing.T) {
	q, err := queue.Open(testenv.New(t).RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	pending := func() (n int64) {
		load, err := q.Load(t.Context())
		if err != nil || load.Memory == 0 || len(load.Tasks) != 8 {
			t.Fatalf("%+v %v", load, err)
		}
		for _, tasks := range load.Tasks {
			if tasks == (jobs.TaskCount{Queue: "exports-small", State: "pending", N: tasks.N}) {
				n += tasks.N
			}
		}
		return n
	}
	if n := pending(); n != 0 {
		t.Errorf("%d tasks in an empty queue", n)
	}
	for i := range 3 {
		if err := q.Enqueue(t.Context(), jobs.Ticket{Job: fmt.Sprint("j", i), Dispatch: 1, Lane: jobs.Small}); err != nil {
			t.Fatal(err)
		}
	}
	if n := pending(); n != 3 {
		t.Errorf("%d tasks pending, want 3", n)
	}
}
