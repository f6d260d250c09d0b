package queue_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func open(t *testing.T) *queue.Queue {
	t.Helper()
	q, err := queue.Open(testenv.New(t).RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func enqueue(t *testing.T, q *queue.Queue, tickets ...jobs.Ticket) {
	t.Helper()
	for _, ticket := range tickets {
		if err := q.Enqueue(t.Context(), ticket); err != nil {
			t.Fatal(err)
		}
	}
}

// serve takes tickets until the test ends.
func serve(t *testing.T, q *queue.Queue, slots map[jobs.Lane]int) <-chan jobs.Ticket {
	t.Helper()
	got := make(chan jobs.Ticket, 100)
	s := q.NewServer(slots, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err := s.Start(func(ticket jobs.Ticket) { got <- ticket }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(); s.Shutdown() })
	return got
}

func TestTicketsArrive(t *testing.T) {
	q := open(t)
	got := serve(t, q, map[jobs.Lane]int{jobs.Large: 1, jobs.Small: 1})
	want := map[jobs.Ticket]bool{
		{Job: "a", Dispatch: 1, Lane: jobs.Large}: true,
		{Job: "a", Dispatch: 2, Lane: jobs.Large}: true,
		{Job: "b", Dispatch: 1, Lane: jobs.Small}: true,
	}
	for ticket := range want {
		enqueue(t, q, ticket)
	}
	for range len(want) {
		select {
		case ticket := <-got:
			if !want[ticket] {
				t.Errorf("unexpected %+v", ticket)
			}
			delete(want, ticket)
		case <-time.After(20 * time.Second):
			t.Fatalf("still waiting for %v", want)
		}
	}
}

// The same ring twice is one task; a worker of one lane sees no other.
func TestRepeatedRing(t *testing.T) {
	q := open(t)
	twice := jobs.Ticket{Job: "a", Dispatch: 1, Lane: jobs.Large}
	other := jobs.Ticket{Job: "s", Dispatch: 1, Lane: jobs.Small}
	last := jobs.Ticket{Job: "z", Dispatch: 1, Lane: jobs.Large}
	enqueue(t, q, twice, twice, other, last)
	got := serve(t, q, map[jobs.Lane]int{jobs.Large: 1})
	for _, want := range []jobs.Ticket{twice, last} {
		select {
		case ticket := <-got:
			if ticket != want {
				t.Errorf("got %+v, want %+v", ticket, want)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("still waiting for %+v", want)
		}
	}
}

// A ring is no ring if a dead task has its name; the next number is one.
func TestDeadTaskOfTheSameName(t *testing.T) {
	w := testenv.New(t)
	q, err := queue.Open(w.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	ticket := jobs.Ticket{Job: "a", Dispatch: 1, Lane: jobs.Large}
	enqueue(t, q, ticket, ticket)
	if _, err := asynq.NewInspectorFromRedisClient(w.QueueRedis(t)).ArchiveAllPendingTasks("exports"); err != nil {
		t.Fatal(err)
	}
	if err := q.Enqueue(t.Context(), ticket); err == nil || !strings.Contains(err.Error(), "dead") {
		t.Errorf("rung by a dead task: %v", err)
	}
	ticket.Dispatch = 2
	enqueue(t, q, ticket)
	if got := <-serve(t, q, map[jobs.Lane]int{jobs.Large: 1}); got != ticket {
		t.Errorf("got %+v, want %+v", got, ticket)
	}
}

// What Redis lost of a task takes neither the next ticket nor the same one away.
func TestLostPieces(t *testing.T) {
	w := testenv.New(t)
	q, err := queue.Open(w.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	rdb := w.QueueRedis(t)
	got := make(map[int]bool)
	for i, key := range []string{"asynq:{exports}:t:a.0", "asynq:{exports}:pending", "asynq:queues"} {
		enqueue(t, q, jobs.Ticket{Job: "a", Dispatch: i, Lane: jobs.Large})
		if n, err := rdb.Del(t.Context(), key).Result(); n != 1 || err != nil {
			t.Fatalf("%s: %d, %v", key, n, err)
		}
	}
	// Rung again, the first is whole; the second, whose hash was left, waits for
	// another number; the third was never out of the list.
	for _, dispatch := range []int{0, 2, 3} {
		enqueue(t, q, jobs.Ticket{Job: "a", Dispatch: dispatch, Lane: jobs.Large})
	}
	arriving := serve(t, q, map[jobs.Lane]int{jobs.Large: 1})
	for len(got) < 3 {
		select {
		case ticket := <-arriving:
			got[ticket.Dispatch] = true
		case <-time.After(20 * time.Second):
			t.Fatalf("only %v came", got)
		}
	}
	if !got[0] || !got[2] || !got[3] {
		t.Errorf("%v came", got)
	}
}

func TestQueueDown(t *testing.T) {
	q, err := queue.Open("redis://127.0.0.1:1/0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = q.Close() }()
	if err := q.Enqueue(t.Context(), jobs.Ticket{Job: "a", Lane: jobs.Large}); err == nil {
		t.Error("a ring without a bell")
	}
	if _, err := queue.Open("http://x"); err == nil {
		t.Error("a URL that is none of Redis was taken")
	}
}
