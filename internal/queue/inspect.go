package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

var _ jobs.Bells = (*Queue)(nil)

// Memory implements jobs.Bells; of a cluster it is the fullest server's.
func (q *Queue) Memory(ctx context.Context) (used, most int64, err error) {
	var mu sync.Mutex
	look := func(ctx context.Context, c redis.UniversalClient) error {
		info, err := c.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		u, m := infoNumber(info, "used_memory"), infoNumber(info, "maxmemory")
		mu.Lock()
		defer mu.Unlock()
		if used == 0 || float64(u)*float64(most) > float64(used)*float64(m) {
			used, most = u, m
		}
		return nil
	}
	if cluster, ok := q.rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return look(ctx, c) })
	} else {
		err = look(ctx, q.rdb)
	}
	return used, most, away(err)
}

// infoNumber is a field of Redis's INFO; 0 if it is not there.
func infoNumber(info, field string) int64 {
	_, after, _ := strings.Cut("\r\n"+info, "\r\n"+field+":")
	value, _, _ := strings.Cut(after, "\r\n")
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// away classifies an error: a queue or a task that is not there, one whose state
// does not allow it, or a Redis that does not answer.
func away(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, asynq.ErrQueueNotFound), errors.Is(err, asynq.ErrTaskNotFound):
		return jobs.ErrNotFound
	case strings.Contains(err.Error(), "FAILED_PRECONDITION"): // asynq names it nowhere else
		return jobs.ErrMoved
	}
	return &jobs.Unavailable{Dependency: "the queue's Redis", Err: err}
}

// Queues implements jobs.Bells.
func (q *Queue) Queues(context.Context) (all jobs.RawQueues, err error) {
	inspector := asynq.NewInspectorFromRedisClient(q.rdb)
	found, err := inspector.Queues()
	if err != nil {
		return all, away(err)
	}
	slices.Sort(found)
	for _, name := range found {
		info, err := inspector.GetQueueInfo(name)
		if errors.Is(err, asynq.ErrQueueNotFound) {
			continue // it has just gone
		}
		if err != nil {
			return all, away(err)
		}
		all.Queues = append(all.Queues, rawQueue(info))
	}
	servers, err := inspector.Servers()
	if err != nil {
		return all, away(err)
	}
	for _, s := range servers {
		all.Servers = append(all.Servers, rawServer(s))
	}
	slices.SortFunc(all.Servers, func(a, b jobs.RawServer) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), a.PID-b.PID, cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

func rawQueue(i *asynq.QueueInfo) jobs.RawQueue {
	return jobs.RawQueue{
		Name: i.Queue, Paused: i.Paused, Size: i.Size, Latency: i.Latency, Memory: i.MemoryUsage, Processed: i.Processed, Failed: i.Failed,
		States: []jobs.StateCount{
			{State: "pending", Tasks: i.Pending}, {State: "active", Tasks: i.Active}, {State: "scheduled", Tasks: i.Scheduled},
			{State: "retry", Tasks: i.Retry}, {State: "archived", Tasks: i.Archived}, {State: "completed", Tasks: i.Completed},
		},
	}
}

func rawServer(s *asynq.ServerInfo) jobs.RawServer {
	r := jobs.RawServer{ID: s.ID, Host: s.Host, PID: s.PID, Slots: s.Concurrency, Status: s.Status, Started: s.Started}
	for name := range s.Queues {
		r.Queues = append(r.Queues, name)
	}
	slices.Sort(r.Queues)
	for _, w := range s.ActiveWorkers {
		t := jobs.RawTask{ID: w.TaskID, Queue: w.Queue, Type: w.TaskType, State: "active", Since: at(w.Started)}
		t.Job, t.Dispatch = ticketOf(w.TaskPayload)
		r.Active = append(r.Active, t)
	}
	return r
}

// ticketOf reads a payload; what is not ours stays unsaid.
func ticketOf(body []byte) (job string, dispatch int) {
	var p payload
	if json.Unmarshal(body, &p) != nil {
		return "", 0
	}
	return p.Job, p.Dispatch
}

func at(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// state is what can be asked about, and done to all tasks of, a state of asynq's.
type state struct {
	list                     func(*asynq.Inspector, string, ...asynq.ListOption) ([]*asynq.TaskInfo, error)
	runAll, archive, destroy func(*asynq.Inspector, string) (int, error)
}

// states are those that asynq knows, without groups, which this service has none of.
var states = map[string]state{
	"pending":   {(*asynq.Inspector).ListPendingTasks, nil, (*asynq.Inspector).ArchiveAllPendingTasks, (*asynq.Inspector).DeleteAllPendingTasks},
	"active":    {(*asynq.Inspector).ListActiveTasks, nil, nil, nil},
	"scheduled": {(*asynq.Inspector).ListScheduledTasks, (*asynq.Inspector).RunAllScheduledTasks, (*asynq.Inspector).ArchiveAllScheduledTasks, (*asynq.Inspector).DeleteAllScheduledTasks},
	"retry":     {(*asynq.Inspector).ListRetryTasks, (*asynq.Inspector).RunAllRetryTasks, (*asynq.Inspector).ArchiveAllRetryTasks, (*asynq.Inspector).DeleteAllRetryTasks},
	"archived":  {(*asynq.Inspector).ListArchivedTasks, (*asynq.Inspector).RunAllArchivedTasks, nil, (*asynq.Inspector).DeleteAllArchivedTasks},
	"completed": {(*asynq.Inspector).ListCompletedTasks, nil, nil, (*asynq.Inspector).DeleteAllCompletedTasks},
}

// Tasks implements jobs.Bells.
func (q *Queue) Tasks(_ context.Context, want jobs.TaskQuery) (page jobs.TaskPage, err error) {
	s, ok := states[want.State]
	if !ok {
		return page, jobs.ErrNotFound
	}
	inspector := asynq.NewInspectorFromRedisClient(q.rdb)
	info, err := inspector.GetQueueInfo(want.Queue)
	if err != nil {
		return page, away(err)
	}
	page.Queue = rawQueue(info)
	tasks, err := s.list(inspector, want.Queue, asynq.Page(want.Page), asynq.PageSize(want.Size))
	if err != nil {
		return page, away(err)
	}
	for _, t := range tasks {
		page.Tasks = append(page.Tasks, rawTask(t))
	}
	return page, nil
}

func rawTask(t *asynq.TaskInfo) jobs.RawTask {
	r := jobs.RawTask{ID: t.ID, Queue: t.Queue, Type: t.Type, State: t.State.String(), Error: t.LastErr, Retried: t.Retried, Retries: t.MaxRetry}
	r.Job, r.Dispatch = ticketOf(t.Payload)
	r.Since, r.Next = at(t.LastFailedAt), at(t.NextProcessAt)
	if !t.CompletedAt.IsZero() {
		r.Since = &t.CompletedAt
	}
	return r
}

// Change implements jobs.Bells. What a state does not allow is jobs.ErrNotFound.
func (q *Queue) Change(_ context.Context, o jobs.TaskOrder) (n int, err error) {
	inspector := asynq.NewInspectorFromRedisClient(q.rdb)
	if o.Task != "" {
		return 1, away(changeTask(inspector, o))
	}
	if o.State == "" {
		return 0, changeQueue(inspector, o)
	}
	s := states[o.State]
	all := map[string]func(*asynq.Inspector, string) (int, error){"run": s.runAll, "archive": s.archive, "delete": s.destroy}[o.Do]
	if all == nil {
		return 0, jobs.ErrNotFound
	}
	n, err = all(inspector, o.Queue)
	return n, away(err)
}

func changeTask(i *asynq.Inspector, o jobs.TaskOrder) error {
	switch o.Do {
	case "run":
		return i.RunTask(o.Queue, o.Task)
	case "archive":
		return i.ArchiveTask(o.Queue, o.Task)
	case "delete":
		return i.DeleteTask(o.Queue, o.Task)
	case "cancel":
		return i.CancelProcessing(o.Task)
	}
	return asynq.ErrTaskNotFound
}

// changeQueue pauses or resumes a queue. asynq calls it an error if it is so already.
func changeQueue(i *asynq.Inspector, o jobs.TaskOrder) error {
	info, err := i.GetQueueInfo(o.Queue)
	if err != nil {
		return away(err)
	}
	switch {
	case o.Do != "pause" && o.Do != "resume":
		return jobs.ErrNotFound
	case info.Paused == (o.Do == "pause"):
		return nil
	case o.Do == "pause":
		err = i.PauseQueue(o.Queue)
	default:
		err = i.UnpauseQueue(o.Queue)
	}
	if err != nil {
		return fmt.Errorf("%s queue: %w", o.Do, err)
	}
	return nil
}
