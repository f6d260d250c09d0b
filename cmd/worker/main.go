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
	"github.com/bulkexport/bulkexport/internal/telemetry"
	"github.com/bulkexport/bulkexport/internal/worker"
)

func main() { boot.Main("worker", serve, commands...) }

func serve(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	export.CollectEarly()
	slots := map[jobs.Lane]int{jobs.Large: cfg.WorkerConcurrency, jobs.Small: cfg.WorkerConcurrency}
	// One connection more for each export's plan and probes.
	p, err := open(ctx, cfg, 2*cfg.WorkerConcurrency*cfg.SourceConns+1)
	if err != nil {
		return err
	}
	defer p.close()

	traces, err := telemetry.NewTraces(ctx, cfg.OTLPEndpoint, "worker", log)
	if err != nil {
		return err
	}
	defer traces.Close()
	metrics := telemetry.NewMetrics(traces)
	env := jobs.Env{Now: time.Now, Jitter: mathrand.Float64, Log: log, Observer: metrics}
	dispatcher := jobs.NewDispatcher(p.store, p.queue, jobs.DispatchRules{ProjectSlots: cfg.ProjectSlots, MaxRunning: cfg.MaxRunning}, env)
	id := workerID()
	options := jobs.RunnerOptions{Worker: id, Slots: slots, Retention: cfg.ExportRetention, Freed: dispatcher.Kick}
	attempts, files := plant(&options, p.store, p.files)
	exporter := export.New(p.source, files, export.Options{
		Prefix: cfg.S3Prefix, Readers: cfg.SourceConns, ReadMBps: cfg.SourceReadMBps,
		GzipLevel: cfg.GzipLevel, NewNonce: rand.Text, Log: log,
	})
	w := &worker.Worker{
		Status: jobs.WorkerStatus{ID: id, Slots: slots},
		Board:  p.store, Dispatcher: dispatcher, Tickets: p.queue.NewServer(slots, log), Grace: cfg.ShutdownGrace, Log: log,
		Runner: jobs.NewRunner(attempts, exporter, env, options),
	}
	probes := &telemetry.Probes{
		Required: map[string]telemetry.Check{"database": p.store.Ready},
		Optional: map[string]telemetry.Check{"source": p.source.Ping, "queue": p.queue.Ping, "bucket": p.files.Ping},
		Log:      log,
	}
	metrics.Collect(probes.Up())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		boot.TestStore(ctx, p.files, export.Key(cfg.S3Prefix, "self-test", rand.Text()), log)
		return nil
	})
	sweeper := newSweeper(cfg, p, env)
	g.Go(func() error {
		// Nothing is claimed on an older schema: it would fail halfway.
		if boot.MigrateSoon(ctx, p.store, cfg, log); ctx.Err() != nil {
			return nil
		}
		g.Go(func() error { return w.Run(ctx) })
		sweeper.Run(ctx, sweepEvery)
		return nil
	})
	g.Go(func() error {
		return boot.Listen(ctx, cfg.MetricsAddr, metrics.Handler(probes), cfg.ShutdownGrace, log)
	})
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
