package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// programs makes a folder with server programs of a version.
func programs(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
	for _, name := range []string{"postgres", "initdb"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFindTakesTheNewest(t *testing.T) {
	old, newest, middle := programs(t, "9.6.24"), programs(t, "17.5 (Debian 17.5-1)"), programs(t, "16beta1")
	for name, path := range map[string]string{
		"in PATH":    strings.Join([]string{old, newest, middle, t.TempDir()}, ":"),
		"elsewhere":  "",
		"both":       middle,
		"a relative": ".:" + middle,
	} {
		got, err := find(t.Context(), path, []string{old, newest})
		if err != nil || got != newest {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

func TestMissingPostgresSaysWhatToInstall(t *testing.T) {
	for name, path := range map[string]string{"none": t.TempDir(), "too old": programs(t, "14.2"), "broken": programs(t, "")} {
		_, err := find(t.Context(), path, nil)
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "apt-get install -y postgresql") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// After a crash of the machine the number in the file may be anybody's.
func TestClearPIDRemovesAnotherProcessesMark(t *testing.T) {
	dir := t.TempDir()
	mark := filepath.Join(dir, "postmaster.pid")
	for _, pid := range []int{os.Getpid(), 1 << 30} {
		if err := os.WriteFile(mark, fmt.Appendf(nil, "%d\n%s\n", pid, dir), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := clearPID(t.Context(), dir); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(mark); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%d: still there: %v", pid, err)
		}
	}
}

// A folder of somebody's that happens to have the name stays as it is.
func TestForeignFolderIsKept(t *testing.T) {
	bin, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	precious := filepath.Join(dir, "main.go")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := initdb(t.Context(), bin, Options{Dir: dir, Password: "x"}); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}
