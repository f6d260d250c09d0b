// Package stack puts the components together into one that Bulk Export can
// run on: ports, databases, roles, demo data, and the variables that name them.
package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/mailsink"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/oidc"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/ports"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/postgres"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/redis"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/s3"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/seed"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// Options of a stack.
type Options struct {
	Dir      string
	Durable  bool // false: faster, and lost with the machine
	Programs bool // also reserve ports for api and worker
	// Data fills the tables when they are made; nil leaves them empty.
	Data *demodata.Options
	Say  func(format string, args ...any)
}

// Stack is a running set of components.
type Stack struct {
	dir      string
	opts     Options
	memory   memory
	ports    *ports.Set
	failed   chan error
	postgres *postgres.Server
	queue    *redis.Server // the service's
	roles    *redis.Server // the platform's
	s3       *s3.Server
	mail     *mailsink.Sink
	oidc     *oidc.Provider

	mu    sync.Mutex
	stops []func() error
}

// Start brings all components up, or none.
func Start(ctx context.Context, o Options) (s *Stack, err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if err := lock(dir); err != nil {
		return nil, err
	}
	s = &Stack{dir: dir, opts: o, failed: make(chan error, 1)}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	if err := s.reserve(); err != nil {
		return err
	}
	if err := s.ports.Release("postgres", "queue", "roles", "s3"); err != nil {
		return err
	}
	// The slowest is Postgres, above all when its cluster has to be made.
	g, started := errgroup.WithContext(ctx)
	g.Go(func() error { return s.startPostgres(started) })
	g.Go(func() (err error) { s.queue, err = s.startRedis(started, "queue"); return err })
	g.Go(func() (err error) { s.roles, err = s.startRedis(started, "roles"); return err })
	g.Go(func() error { return s.startS3(started) })
	g.Go(s.startServers)
	if err := g.Wait(); err != nil {
		return err
	}
	return s.seed(ctx)
}

// reserve takes the ports of the time before, where they are free.
func (s *Stack) reserve() (err error) {
	if s.memory, err = recall(s.dir); err != nil {
		return err
	}
	names := []string{"postgres", "queue", "roles", "s3", "smtp", "inbox", "oidc"}
	if s.opts.Programs {
		names = append(names, "api", "api-metrics", "worker-metrics")
	}
	if s.ports, err = ports.Reserve(names, s.memory.Ports); err != nil {
		return err
	}
	s.memory.Ports = s.ports.Numbers()
	return s.memory.keep(s.dir)
}

// onStop is called with what takes a component down again.
func (s *Stack) onStop(stop func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stops = append(s.stops, stop)
}

func (s *Stack) startPostgres(ctx context.Context) error {
	var err error
	s.postgres, err = postgres.Start(ctx, s.ports.Numbers()["postgres"], postgres.Options{
		Dir: s.path("postgres"), Log: s.Log("postgres"), Password: s.memory.PostgresPassword,
		Durable: s.opts.Durable, Failed: s.fail,
	})
	if err == nil {
		s.onStop(s.postgres.Stop)
	}
	return err
}

func (s *Stack) startRedis(ctx context.Context, name string) (*redis.Server, error) {
	r, err := redis.Start(ctx, s.ports.Numbers()[name], redis.Options{
		Name: name, Dir: s.path(name), Log: s.Log(name), Program: redis.Find(), Failed: s.fail,
	})
	if err == nil {
		s.onStop(r.Stop)
	}
	return r, err
}

func (s *Stack) startS3(ctx context.Context) error {
	var err error
	s.s3, err = s3.Start(ctx, s.ports.Numbers()["s3"], s3.Options{Dir: s.path("s3"), Log: s.Log("s3"), Secret: s.memory.S3Secret, Failed: s.fail})
	if err == nil {
		s.onStop(s.s3.Stop)
	}
	return err
}

// startServers starts those that run in this process.
func (s *Stack) startServers() (err error) {
	s.oidc = oidc.Start(s.ports.Listener("oidc"), s.fail,
		demodata.OwnerEmail, demodata.AdminEmail, demodata.OtherEmail, demodata.OperatorEmail)
	s.onStop(s.oidc.Stop)
	s.mail, err = mailsink.Start(s.path("mail"), s.ports.Listener("smtp"), s.ports.Listener("inbox"), s.fail)
	if err == nil {
		s.onStop(s.mail.Stop)
	}
	return err
}

func (s *Stack) seed(ctx context.Context) error {
	if redis.Find() == "" {
		s.opts.Say("Neither valkey-server nor redis-server is installed: an embedded Redis takes their place. It keeps nothing over a restart.")
	}
	store, err := s.s3.Client()
	if err != nil {
		return err
	}
	roles := s.roles.Client()
	defer roles.Close()
	return seed.Run(ctx, seed.Target{
		AdminURL: s.postgres.AdminURL(), ServiceURL: s.url(serviceRole), SourceURL: s.url(sourceRole),
		Roles: roles, Store: store, Region: s3.Region, Exports: exportsBucket, Originals: originalsBucket,
		Data: s.opts.Data, Say: s.opts.Say,
	})
}

func (s *Stack) path(name string) string { return filepath.Join(s.dir, name) }

// Log is the file that the output of a process goes to.
func (s *Stack) Log(name string) string { return s.path(filepath.Join("log", name+".log")) }

// fail notes the first component that ends by itself; often it takes others along.
func (s *Stack) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// Failed tells the first component that has ended without having been stopped.
func (s *Stack) Failed() <-chan error { return s.failed }

// Stop takes everything down, last started first.
func (s *Stack) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, stop := range slices.Backward(s.stops) {
		errs = append(errs, stop())
	}
	s.stops = nil
	if s.ports != nil {
		errs = append(errs, s.ports.Close())
	}
	return errors.Join(append(errs, unlock(s.dir))...)
}
