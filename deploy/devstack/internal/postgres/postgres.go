// Package postgres runs a server of the system's own programs.
package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/proc"
)

// Superuser is the role that the cluster is made with.
const Superuser = "postgres"

// Options of a server.
type Options struct {
	Dir      string // made when it is not there
	Log      string
	Password string // the superuser's, from the cluster's making on
	// Durable keeps the data whole through a crash of the machine. Without it
	// everything is faster.
	Durable bool
	Failed  func(error)
}

// Server is a running one.
type Server struct {
	child *proc.Child
	host  string
	opts  Options
}

// Start runs a server at a free port of the loopback address.
func Start(ctx context.Context, port int, o Options) (*Server, error) {
	bin, err := Find(ctx)
	if err != nil {
		return nil, err
	}
	if err := initdb(ctx, bin, o); err != nil {
		return nil, fmt.Errorf("initdb: %w", err)
	}
	if err := clearPID(ctx, o.Dir); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	// The server itself rather than pg_ctl: it is to be a child of this process.
	// No socket: Debian's folder for it is closed to most users.
	args := []string{
		"-D", o.Dir, "-p", strconv.Itoa(port), "-k", "", "-c", "listen_addresses=127.0.0.1",
		"-c", "max_connections=300", "-c", "shared_buffers=256MB", "-c", "max_wal_size=2GB",
	}
	if !o.Durable {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	cmd := exec.Command(filepath.Join(bin, "postgres"), args...)
	if err := unprivileged(cmd); err != nil {
		return nil, err
	}
	// SIGINT is the fast shutdown, which closes open connections.
	child, err := proc.Start(cmd, proc.Options{Name: "postgres", Log: o.Log, Signal: syscall.SIGINT, Grace: 20 * time.Second, Failed: o.Failed})
	if err != nil {
		return nil, err
	}
	s := &Server{child: child, host: fmt.Sprintf("127.0.0.1:%d", port), opts: o}
	if err := child.Ready(ctx, s.probe); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) probe(ctx context.Context) error {
	db, err := pgx.Connect(ctx, s.URL(Superuser, s.opts.Password, "postgres"))
	if err != nil {
		return err
	}
	return db.Close(ctx)
}

// URL is for connecting as a role.
func (s *Server) URL(role, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(role, password), Host: s.host, Path: "/" + database}
	return u.String()
}

// AdminURL is for connecting as the superuser.
func (s *Server) AdminURL() string { return s.URL(Superuser, s.opts.Password, "postgres") }

// PID is the server's process.
func (s *Server) PID() int { return s.child.PID() }

// Stop ends the server; open connections are closed.
func (s *Server) Stop() error { return s.child.Stop() }

// initdb makes the cluster beside its place and moves it there when it is
// whole: what a failed attempt leaves is never taken for a cluster.
func initdb(ctx context.Context, bin string, o Options) (err error) {
	if _, err := os.Stat(filepath.Join(o.Dir, "PG_VERSION")); err == nil {
		return nil
	}
	if err := os.Remove(o.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("this folder holds something else than a database: %w", err)
	}
	making, pwfile := o.Dir+".new", o.Dir+".password"
	for _, half := range []string{making, pwfile} {
		if err := os.RemoveAll(half); err != nil {
			return err
		}
	}
	if err := os.Mkdir(making, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(pwfile, []byte(o.Password), 0o600); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(pwfile)) }()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", making, "-U", Superuser,
		"-E", "UTF8", "--no-locale", "-A", "scram-sha-256", "--pwfile", pwfile, "--no-sync")
	if err := unprivileged(cmd); err != nil {
		return err
	}
	if c := cmd.SysProcAttr.Credential; c != nil {
		for _, path := range []string{making, pwfile} {
			if err := os.Chown(path, int(c.Uid), int(c.Gid)); err != nil {
				return err
			}
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return os.Rename(making, o.Dir)
}

// clearPID waits for a server that is still ending because its devstack was
// killed, and removes its mark if the process is gone or is another by now:
// Postgres refuses to start beside any process with that number. The lock of
// the data folder says that no devstack is in charge of it.
func clearPID(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "postmaster.pid")
	own, err := os.Stat(dir)
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; {
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		line, _, _ := bytes.Cut(b, []byte("\n"))
		// A server works in its data folder.
		cwd, err := os.Stat(filepath.Join("/proc", string(line), "cwd"))
		if err != nil || !os.SameFile(cwd, own) {
			return os.Remove(path)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %s still runs on %s: end it first", line, dir)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
