package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/proc"
)

// grace is a little more than the programs' own SHUTDOWN_GRACE.
const grace = 30 * time.Second

// StartPrograms runs api and worker on the stack and waits until both are
// ready. They end before anything that they work with.
func (s *Stack) StartPrograms(ctx context.Context, api, worker string) error {
	if err := s.ports.Release("api", "api-metrics", "worker-metrics"); err != nil {
		return err
	}
	g, started := errgroup.WithContext(ctx)
	children := make([]*proc.Child, 2)
	for i, path := range []string{api, worker} {
		name := []string{"api", "worker"}[i]
		g.Go(func() (err error) {
			children[i], err = s.startProgram(started, name, path)
			return err
		})
	}
	err := g.Wait()
	s.onStop(func() error { return stopAll(children) })
	return err
}

// startProgram returns the child also when it does not get ready: it is to be
// stopped together with the other.
func (s *Stack) startProgram(ctx context.Context, name, path string) (*proc.Child, error) {
	probes := name + "-metrics"
	env := s.Env()
	for i := range env {
		if env[i].Name == "METRICS_ADDR" {
			env[i].Value = s.ports.Addr(probes)
		}
	}
	cmd := exec.Command(path)
	cmd.Env = env.Over(os.Environ())
	child, err := proc.Start(cmd, proc.Options{Name: name, Log: s.Log(name), Signal: syscall.SIGTERM, Grace: grace, Failed: s.fail})
	if err != nil {
		return nil, err
	}
	return child, child.Ready(ctx, func(ctx context.Context) error {
		return ready(ctx, "http://"+s.ports.Addr(probes)+"/readyz")
	})
}

func ready(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, res.Status)
	}
	return nil
}

// stopAll gives all of them the same grace.
func stopAll(children []*proc.Child) error {
	errs := make([]error, len(children))
	var g errgroup.Group
	for i, c := range children {
		if c != nil {
			g.Go(func() error { errs[i] = c.Stop(); return nil })
		}
	}
	_ = g.Wait() // errs has them all
	return errors.Join(errs...)
}
