// Command worker runs exports.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bulkexport/bulkexport/internal/boot"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/store"
	"github.com/bulkexport/bulkexport/internal/telemetry"
	"github.com/bulkexport/bulkexport/internal/worker"
)

func main() { boot.Main("worker", serve, commands...) }

func serve(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	export.CollectEarly()
	slots := map[jobs.Lane]int{jobs.Large: cfg.WorkerConcurrency, jobs.Small: cfg.WorkerConcurrency}
	st, err := store.Open(ctx, cfg.DatabaseURL, "bulkexport-worker")
	if err != nil {
		return err
	}
	defer st.Close()
	// One connection more for each export's plan and probes.
	source, err := platform.OpenSource(ctx, cfg.SourceDatabaseURL, "bulkexport-worker", 2*cfg.WorkerConcurrency*cfg.SourceConns+1)
	if err != nil {
		return err
	}
	defer source.Close()
	q, err := queue.Open(cfg.RedisURL)
	if err != nil {
		return err
	}
	defer q.Close()
	files, err := boot.OpenBucket(cfg)
	if err != nil {
		return err
	}
	roles, err := platform.OpenRoles(cfg.PlatformRedisURL)
	if err != nil {
		return err
	}
	defer roles.Close()

	dispatcher := jobs.NewDispatcher(st, q, jobs.DispatchRules{ProjectSlots: cfg.ProjectSlots, MaxRunning: cfg.MaxRunning}, log)
	exporter := export.New(source, files, export.Options{
		Prefix: cfg.S3Prefix, Readers: cfg.SourceConns, ReadMBps: cfg.SourceReadMBps,
		GzipLevel: cfg.GzipLevel, NewNonce: rand.Text, Log: log,
	})
	env := jobs.Env{Now: time.Now, Jitter: mathrand.Float64, Log: log}
	id := workerID()
	w := &worker.Worker{
		Status: jobs.WorkerStatus{ID: id, Slots: slots},
		Board:  st, Dispatcher: dispatcher, Tickets: q.NewServer(slots, log), Grace: cfg.ShutdownGrace, Log: log,
		Runner: jobs.NewRunner(st, exporter, env, jobs.RunnerOptions{
			Worker: id, Slots: slots, Retention: cfg.ExportRetention, Freed: dispatcher.Kick,
		}),
	}
	probes := &telemetry.Probes{
		Required: map[string]telemetry.Check{"database": st.Ready},
		Optional: map[string]telemetry.Check{"source": source.Ping, "queue": q.Ping, "bucket": files.Ping},
		Log:      log,
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		boot.TestStore(ctx, files, export.Key(cfg.S3Prefix, "self-test", rand.Text()), log)
		return nil
	})
	sweeper := newSweeper(cfg, st, files, platform.Roll{Source: source, Roles: roles}, q, log)
	g.Go(func() error {
		boot.MigrateSoon(ctx, st, cfg, log)
		sweeper.Run(ctx, sweepEvery)
		return nil
	})
	g.Go(func() error { return w.Run(ctx) })
	g.Go(func() error { return boot.Listen(ctx, cfg.MetricsAddr, probes, cfg.ShutdownGrace, log) })
	return g.Wait()
}

// sweepEvery is the pause between passes; of all workers, one works.
const sweepEvery = time.Minute

// workerID tells an operator the machine and the process, and is never used twice.
func workerID() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:6])
}
