package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// build makes the command once for these tests.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "devstack")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func TestExec(t *testing.T) {
	devstack := build(t)
	var out bytes.Buffer
	cmd := exec.Command(devstack, "exec", "--", "sh", "-c", `echo "$DATABASE_URL $S3_BUCKET"; exit 7`)
	cmd.Stdout = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("the command's exit code is lost: %v", err)
	}
	if got := out.String(); !strings.HasPrefix(got, "postgres://bulkexport:") || !strings.HasSuffix(got, " exports\n") {
		t.Errorf("variables: %q", got)
	}
}

// A signal ends the command first, and leaves no process and no folder behind.
func TestExecInterrupted(t *testing.T) {
	devstack := build(t)
	tmp := t.TempDir()
	if err := os.Chmod(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(devstack, "exec", "--", "sh", "-c", `echo started; exec sleep 600`)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("exit code 0 after a signal")
	}
	left, err := filepath.Glob(filepath.Join(tmp, "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestMissingProgramsAreNamed(t *testing.T) {
	err := up(context.Background(), []string{"-data", t.TempDir(), "-api", "/nonexistent/api"})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("%v", err)
	}
}

func TestShorten(t *testing.T) {
	if got := shorten("short\n"); got != "short" {
		t.Errorf("%q", got)
	}
	long := shorten(strings.Repeat("é", shown))
	if !strings.HasSuffix(long, "é …") || strings.ContainsRune(long, '\uFFFD') {
		t.Errorf("%q", long[len(long)-10:])
	}
}
