//go:build faultpoints

package main

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// plant gives the worker a lease of FAULT_LEASE, and lets it kill itself at the
// point FAULT_POINT: once if FAULT_ONCE names a file, which goes with the first
// kill, and else every time.
func plant(o *jobs.RunnerOptions, a jobs.Attempts, b export.Bucket) (jobs.Attempts, export.Bucket) {
	if lease, err := time.ParseDuration(os.Getenv("FAULT_LEASE")); err == nil {
		o.Lease = lease
	}
	return attempts{a}, files{b}
}

// reach dies as the kernel would kill it.
func reach(point string) {
	if os.Getenv("FAULT_POINT") != point {
		return
	}
	if once := os.Getenv("FAULT_ONCE"); once != "" && os.Remove(once) != nil {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

type attempts struct{ jobs.Attempts }

func (a attempts) Claim(ctx context.Context, t jobs.Ticket, worker string, lease time.Duration) (jobs.Claim, bool, error) {
	c, ok, err := a.Attempts.Claim(ctx, t, worker, lease)
	if ok {
		reach("claimed")
	}
	return c, ok, err
}

func (a attempts) BeginUpload(ctx context.Context, f jobs.Fence, u jobs.Upload) error {
	reach("upload unnamed")
	err := a.Attempts.BeginUpload(ctx, f, u)
	reach("upload named")
	return err
}

func (a attempts) Commit(ctx context.Context, f jobs.Fence, c jobs.Cut) error {
	if c.Final {
		reach("before the last checkpoint")
	} else {
		reach("part sent, no checkpoint")
	}
	err := a.Attempts.Commit(ctx, f, c)
	if c.Final {
		reach("after the last checkpoint")
	} else {
		reach("after a checkpoint")
	}
	return err
}

func (a attempts) End(ctx context.Context, f jobs.Fence, e jobs.Ending) (jobs.State, error) {
	reach("file complete, row not")
	state, err := a.Attempts.End(ctx, f, e)
	reach("row complete, task not")
	return state, err
}

type files struct{ export.Bucket }

func (f files) PutPart(ctx context.Context, u jobs.Upload, p jobs.Part, data []byte) (string, error) {
	if os.Getenv("FAULT_POINT") == "in a part" {
		time.AfterFunc(5*time.Millisecond, func() { reach("in a part") })
	}
	return f.Bucket.PutPart(ctx, u, p, data)
}

func (f files) Complete(ctx context.Context, u jobs.Upload, parts []jobs.Part) error {
	err := f.Bucket.Complete(ctx, u, parts)
	reach("completed, not verified")
	return err
}
