package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/store"
)

// The service's settings as they are when nobody sets them.
const (
	sourceConns = 2
	gzipLevel   = 5
)

const application = "bulkexport-bench"

func exportToS3(ctx context.Context, kind jobs.Kind) (outcome, error) {
	b, err := openBucket()
	if err != nil {
		return outcome{}, err
	}
	return exportInto(ctx, kind, b)
}

func exportToDisk(ctx context.Context, kind jobs.Kind, dir string) (outcome, error) {
	return exportInto(ctx, kind, &sink{dir})
}

func openBucket() (*bucket.Bucket, error) {
	return bucket.Open(bucket.Config{
		Endpoint: os.Getenv("S3_ENDPOINT"), Region: os.Getenv("S3_REGION"), PathStyle: true,
		AccessKeyID: os.Getenv("S3_ACCESS_KEY_ID"), SecretKey: os.Getenv("S3_SECRET_ACCESS_KEY"), Bucket: os.Getenv("S3_BUCKET"),
	})
}

func openSource(ctx context.Context) (*platform.Source, error) {
	return platform.OpenSource(ctx, os.Getenv(sourceVar), application, sourceConns+1)
}

// exportInto takes a job's whole way but for HTTP and Redis: row, dispatch,
// claim, lease, checkpoints, ending.
func exportInto(ctx context.Context, kind jobs.Kind, files export.Bucket) (out outcome, err error) {
	st, err := store.Open(ctx, os.Getenv(serviceVar), application)
	if err != nil {
		return out, err
	}
	defer st.Close()
	source, err := openSource(ctx)
	if err != nil {
		return out, err
	}
	defer source.Close()

	export.CollectEarly()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	exporter := export.New(source, files, export.Options{Readers: sourceConns, GzipLevel: gzipLevel, NewNonce: rand.Text, Log: log})
	worker := jobs.WorkerStatus{ID: "bench-" + rand.Text(), Slots: map[jobs.Lane]int{jobs.Large: 1}}
	runner := jobs.NewRunner(st, exporter, jobs.Env{Now: time.Now, Jitter: mathrand.Float64, Log: log}, jobs.RunnerOptions{
		Worker: worker.ID, Slots: worker.Slots, Retention: time.Hour, Freed: func() {},
	})
	id, err := dispatched(ctx, st, kind, worker, runner.Handle)
	if err != nil {
		return out, err
	}
	job, err := st.Get(ctx, id)
	if err != nil {
		return out, err
	}
	if job.State != jobs.Succeeded {
		return out, fmt.Errorf("the job is %s: %+v", job.State, job.Failure)
	}
	return outcome{Rows: job.Result.Rows, Raw: job.Progress.BytesRaw, Bytes: job.Progress.BytesStored, Upload: job.Upload}, nil
}

// dispatched makes a job and hands its ticket on, until that returns.
func dispatched(ctx context.Context, st *store.Store, kind jobs.Kind, w jobs.WorkerStatus, handle func(jobs.Ticket)) (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	created, err := st.Create(ctx, jobs.NewJob{
		ID: id.String(), Spec: jobs.Spec{Project: demodata.DemoProject, Kind: kind}, Lane: jobs.Large,
		RequestedBy: demodata.OwnerEmail, Notify: []string{}, Fresh: true, QueueMax: 1,
	})
	if err != nil {
		return "", err
	}
	if err := st.Heartbeat(ctx, w); err != nil {
		return "", err
	}
	tickets, _, err := st.Dispatch(ctx, jobs.DispatchRules{ProjectSlots: 1, MaxFailures: jobs.MaxFailures})
	if err != nil {
		return "", err
	}
	if len(tickets) != 1 || tickets[0].Job != created.Job.ID {
		return "", errors.New("the job was not dispatched")
	}
	handle(tickets[0])
	return created.Job.ID, nil
}

// migrate makes the service's own schema.
func migrate(ctx context.Context, url string) error {
	st, err := store.Open(ctx, url, application)
	if err != nil {
		return err
	}
	defer st.Close()
	return st.Migrate(ctx)
}

// readAll is the floor's one half: our reader, with nobody to take the rows.
func readAll(ctx context.Context, kind jobs.Kind) (out outcome, err error) {
	source, err := openSource(ctx)
	if err != nil {
		return out, err
	}
	defer source.Close()
	spec := jobs.Spec{Project: demodata.DemoProject, Kind: kind}
	plan, err := source.Plan(ctx, spec, jobs.All)
	if err != nil {
		return out, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range sourceConns {
		g.Go(func() error {
			for w := i; w < len(plan.Windows); w += sourceConns {
				if _, err := source.Read(ctx, spec, plan.Windows[w], nowhere{}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return outcome{Rows: plan.Rows}, g.Wait()
}

// nowhere is where rows go that nobody takes.
type nowhere struct{}

func (nowhere) Begin()                                   {}
func (nowhere) Row(context.Context, jobs.Row) error      { return nil }
func (nowhere) Skip(context.Context, jobs.Skipped) error { return nil }
func (nowhere) Large(context.Context) error              { return nil }
