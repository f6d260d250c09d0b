// Command api takes requests for exports and hands out their files.
package main

import (
	"context"
	cryptorand "crypto/rand"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/bulkexport/bulkexport/internal/api"
	"github.com/bulkexport/bulkexport/internal/auth"
	"github.com/bulkexport/bulkexport/internal/boot"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/telemetry"
	"github.com/bulkexport/bulkexport/internal/web"
)

func main() { boot.Main("api", serve) }

func serve(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	p, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer p.close()

	rules := jobs.DispatchRules{ProjectSlots: cfg.ProjectSlots, MaxRunning: cfg.MaxRunning}
	traces, err := telemetry.NewTraces(ctx, cfg.OTLPEndpoint, "api", log)
	if err != nil {
		return err
	}
	defer traces.Close()
	metrics := telemetry.NewMetrics(traces)
	env := jobs.Env{Now: time.Now, NewID: newID, Jitter: rand.Float64, Log: log, Observer: metrics}
	dispatcher := jobs.NewDispatcher(p.store, p.queue, rules, env)
	watcher := jobs.NewWatcher(p.store, log)
	service := jobs.NewService(jobs.ServicePorts{
		Records: p.store, Eraser: p.store, Journal: p.store, Overview: p.store, Letters: p.store, Watcher: watcher,
		Desk: p.store, Control: p.store, Bells: p.queue,
		Roles: p.roles, Surveyor: p.source, Catalogue: p.source, OwnProjects: p.roles, Files: p.files, Originals: p.originals,
	}, env, jobs.ServiceOptions{
		QueueMax: cfg.ProjectQueueMax, LinkTTL: cfg.LinkTTL, Retention: cfg.ExportRetention,
		Operators: cfg.OperatorEmails, Rules: rules, Created: dispatcher.Kick,
	})
	people := auth.New(auth.Config{
		Keys: p.source, Issuer: cfg.OIDCIssuer, ClientID: cfg.OIDCClientID, ClientSecret: cfg.OIDCClientSecret,
		Audience: cfg.OIDCAudience, Sessions: p.store, SessionTTL: cfg.SessionTTL, PublicURL: cfg.PublicURL, Stylesheet: web.Stylesheet(cfg.PublicURL), Log: log,
	})
	probes := newProbes(cfg, p, people, log)
	postman := jobs.NewPostman(jobs.PostmanPorts{Outbox: p.store, Mailer: p.mailer, Roles: p.roles, People: p.roles}, env, cfg.MailTellAdmins)
	metrics.Collect(telemetry.NewTables(p.store, log), telemetry.NewQueue(p.queue.Load), probes.Up())
	door := &auth.Door{People: people, Limiter: p.queue.NewLimiter(cfg.RateLimit, log), Proxies: cfg.TrustedProxies}
	handler, err := newHandler(cfg, service, people, door, probes, metrics, log)
	if err != nil {
		return err
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		boot.MigrateSoon(ctx, p.store, cfg, log)
		postman.Run(ctx)
		return nil
	})
	g.Go(func() error { dispatcher.Run(ctx, 0); return nil })
	g.Go(func() error { watcher.Run(ctx); return nil })
	g.Go(func() error { return boot.Listen(ctx, cfg.HTTPAddr, handler, cfg.ShutdownGrace, log) })
	g.Go(func() error {
		return boot.Listen(ctx, cfg.MetricsAddr, metrics.Handler(probes), cfg.ShutdownGrace, log)
	})
	return g.Wait()
}

// newProbes asks each part whether it answers.
func newProbes(cfg config.Config, p *parts, people *auth.Authenticator, log *slog.Logger) *telemetry.Probes {
	probes := &telemetry.Probes{
		Required: map[string]telemetry.Check{"database": p.store.Ready},
		Optional: map[string]telemetry.Check{"source": p.source.Ping, "roles": p.roles.Ping, "queue": p.queue.Ping, "bucket": p.files.Ping},
		Log:      log,
	}
	if cfg.OIDCIssuer != "" {
		probes.Optional["provider"] = people.Ping
	}
	if p.ping == nil {
		log.Warn("no mails are sent: SMTP_URL is not set")
	} else {
		probes.Optional["mail"] = p.ping
	}
	return probes
}

// newHandler makes what people and programs reach: pages, sign-in and API.
func newHandler(cfg config.Config, service *jobs.Service, people *auth.Authenticator, door *auth.Door, probes http.Handler, metrics *telemetry.Metrics, log *slog.Logger) (http.Handler, error) {
	pages, err := web.New(web.Config{
		Service: service, Door: door, PublicURL: cfg.PublicURL, SignIn: cfg.OIDCIssuer != "", Log: log, Now: time.Now, NewKey: cryptorand.Text,
	})
	if err != nil {
		return nil, err
	}
	return api.New(api.Config{
		Service: service, Door: door, PublicURL: cfg.PublicURL, Origins: cfg.AllowedOrigins,
		Stream: cfg.Downloads == "stream", Probes: probes, Seen: metrics.Request, Log: log,
		Cookie: auth.Cookie(cfg.PublicURL), Browser: people.Browser(), BrowserPaths: auth.BrowserPaths,
		Pages: pages, PagePatterns: web.Patterns, Absent: http.HandlerFunc(pages.Absent),
	}), nil
}

// newID is ordered by time, so that lists need no other order.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic(fmt.Sprintf("no randomness: %v", err))
	}
	return id.String()
}
