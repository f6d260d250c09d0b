package queue

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Load counts the queue's tasks, and the memory of its Redis; of a cluster, that
// of the shard which is fullest.
func (q *Queue) Load(ctx context.Context) (l jobs.QueueLoad, err error) {
	inspector := asynq.NewInspectorFromRedisClient(q.rdb)
	known, err := inspector.Queues() // those that ever had a task; asking about others is an error
	if err != nil {
		return l, fmt.Errorf("queue: %w", err)
	}
	for _, lane := range []jobs.Lane{jobs.Large, jobs.Small} {
		info := &asynq.QueueInfo{}
		if slices.Contains(known, names[lane]) {
			if info, err = inspector.GetQueueInfo(names[lane]); err != nil {
				return l, fmt.Errorf("queue: %w", err)
			}
		}
		for state, n := range map[string]int{"pending": info.Pending, "active": info.Active, "retry": info.Retry, "archived": info.Archived} {
			l.Tasks = append(l.Tasks, jobs.TaskCount{Queue: names[lane], State: state, N: int64(n)})
		}
	}
	slices.SortFunc(l.Tasks, func(a, b jobs.TaskCount) int { return strings.Compare(a.Queue+a.State, b.Queue+b.State) })
	return l, q.memory(ctx, &l)
}

func (q *Queue) memory(ctx context.Context, l *jobs.QueueLoad) error {
	texts := make(chan string, 64)
	ask := func(ctx context.Context, rdb redis.UniversalClient) error {
		text, err := rdb.Info(ctx, "memory").Result()
		if err == nil {
			select {
			case texts <- text:
			default: // a cluster of more shards than anybody has
			}
		}
		return err
	}
	var err error
	if cluster, ok := q.rdb.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, rdb *redis.Client) error { return ask(ctx, rdb) })
	} else {
		err = ask(ctx, q.rdb)
	}
	close(texts)
	for text := range texts {
		used, limit := memoryOf(text)
		if l.Memory == 0 || float64(used)*float64(max(l.MemoryMax, 1)) > float64(l.Memory)*float64(max(limit, 1)) {
			l.Memory, l.MemoryMax = used, limit
		}
	}
	if err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

// memoryOf reads INFO's section about memory.
func memoryOf(text string) (used, limit int64) {
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		switch n, _ := strconv.ParseInt(value, 10, 64); name {
		case "used_memory":
			used = n
		case "maxmemory":
			limit = n
		}
	}
	return used, limit
}
