package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/term"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/apt"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/stack"
)

// execute runs a command with a throw-away stack and returns its exit code.
func execute(args []string) int {
	set := flag.NewFlagSet("exec", flag.ContinueOnError)
	keep := set.Bool("keep", false, "keep the data folder and say where it is")
	if err := parse(set, args); err != nil {
		return report(err)
	}
	if set.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "devstack: exec needs a command, as in: devstack exec -- make bench")
		return 2
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, append(endings, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)...)
	code, err := throwAwayStack(signals, *keep, set.Args())
	return max(code, report(err))
}

var warn = teller(os.Stderr, "devstack: ")

func throwAwayStack(signals <-chan os.Signal, keep bool, args []string) (code int, err error) {
	dir, err := os.MkdirTemp("", "devstack-")
	if err != nil {
		return 0, fmt.Errorf("data folder: %w", err)
	}
	if keep {
		warn("the data is kept in %s", dir)
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if err := passable(dir); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan struct{})
	var s *stack.Stack
	go func() {
		defer close(started)
		if err = apt.Ensure(ctx, warn); err == nil {
			s, err = stack.Start(ctx, stack.Options{Dir: dir, Say: warn})
		}
	}()
	select {
	case sig := <-signals:
		cancel()
		<-started
		if s != nil {
			err = s.Stop()
		} else {
			err = nil // broken off
		}
		return 128 + int(sig.(syscall.Signal)), err
	case <-started:
	}
	if err != nil {
		return 0, err
	}
	code, err = command(s, signals, args)
	return code, errors.Join(err, s.Stop())
}

// command runs to its end with the stack in its environment. A component that
// ends meanwhile is told at once, as it explains what the command complains of.
func command(s *stack.Stack, signals <-chan os.Signal, args []string) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = s.Env().Over(os.Environ())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	// The death signal follows the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 127, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	failures := s.Failed()
	code := 0
	for {
		select {
		case sig := <-signals:
			if !fromTerminal(sig) {
				_ = cmd.Process.Signal(sig) // it may have ended this moment
			}
		case err := <-failures:
			warn("%v", err)
			code, failures = 1, nil
		case err := <-done:
			return exitCode(err, code)
		}
	}
}

// fromTerminal: a key pressed at the terminal signals the command as well.
func fromTerminal(sig os.Signal) bool {
	return (sig == os.Interrupt || sig == syscall.SIGQUIT) && term.IsTerminal(int(os.Stdin.Fd()))
}

// exitCode is the command's, as a shell tells it; a command that ended well on
// a broken stack has failed all the same.
func exitCode(err error, atLeast int) (int, error) {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return atLeast, err
	}
	if status := exit.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return exit.ExitCode(), nil
}
