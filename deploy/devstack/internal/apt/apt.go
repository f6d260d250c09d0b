// Package apt installs what is missing from Debian's packages, where it may.
package apt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/postgres"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/redis"
)

// Ensure brings Postgres and Redis onto the machine: as root where there is
// apt-get. Elsewhere its error says what to install; without a Redis there is
// an embedded one.
func Ensure(ctx context.Context, say func(format string, args ...any)) error {
	var missing []string
	_, err := postgres.Find(ctx)
	if err != nil {
		missing = append(missing, "postgresql")
	}
	if redis.Find() == "" {
		missing = append(missing, "redis-server")
	}
	if len(missing) == 0 || !may() {
		return err
	}
	say("Installing %s from Debian's packages …", strings.Join(missing, " and "))
	if err := install(ctx, missing); err != nil {
		return err
	}
	_, err = postgres.Find(ctx)
	return err
}

func may() bool {
	_, err := exec.LookPath("apt-get")
	return err == nil && os.Geteuid() == 0
}

// guards keep the packages from doing more than to lie there: no service is
// started, no cluster is made on the usual port.
var guards = []struct {
	path, content string
	mode          fs.FileMode
}{
	{"/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755},
	{"/etc/postgresql-common/createcluster.d/devstack.conf", "create_main_cluster = false\n", 0o644},
}

func install(ctx context.Context, packages []string) (err error) {
	for _, g := range guards {
		placed, placeErr := place(g.path, g.content, g.mode)
		if placed {
			defer func() { err = errors.Join(err, os.Remove(g.path)) }()
		}
		if placeErr != nil {
			return fmt.Errorf("prepare apt-get: %w", placeErr)
		}
	}
	for _, args := range [][]string{
		{"-qq", "update"},
		append([]string{"-qq", "install", "--yes", "--no-install-recommends"}, packages...),
	} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// place writes a file unless the machine has one of its own.
func place(path, content string, mode fs.FileMode) (bool, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = f.WriteString(content)
	return true, errors.Join(err, f.Close())
}
