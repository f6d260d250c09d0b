package proc

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string, grace time.Duration, failed func(error)) *Child {
	t.Helper()
	c, err := Start(exec.Command("sh", "-c", script), Options{
		Name: "sh", Log: filepath.Join(t.TempDir(), "log", "sh.log"), Signal: syscall.SIGTERM, Grace: grace, Failed: failed,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	return c
}

// says waits until the child has written something to its log.
func says(t *testing.T, c *Child, text string) {
	t.Helper()
	err := c.Ready(t.Context(), func(context.Context) error {
		if !strings.Contains(string(c.tail()), text) {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnexpectedEndIsTold(t *testing.T) {
	failed := make(chan error, 1)
	start(t, "echo the reason; exit 3", time.Second, func(err error) { failed <- err })
	err := <-failed
	for _, want := range []string{"sh ended unexpectedly", "exit status 3", "the reason"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

func TestReadyTellsOfAnEnd(t *testing.T) {
	c := start(t, "exit 0", time.Second, nil)
	err := c.Ready(t.Context(), func(context.Context) error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "ended unexpectedly") {
		t.Error(err)
	}
}

func TestStop(t *testing.T) {
	c := start(t, `trap "exit 0" TERM; echo there; while :; do sleep 0.01; done`, 10*time.Second,
		func(err error) { t.Errorf("told: %v", err) })
	says(t, c, "there")
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if err := c.Stop(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestStopKillsAfterTheGrace(t *testing.T) {
	c := start(t, `trap "" TERM; echo there; while :; do sleep 0.01; done`, 50*time.Millisecond, nil)
	says(t, c, "there")
	if err := c.Stop(); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Error(err)
	}
	<-c.Done()
}
