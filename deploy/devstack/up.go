package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/parts"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/proc"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/stack"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// running is a stack with both programs on it.
type running struct {
	*stack.Stack
	api, worker *proc.Child
	env         map[string]string
	failed      <-chan error
}

// programGrace is a little more than the programs' own SHUTDOWN_GRACE.
const programGrace = 30 * time.Second

// start brings up the stack, api and worker, and waits until they are ready.
func start(ctx context.Context, f flags) (r *running, err error) {
	if err := install(ctx); err != nil {
		return nil, err
	}
	s, err := stack.Start(ctx, stack.Options{Dir: f.dir, Durable: true, Data: &f.data, Say: say})
	if err != nil {
		return nil, err
	}
	r = &running{Stack: s, env: environment(s.Env()), failed: s.Failed()}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	if r.api, err = program("api", f.api, s.Log("api"), s.Env()); err != nil {
		return nil, err
	}
	if r.worker, err = program("worker", f.worker, s.Log("worker"), s.WorkerEnv()); err != nil {
		return nil, err
	}
	for child, env := range map[*proc.Child]map[string]string{r.api: r.env, r.worker: environment(s.WorkerEnv())} {
		if err := r.ready(ctx, child, "http://"+env["METRICS_ADDR"]+"/readyz"); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func program(name, path, log string, env []string) (*proc.Child, error) {
	cmd := exec.Command(path)
	cmd.Env = env
	return proc.Start(name, cmd, log)
}

func (r *running) ready(ctx context.Context, child *proc.Child, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-child.Done():
			return child.Ended()
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", child.Name, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// wait returns when something ends that should not, or when ctx is done.
func (r *running) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.failed:
		return err
	case <-r.api.Done():
		return r.api.Ended()
	case <-r.worker.Done():
		return r.worker.Ended()
	}
}

// stop takes the programs down before what they work with.
func (r *running) stop() error {
	var errs []error
	for _, c := range []*proc.Child{r.worker, r.api} {
		if c != nil {
			errs = append(errs, c.Stop(syscall.SIGTERM, programGrace))
		}
	}
	return errors.Join(append(errs, r.Stop())...)
}

func up(ctx context.Context, args []string) (err error) {
	f, err := parse("up", ".data", args)
	if err != nil {
		return err
	}
	r, err := start(ctx, f)
	if err != nil {
		return err
	}
	defer func() {
		say("\nTaking everything down …")
		err = errors.Join(err, r.stop())
	}()
	envFile := filepath.Join(f.dir, "stack.env")
	if err := r.WriteEnv(envFile); err != nil {
		return err
	}
	defer func() { _ = os.Remove(envFile) }()
	r.greet(envFile)
	return r.wait(ctx)
}

// greet says where everything is.
func (r *running) greet(envFile string) {
	say(`
Bulk Export is running.

  API        %s
  Inbox      %s
  Sign-in    %s
  Logs       %s

  project    %s
  owner      %s   key %s
  admin      %s   key %s
  no role    %s   key %s
  operator   %s   password of all: %s

  . %s
  curl -X POST "$API_URL/v1/projects/$DEMO_PROJECT/exports" \
    -H "Authorization: Bearer $API_KEY_OWNER" -H "Content-Type: application/json" \
    -d '{"kind":"conversations"}'

Ctrl-C takes it down; the data stays.`,
		r.env["API_URL"], r.env["DEVSTACK_INBOX_URL"], r.env["OIDC_ISSUER"], filepath.Dir(r.Log("api")),
		demodata.DemoProject, demodata.OwnerEmail, demodata.OwnerKey, demodata.AdminEmail, demodata.AdminKey,
		demodata.OtherEmail, demodata.OtherKey, demodata.OperatorEmail, parts.DemoPassword, envFile)
}
