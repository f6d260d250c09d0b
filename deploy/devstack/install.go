package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/parts"
)

// install brings what is missing from Debian's packages where it may: as root
// on a machine with apt-get. Elsewhere the message says what to install.
func install(ctx context.Context) error {
	_, err := parts.FindPostgres()
	if err == nil && parts.FindRedis() != "" {
		return nil
	}
	if _, aptErr := exec.LookPath("apt-get"); aptErr != nil || os.Geteuid() != 0 {
		return err // without Redis there is an embedded one
	}
	fmt.Fprintln(os.Stderr, "devstack: installing postgresql and redis-server from Debian's packages …")
	// Only the programs are wanted: no cluster of the system's own, no services.
	const script = `set -e
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
apt-get update -q
apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold postgresql redis-server`
	cmd := exec.CommandContext(ctx, "sh", "-c", script)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get: %w\n%s", err, out)
	}
	_, err = parts.FindPostgres()
	return err
}
