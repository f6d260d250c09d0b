// Package boot is what both programs do alike: subcommands, settings, signals,
// the schema, listeners. It is part of the wiring; only cmd imports it.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/store"
	"github.com/bulkexport/bulkexport/internal/telemetry"
)

// Serve is a program's own work, until ctx is done.
type Serve func(ctx context.Context, cfg config.Config, log *slog.Logger) error

// Command is a subcommand that only one of the programs has. Its settings and
// log are as for serving; args are those after its name.
type Command struct {
	Name  string
	Usage string // lines for the help, indented by two
	Run   func(ctx context.Context, cfg config.Config, args []string, out io.Writer, log *slog.Logger) error
}

// Main runs a program with the process's own arguments and exits.
func Main(name string, serve Serve, own ...Command) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, name, os.Args[1:], os.Environ(), os.Stdout, serve, own)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

const usage = `usage: %s [command]

  serve        work until SIGTERM (the default)
  migrate      bring the schema bulkexport up to date, and end
  healthcheck  ask a running %s at METRICS_ADDR whether it is ready
  config       check the settings and show them, without secrets
%s`

func run(ctx context.Context, name string, args, environ []string, out io.Writer, serve Serve, own []Command) error {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	i := slices.IndexFunc(own, func(c Command) bool { return c.Name == command })
	if help := command == "help" || command == "-h" || command == "--help"; help || i < 0 && len(args) > 0 {
		more := ""
		for _, c := range own {
			more += c.Usage
		}
		_, err := fmt.Fprintf(out, usage, name, name, more)
		if !help {
			err = fmt.Errorf("%s takes no arguments", command)
		}
		return err
	}
	cfg, err := config.Load(environ)
	if err != nil {
		return fmt.Errorf("settings:\n%w", err)
	}
	log := telemetry.NewLogger(out, cfg.LogLevel, name)
	if i >= 0 {
		return own[i].Run(ctx, cfg, args, out, log)
	}
	switch command {
	case "serve":
		return serve(ctx, cfg, log)
	case "migrate":
		return migrate(ctx, cfg, name)
	case "healthcheck":
		return healthcheck(ctx, cfg)
	case "config":
		return cfg.Show(out)
	}
	return fmt.Errorf("unknown command %q: see %s help", command, name)
}

func migrate(ctx context.Context, cfg config.Config, name string) error {
	st, err := store.Open(ctx, cfg.DatabaseURL, "bulkexport-"+name)
	if err != nil {
		return err
	}
	defer st.Close()
	return st.Migrate(ctx)
}

// migrateRetry is the pause between attempts to reach the database at start.
const migrateRetry = 2 * time.Second

// MigrateSoon returns as soon as the schema is up to date: brought there by this
// program, unless AUTO_MIGRATE leaves that to others. Until then the program
// runs, and its readiness says what is missing.
func MigrateSoon(ctx context.Context, st *store.Store, cfg config.Config, log *slog.Logger) {
	try := st.Ready
	if cfg.AutoMigrate {
		try = st.Migrate
	}
	for {
		err := try(ctx)
		if err == nil {
			log.Info("schema is up to date")
			return
		}
		if ctx.Err() == nil {
			log.Warn("schema not migrated yet", "error", err)
		}
		select {
		case <-time.After(migrateRetry):
		case <-ctx.Done():
			return
		}
	}
}

func healthcheck(ctx context.Context, cfg config.Config) error {
	host, port, err := net.SplitHostPort(cfg.MetricsAddr)
	if err != nil {
		return fmt.Errorf("METRICS_ADDR: %w", err)
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1" // an image without /etc/hosts does not know localhost
	case "::":
		host = "::1"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("healthcheck: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", res.Status)
	}
	return nil
}

// maxHeader is twice the largest token. The library takes 4 KiB more.
const maxHeader = 32 << 10

// server has the limits of both listeners. Answers that last lift theirs.
func server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Listen serves h at addr until ctx is done, then lets requests end within the
// grace.
func Listen(ctx context.Context, addr string, h http.Handler, grace time.Duration, log *slog.Logger) error {
	srv := server(h, log)
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.Info("listening", "addr", l.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		return errors.Join(fmt.Errorf("requests did not end in time: %w", err), srv.Close())
	}
	return nil
}

// OpenBucket opens the bucket of the exports.
func OpenBucket(cfg config.Config) (*bucket.Bucket, error) {
	b, err := bucket.Open(bucket.Config{
		Endpoint: cfg.S3Endpoint, PublicEndpoint: cfg.S3PublicEndpoint, Region: cfg.S3Region, PathStyle: cfg.S3Addressing == "path",
		AccessKeyID: cfg.S3AccessKeyID, SecretKey: cfg.S3SecretAccessKey, Bucket: cfg.S3Bucket,
	})
	if err != nil {
		return nil, fmt.Errorf("S3_%w", err)
	}
	return b, nil
}

// OpenOriginals opens the bucket of the documents' own files; nil if there is
// none. It returns the port: a nil pointer in it would not be nil.
func OpenOriginals(cfg config.Config) (jobs.Files, error) {
	if cfg.S3SourceBucket == "" {
		return nil, nil
	}
	b, err := bucket.Open(bucket.Config{
		Endpoint: cfg.S3SourceEndpoint, PublicEndpoint: cfg.S3SourcePublicEndpoint, Region: cfg.S3SourceRegion,
		PathStyle:   cfg.S3SourceAddressing == "path",
		AccessKeyID: cfg.S3SourceAccessKeyID, SecretKey: cfg.S3SourceSecretAccessKey, Bucket: cfg.S3SourceBucket,
	})
	if err != nil {
		return nil, fmt.Errorf("S3_SOURCE_%w", err)
	}
	return b, nil
}

// storeRetry is the pause between self-tests of the store until one succeeds.
const storeRetry = 30 * time.Second

// TestStore runs the store's self-test as soon as the store answers, and logs
// what an operator should know.
func TestStore(ctx context.Context, files *bucket.Bucket, key string, log *slog.Logger) {
	for {
		lacks, err := files.SelfTest(ctx, key)
		for _, l := range lacks {
			log.Warn("object store", "lack", l)
		}
		if err == nil {
			log.Info("object store tested", "lacks", len(lacks))
			return
		}
		if ctx.Err() == nil {
			log.Error("object store self-test failed: exports will not succeed", "error", err)
		}
		select {
		case <-time.After(storeRetry):
		case <-ctx.Done():
			return
		}
	}
}
