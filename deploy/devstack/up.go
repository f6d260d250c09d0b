package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/apt"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/demo"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/oidc"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/stack"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// whole is what up and demo take.
type whole struct {
	dir, api, worker string
	data             demodata.Options
}

func parseWhole(command string, args []string) (whole, error) {
	var w whole
	set := flag.NewFlagSet(command, flag.ContinueOnError)
	set.StringVar(&w.dir, "data", "", "folder of the data (up: .data; demo: a throw-away one)")
	set.StringVar(&w.api, "api", sibling("api"), "the api program")
	set.StringVar(&w.worker, "worker", sibling("worker"), "the worker program")
	dataFlags(set, &w.data)
	if err := parse(set, args); err != nil {
		return w, err
	}
	for _, program := range []string{w.api, w.worker} {
		if _, err := os.Stat(program); err != nil {
			return w, fmt.Errorf("the program %s is missing: run `make build` first", program)
		}
	}
	return w, nil
}

var say = teller(os.Stdout, "")

// start brings up the stack with api and worker on it.
func (w whole) start(ctx context.Context) (*stack.Stack, error) {
	if err := apt.Ensure(ctx, say); err != nil {
		return nil, err
	}
	say("Starting Postgres, Redis, S3, mail and OpenID Connect …")
	s, err := stack.Start(ctx, stack.Options{Dir: w.dir, Durable: true, Programs: true, Data: &w.data, Say: say})
	if err != nil {
		return nil, err
	}
	if err := s.StartPrograms(ctx, w.api, w.worker); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// up stays until it is told to end, or until something ends by itself.
func up(ctx context.Context, args []string) (err error) {
	w, err := parseWhole("up", args)
	if err != nil {
		return err
	}
	if w.dir == "" {
		w.dir = ".data"
	}
	s, err := w.start(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	env := s.Env()
	envFile := filepath.Join(w.dir, "stack.env")
	defer func() {
		say("\nTaking everything down …")
		err = errors.Join(err, s.Stop(), os.RemoveAll(envFile))
	}()
	if err := env.WriteFile(envFile); err != nil {
		return err
	}
	greet(env, envFile, filepath.Dir(s.Log("api")))
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.Failed():
		return err
	}
}

// interrupted drops the errors of what a signal has broken off.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// greet says where everything is.
func greet(env stack.Env, envFile, logs string) {
	say(`
Bulk Export is running.

  Pages      %s (sign in there, choose, click)
  API        the same address
  Inbox      %s
  OpenID     %s
  Logs       %s

  Project    %s
  owner      %-22s %s
  admin      %-22s %s
  no role    %-22s %s
  operator   %-22s
  password   %s, for all of them

In another terminal:

  source %s
  curl -sS -X POST "$API_URL/v1/projects/$DEMO_PROJECT/exports" \
    -H "Authorization: Bearer $API_KEY_OWNER" -H "Content-Type: application/json" \
    -d '{"kind":"conversations"}'

Ctrl-C takes everything down; the data stays.`,
		env.Get("API_URL"), env.Get("DEVSTACK_INBOX_URL"), env.Get("OIDC_ISSUER"), logs,
		demodata.DemoProject, demodata.OwnerEmail, demodata.OwnerKey, demodata.AdminEmail, demodata.AdminKey,
		demodata.OtherEmail, demodata.OtherKey, demodata.OperatorEmail, oidc.Password, envFile)
}

// runDemo runs one export on a whole stack and takes the stack down.
func runDemo(ctx context.Context, args []string) (err error) {
	began := time.Now()
	w, err := parseWhole("demo", args)
	if err != nil {
		return err
	}
	if w.dir == "" {
		if w.dir, err = throwAway(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(w.dir)) }()
	}
	s, err := w.start(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-s.Failed():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	env := s.Env()
	err = demo.Run(ctx, demo.Options{
		API: env.Get("API_URL"), Key: env.Get("API_KEY_OWNER"), Project: env.Get("DEMO_PROJECT"), Inbox: env.Get("DEVSTACK_INBOX_URL"),
		Folder: filepath.Join(".data", "downloads"), Out: os.Stdout,
	})
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // what broke it off says more
	}
	if err = errors.Join(err, s.Stop()); err == nil {
		say("The whole demo took %.1f s, with everything started and taken down again.", time.Since(began).Seconds())
	}
	return err
}

// throwAway makes a folder beside those of other demos that run.
func throwAway() (string, error) {
	parent := filepath.Join(".data", "demo")
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	return dir, passable(dir)
}

// passable lets the database's user through, who is not this one for root.
func passable(dir string) error {
	if err := os.Chmod(dir, 0o711); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return nil
}
