// Command api takes requests for exports and hands out their files.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/bulkexport/bulkexport/internal/api"
	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/boot"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/store"
	"github.com/bulkexport/bulkexport/internal/telemetry"
)

// sourceConns are for looking up API keys and estimating sizes.
const sourceConns = 4

func main() { boot.Main("api", serve) }

func serve(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	st, err := store.Open(ctx, cfg.DatabaseURL, "bulkexport-api")
	if err != nil {
		return err
	}
	defer st.Close()
	source, err := platform.OpenSource(ctx, cfg.SourceDatabaseURL, "bulkexport-api", sourceConns)
	if err != nil {
		return err
	}
	defer source.Close()
	roles, err := platform.OpenRoles(cfg.PlatformRedisURL)
	if err != nil {
		return err
	}
	defer roles.Close()
	q, err := queue.Open(cfg.RedisURL)
	if err != nil {
		return err
	}
	defer q.Close()
	files, err := boot.OpenBucket(cfg)
	if err != nil {
		return err
	}

	dispatcher := jobs.NewDispatcher(st, q, jobs.DispatchRules{ProjectSlots: cfg.ProjectSlots, MaxRunning: cfg.MaxRunning}, log)
	env := jobs.Env{Now: time.Now, NewID: newID, Jitter: rand.Float64, Log: log}
	service := jobs.NewService(st, roles, source, files, env, jobs.ServiceOptions{
		QueueMax: cfg.ProjectQueueMax, LinkTTL: cfg.LinkTTL, Created: dispatcher.Kick,
	})
	probes := &telemetry.Probes{
		Required: map[string]telemetry.Check{"database": st.Ready},
		Optional: map[string]telemetry.Check{"source": source.Ping, "roles": roles.Ping, "queue": q.Ping, "bucket": files.Ping},
		Log:      log,
	}
	people := auth.New(auth.Config{
		Keys: source, Issuer: cfg.OIDCIssuer, ClientID: cfg.OIDCClientID, ClientSecret: cfg.OIDCClientSecret,
		Audience: cfg.OIDCAudience, Log: log,
	})
	handler := api.New(api.Config{Service: service, Auth: people, PublicURL: cfg.PublicURL, Probes: probes, Log: log})

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { boot.MigrateSoon(ctx, st, cfg, log); return nil })
	g.Go(func() error { dispatcher.Run(ctx, 0); return nil })
	g.Go(func() error { return boot.Listen(ctx, cfg.HTTPAddr, handler, cfg.ShutdownGrace, log) })
	g.Go(func() error { return boot.Listen(ctx, cfg.MetricsAddr, probes, cfg.ShutdownGrace, log) })
	return g.Wait()
}

// newID is ordered by time, so that lists need no other order.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic(fmt.Sprintf("no randomness: %v", err))
	}
	return id.String()
}
