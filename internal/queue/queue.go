// Package queue rings the doorbell: asynq tasks on Redis that tell a worker to
// look at a job row. Tasks may be lost, doubled or late; the row decides.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/redisurl"
)

// taskType of every export.
const taskType = "export"

// taskLimit must be given: without one asynq stops a task after 30 minutes.
// An export watches its own progress.
const taskLimit = 24 * time.Hour

// names of the queues, one a lane, each with a server and slots of its own.
var names = map[jobs.Lane]string{jobs.Large: "exports", jobs.Small: "exports-small"}

// Queue enqueues tickets.
type Queue struct {
	rdb    redis.UniversalClient
	client *asynq.Client
}

// Open makes a Queue over the Redis at url. It does not connect yet.
func Open(url string) (*Queue, error) {
	rdb, err := redisurl.Open(url)
	if err != nil {
		return nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	logging.Disable() // the errors reach the callers
	return &Queue{rdb, asynq.NewClientFromRedisClient(rdb)}, nil
}

// Close ends all connections.
func (q *Queue) Close() error { return q.rdb.Close() }

// Ping reports whether Redis answers.
func (q *Queue) Ping(ctx context.Context) error { return q.rdb.Ping(ctx).Err() }

type payload struct {
	Job      string `json:"job"`
	Dispatch int    `json:"dispatch"`
}

// errDead: nobody will take the task of this name any more.
var errDead = errors.New("a dead task has the ticket's name: the job is rung again under another number")

// Enqueue implements jobs.Queue. The dispatch number in the task's id makes a
// repeated ring harmless: a conflict means that this very ticket was rung, unless
// that task is dead. The row is still queued seconds later, then, and gets a new
// number.
func (q *Queue) Enqueue(ctx context.Context, t jobs.Ticket) error {
	body, err := json.Marshal(payload{t.Job, t.Dispatch})
	if err != nil {
		return fmt.Errorf("encode ticket: %w", err)
	}
	id := fmt.Sprintf("%s.%d", t.Job, t.Dispatch)
	_, err = q.client.EnqueueContext(ctx, asynq.NewTask(taskType, body),
		asynq.Queue(names[t.Lane]), asynq.TaskID(id), asynq.MaxRetry(0), asynq.Timeout(taskLimit))
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		err = q.alive(names[t.Lane], id)
	}
	if err != nil {
		return fmt.Errorf("enqueue: %w", err)
	}
	return nil
}

// alive returns nil unless a task is dead: it will be taken, or was since it was
// seen, or Redis has lost the list of its queues and cannot tell.
func (q *Queue) alive(queue, id string) error {
	info, err := asynq.NewInspectorFromRedisClient(q.rdb).GetTaskInfo(queue, id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound) || errors.Is(err, asynq.ErrQueueNotFound):
		return nil
	case err != nil:
		return err
	case info.State == asynq.TaskStateArchived || info.State == asynq.TaskStateCompleted:
		return errDead
	}
	return nil
}

// Server takes tickets from Redis on a worker.
type Server struct {
	servers map[jobs.Lane]*asynq.Server
	log     *slog.Logger
}

// NewServer makes a Server with so many slots a lane.
func (q *Queue) NewServer(slots map[jobs.Lane]int, log *slog.Logger) *Server {
	s := &Server{servers: make(map[jobs.Lane]*asynq.Server), log: log}
	for lane, n := range slots {
		s.servers[lane] = asynq.NewServerFromRedisClient(q.rdb, asynq.Config{
			Concurrency: n,
			Queues:      map[string]int{names[lane]: 1},
			// From 0.6 s to some 50 ms until a ticket is seen.
			TaskCheckInterval: 100 * time.Millisecond,
			// Handlers have handed back before Shutdown is called.
			ShutdownTimeout: time.Second,
			Logger:          logger{log},
			LogLevel:        asynq.WarnLevel,
			IsFailure:       func(error) bool { return false },
		})
	}
	return s
}

// Start begins to hand tickets to handle, which runs an export to its end.
func (s *Server) Start(handle func(jobs.Ticket)) error {
	for lane, server := range s.servers {
		h := asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
			var p payload
			if err := json.Unmarshal(t.Payload(), &p); err != nil {
				s.log.Warn("task with a foreign payload dropped", "queue", names[lane])
				return nil
			}
			handle(jobs.Ticket{Job: p.Job, Dispatch: p.Dispatch, Lane: lane})
			return nil
		})
		if err := server.Start(h); err != nil {
			return fmt.Errorf("start queue server: %w", err)
		}
	}
	return nil
}

// Stop takes no more tickets; what runs goes on.
func (s *Server) Stop() {
	for _, server := range s.servers {
		server.Stop()
	}
}

// Shutdown ends the servers.
func (s *Server) Shutdown() {
	for _, server := range s.servers {
		server.Shutdown()
	}
}

// logger lets asynq write to the service's own log.
type logger struct{ *slog.Logger }

func (l logger) Debug(args ...any) { l.Logger.Debug(fmt.Sprint(args...)) }
func (l logger) Info(args ...any)  { l.Logger.Info(fmt.Sprint(args...)) }
func (l logger) Warn(args ...any)  { l.Logger.Warn(fmt.Sprint(args...)) }
func (l logger) Error(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }
func (l logger) Fatal(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }
