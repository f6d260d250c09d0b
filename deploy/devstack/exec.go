package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/stack"
)

// execute runs a command with a throw-away stack and returns its exit code.
func execute(ctx context.Context, args []string) (code int, err error) {
	set := flag.NewFlagSet("exec", flag.ExitOnError)
	keep := set.Bool("keep", false, "keep the data folder afterwards")
	if err := set.Parse(args); err != nil {
		return 2, err
	}
	if set.NArg() == 0 {
		return 2, errors.New("exec needs a command, as in: devstack exec -- make bench")
	}
	if err := install(ctx); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "devstack-")
	if err != nil {
		return 1, fmt.Errorf("data folder: %w", err)
	}
	// The database's own user must be able to reach its folder.
	if err := os.Chmod(dir, 0o755); err != nil {
		return 1, fmt.Errorf("data folder: %w", err)
	}
	if *keep {
		fmt.Fprintf(os.Stderr, "devstack: data in %s\n", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	warn := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "devstack: "+format+"\n", args...) }
	s, err := stack.Start(ctx, stack.Options{Dir: dir, Say: warn})
	if err != nil {
		return 1, err
	}
	code, err = command(ctx, set.Args(), s.Env())
	return code, errors.Join(err, s.Stop())
}

// command runs to its end; a signal to devstack is passed on first.
func command(ctx context.Context, args, env []string) (int, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// environment turns NAME=value lines into a map; the last of a name counts.
func environment(lines []string) map[string]string {
	m := make(map[string]string, len(lines))
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		m[name] = value
	}
	return m
}
