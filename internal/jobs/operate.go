package jobs

import (
	"context"
	"slices"
	"time"
)

// Bells is the queue as it stands on Redis. Its tasks hold a job's id and a
// dispatch number, nothing else. Where Redis does not answer, the error is an
// *Unavailable.
type Bells interface {
	// Memory is what Redis uses and may use, in bytes; most is 0 without a limit.
	Memory(ctx context.Context) (used, most int64, err error)
	Queues(ctx context.Context) (RawQueues, error)
	// Tasks returns a page of a queue's tasks in a state; ErrNotFound if there is
	// no such queue or state.
	Tasks(ctx context.Context, q TaskQuery) (TaskPage, error)
	// Change carries an order out and says how many tasks it was about.
	Change(ctx context.Context, o TaskOrder) (int, error)
}

// RawQueues are all queues and the servers that take from them.
type RawQueues struct {
	Queues  []RawQueue
	Servers []RawServer
}

// RawQueue is a queue of asynq's.
type RawQueue struct {
	Name      string
	Paused    bool
	Size      int
	Latency   time.Duration // how long the oldest pending task has waited
	Memory    int64         // bytes
	Processed int           // today
	Failed    int           // today
	States    []StateCount
}

// StateCount is how many tasks of a queue are in a state.
type StateCount struct {
	State string
	Tasks int
}

// RawServer is a server of asynq's, one a worker and lane.
type RawServer struct {
	ID, Host string
	PID      int
	Queues   []string
	Slots    int
	Status   string
	Started  time.Time
	Active   []RawTask
}

// RawTask is a task as it stands in Redis.
type RawTask struct {
	ID, Queue, Type, State string
	Job                    string // of its payload; empty if that is not ours
	Dispatch               int
	Error                  string // the last
	Retried, Retries       int
	Since                  *time.Time // when it failed last, began, or ended
	Next                   *time.Time
}

// TaskQuery asks for a page of tasks, 1 is the first.
type TaskQuery struct {
	Queue, State string
	Page, Size   int
}

// TaskPage is one.
type TaskPage struct {
	Queue RawQueue
	Tasks []RawTask
}

// TaskOrder is what is to be done to a queue, all its tasks in a state, or one task.
type TaskOrder struct {
	Do    string // pause, resume, run, archive, delete, cancel
	Queue string
	State string // of all tasks, where Task is empty
	Task  string
}

// JobOrder is what an operator wants of one job, or of the queue.
type JobOrder struct {
	Action  string // ActionStop, ActionRetry, ActionMoveAhead, ActionPause, ActionResume
	Job     string
	Project string // of a pause; empty is everybody's
}

// Situation is the operators' first page.
type Situation struct {
	At       time.Time
	Findings []Finding
	Flow     Flow
	Rules    DispatchRules
	// RedisUsed and RedisMost are bytes; most is 0 without a limit.
	RedisUsed, RedisMost int64
	RedisDown            bool
}

// redisLimit is how long the page waits for Redis.
const redisLimit = 2 * time.Second

// FindingKinds are all of them, in the order in which they are told: what stands
// still comes first.
var FindingKinds = []FindingKind{NoWorker, RedisDown, StoreFull, WorkerSilent, NoProgress, WaitingTooLong, RetryStorm, ExportsFailed, RedisMemory, MailsStuck, NoCleanUp, Paused}

// Situation tells an operator how exports run, and what needs attention first.
func (s *Service) Situation(ctx context.Context, p Principal) (t Situation, err error) {
	if err := s.operate(ctx, p, "", ActionOps); err != nil {
		return t, err
	}
	t.At, t.Rules = s.env.Now(), s.opts.Rules
	if t.Findings, err = s.Desk.Findings(ctx, OperatorLimits); err != nil {
		return t, err
	}
	if t.Flow, err = s.Desk.Flow(ctx); err != nil {
		return t, err
	}
	call, cancel := context.WithTimeout(ctx, redisLimit)
	defer cancel()
	var down error
	if t.RedisUsed, t.RedisMost, down = s.Bells.Memory(call); down != nil {
		t.RedisDown = true
		t.Findings = append(t.Findings, Finding{Kind: RedisDown, Count: 1})
	} else if t.RedisMost > 0 && t.RedisUsed*100 >= t.RedisMost*int64(OperatorLimits.Memory) {
		t.Findings = append(t.Findings, Finding{Kind: RedisMemory, Count: 1, Percent: int(t.RedisUsed * 100 / t.RedisMost)})
	}
	slices.SortStableFunc(t.Findings, func(a, b Finding) int {
		return slices.Index(FindingKinds, a.Kind) - slices.Index(FindingKinds, b.Kind)
	})
	return t, nil
}

// Search finds jobs of all projects for an operator.
func (s *Service) Search(ctx context.Context, p Principal, q SearchQuery) ([]Job, error) {
	if err := s.operate(ctx, p, "", ActionOps); err != nil {
		return nil, err
	}
	return s.Desk.Search(ctx, q)
}

// Story tells an operator all about one job.
func (s *Service) Story(ctx context.Context, p Principal, id string) (Story, error) {
	if err := s.operate(ctx, p, "", ActionOps); err != nil {
		return Story{}, err
	}
	return s.Desk.Story(ctx, id)
}

// Order carries out what an operator wants. It returns the job that it is about
// now: another one, where a job that is over runs again.
func (s *Service) Order(ctx context.Context, p Principal, o JobOrder) (job string, err error) {
	if err := s.operate(ctx, p, o.Project, o.Action); err != nil {
		return "", err
	}
	job = o.Job
	switch o.Action {
	case ActionStop:
		_, err = s.cancel(ctx, p, o.Job)
	case ActionMoveAhead:
		err = s.Control.MoveAhead(ctx, o.Job, p)
	case ActionPause:
		err = s.Control.Pause(ctx, o.Project, p)
	case ActionResume:
		err = s.Control.Resume(ctx, o.Project, p)
	case ActionRetry:
		job, err = s.retry(ctx, p, o.Job)
	default:
		err = ErrNotFound
	}
	if err == nil && o.Action != ActionStop && o.Action != ActionPause {
		s.opts.Created() // somebody may start now
	}
	return job, err
}

// retry ends the back-off of a job that waits, and runs another again.
func (s *Service) retry(ctx context.Context, p Principal, id string) (string, error) {
	j, err := s.Records.Get(ctx, id)
	switch {
	case err != nil:
		return "", err
	case j.State == Queued:
		return id, s.Control.Hasten(ctx, id, p)
	}
	fresh := s.env.NewID()
	made, err := s.Control.Rerun(ctx, id, fresh, p)
	if err == nil && made == fresh {
		s.env.Moved(Move{Job: made, Kind: j.Kind, Lane: j.Lane, To: Queued})
	}
	return made, err
}

// RawQueues shows an operator the queues as they stand on Redis.
func (s *Service) RawQueues(ctx context.Context, p Principal) (RawQueues, error) {
	if err := s.operate(ctx, p, "", ActionQueue); err != nil {
		return RawQueues{}, err
	}
	return s.Bells.Queues(ctx)
}

// Tasks shows an operator the tasks of a queue.
func (s *Service) Tasks(ctx context.Context, p Principal, q TaskQuery) (TaskPage, error) {
	if err := s.operate(ctx, p, "", ActionQueue); err != nil {
		return TaskPage{}, err
	}
	return s.Bells.Tasks(ctx, q)
}

// OrderTasks changes tasks, or a queue, at an operator's word. The line of the
// audit comes first: Redis shares no transaction with it.
func (s *Service) OrderTasks(ctx context.Context, p Principal, o TaskOrder) (int, error) {
	if err := s.operate(ctx, p, "", ActionTask); err != nil {
		return 0, err
	}
	e := AuditEntry{Actor: p.Email, Action: ActionTask, Detail: o.String(), Remote: p.Remote}
	if err := s.Journal.Record(ctx, e); err != nil {
		return 0, err
	}
	return s.Bells.Change(ctx, o)
}

// String says what is wanted, for the audit.
func (o TaskOrder) String() string {
	switch {
	case o.Task != "":
		return o.Do + " " + o.Queue + " " + o.Task
	case o.State != "":
		return o.Do + " " + o.Queue + " all " + o.State
	}
	return o.Do + " " + o.Queue
}
