package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// archivedFor is how long a dead task is kept for an operator to look at, and
// archivePage how many are looked at in one call.
const (
	archivedFor = 24 * time.Hour
	archivePage = 500
)

// Prune implements jobs.Archive. asynq itself trims its archive only when it
// archives one more, and its script fails where thousands have expired.
func (q *Queue) Prune(ctx context.Context, dry bool) (n int, err error) {
	inspector := asynq.NewInspectorFromRedisClient(q.rdb)
	for _, name := range names {
		// Oldest last: pages from the back would move under the deletion.
		for page := 1; ctx.Err() == nil; {
			tasks, err := inspector.ListArchivedTasks(name, asynq.PageSize(archivePage), asynq.Page(page))
			if errors.Is(err, asynq.ErrQueueNotFound) {
				break
			}
			if err != nil {
				return n, fmt.Errorf("archive of %s: %w", name, err)
			}
			kept := 0
			for _, t := range tasks {
				if time.Since(t.LastFailedAt) < archivedFor {
					kept++
					continue
				}
				if !dry {
					if err := inspector.DeleteTask(name, t.ID); err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
						return n, fmt.Errorf("archive of %s: %w", name, err)
					}
				}
				n++
			}
			if len(tasks) < archivePage {
				break
			}
			if dry || kept == len(tasks) {
				page++
			}
		}
	}
	return n, ctx.Err()
}
