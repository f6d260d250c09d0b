package parts

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/proc"
)

// ErrNoPostgres says what to install.
var ErrNoPostgres = errors.New("PostgreSQL 15 or newer is not installed: its server programs are neither in PATH nor in /usr/lib/postgresql. " +
	"On Debian or Ubuntu: sudo apt-get update && sudo apt-get install -y postgresql")

// Postgres is a server of the system's own programs.
type Postgres struct {
	Child    *proc.Child
	port     int
	password string
}

// FindPostgres returns the folder of the newest server programs.
func FindPostgres() (string, error) { return findPostgres("/usr/lib/postgresql") }

func findPostgres(installed string) (string, error) {
	dirs, _ := filepath.Glob(filepath.Join(installed, "*", "bin"))
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil && (version(dir) == 0 || version(dir) >= 15) {
			return dir, nil
		}
	}
	return "", ErrNoPostgres
}

func version(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin)))
	return n
}

// StartPostgres runs a server over dir, which is made when it is not there.
// Without durability it is faster, and a crash of the machine loses its data.
func StartPostgres(ctx context.Context, dir, log string, port int, password string, durable bool) (*Postgres, error) {
	bin, err := FindPostgres()
	if err != nil {
		return nil, err
	}
	if err := initdb(ctx, bin, dir, password); err != nil {
		return nil, err
	}
	args := []string{
		"-D", dir, "-p", strconv.Itoa(port), "-k", "", "-c", "listen_addresses=127.0.0.1",
		"-c", "max_connections=300", "-c", "shared_buffers=256MB", "-c", "max_wal_size=2GB",
	}
	if !durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	cmd := unprivileged(exec.Command(filepath.Join(bin, "postgres"), args...))
	child, err := proc.Start("postgres", cmd, log)
	if err != nil {
		return nil, err
	}
	p := &Postgres{child, port, password}
	if err := p.ready(ctx); err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// initdb makes the cluster beside its place and moves it there when it is
// whole: what a failed attempt leaves is never taken for a cluster.
func initdb(ctx context.Context, bin, dir, password string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	making, pwfile := dir+".new", dir+".pw"
	if err := os.RemoveAll(making); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	if err := os.WriteFile(pwfile, []byte(password), 0o600); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	defer func() { _ = os.Remove(pwfile) }()
	if err := os.Mkdir(making, 0o700); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	cmd := unprivileged(exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", making, "-U", "postgres",
		"-E", "UTF8", "--no-locale", "-A", "scram-sha-256", "--pwfile", pwfile, "--no-sync"))
	if c := cmd.SysProcAttr.Credential; c != nil {
		for _, path := range []string{making, pwfile} {
			if err := os.Chown(path, int(c.Uid), int(c.Gid)); err != nil {
				return fmt.Errorf("initdb: %w", err)
			}
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := os.Rename(making, dir); err != nil {
		return fmt.Errorf("initdb: %w", err)
	}
	return nil
}

// capDACOverride lets the child traverse a checkout below a private folder.
const capDACOverride = 1

// unprivileged drops root, which Postgres refuses.
func unprivileged(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	cmd.Dir = "/"
	if os.Geteuid() != 0 {
		return cmd
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		cmd.SysProcAttr.AmbientCaps = []uintptr{capDACOverride}
		break
	}
	return cmd
}

func (p *Postgres) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		db, err := pgx.Connect(ctx, p.URL("postgres", p.password, "postgres"))
		if err == nil {
			return db.Close(ctx)
		}
		select {
		case <-p.Child.Done():
			return p.Child.Ended()
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL is for connecting as a role.
func (p *Postgres) URL(role, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: fmt.Sprintf("127.0.0.1:%d", p.port), Path: "/" + database}
	return u.String()
}

// Stop ends the server; open connections are closed.
func (p *Postgres) Stop() error { return p.Child.Stop(syscall.SIGINT, 20*time.Second) }
