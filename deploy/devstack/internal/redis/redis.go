// Package redis runs a Redis: a server of the system's own programs, or else
// one in this process.
package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/proc"
)

// Options of a server.
type Options struct {
	Name    string
	Dir     string
	Log     string
	Program string // as Find returns it; empty: a server in this process
	Failed  func(error)
}

// Server is a running one.
type Server struct {
	addr string
	stop func() error
}

// Find returns the path of a server program, or nothing.
func Find() string {
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Start runs a server at a free port of the loopback address.
func Start(ctx context.Context, port int, o Options) (*Server, error) {
	s := &Server{addr: fmt.Sprintf("127.0.0.1:%d", port)}
	if o.Program == "" {
		return s, s.embed(o.Name)
	}
	return s, s.run(ctx, port, o)
}

// run starts the program with the settings that a queue needs: nothing is
// evicted, and tasks survive a restart.
func (s *Server) run(ctx context.Context, port int, o Options) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("%s: %w", o.Name, err)
	}
	cmd := exec.Command(o.Program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", o.Dir,
		"--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction")
	child, err := proc.Start(cmd, proc.Options{Name: o.Name, Log: o.Log, Signal: syscall.SIGTERM, Grace: 10 * time.Second, Failed: o.Failed})
	if err != nil {
		return err
	}
	s.stop = child.Stop
	// It takes connections before it has read its file, and refuses commands.
	rdb := s.Client()
	defer rdb.Close()
	if err := child.Ready(ctx, func(ctx context.Context) error { return rdb.Ping(ctx).Err() }); err != nil {
		return errors.Join(err, child.Stop())
	}
	return nil
}

// embed runs a server in this process. Its clock stands still unless moved:
// keys with a limited life would live for ever.
func (s *Server) embed(name string) error {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(s.addr); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	done := make(chan struct{})
	go func() {
		const step = 100 * time.Millisecond
		tick := time.NewTicker(step)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.FastForward(step)
			case <-done:
				return
			}
		}
	}()
	s.stop = func() error {
		close(done)
		m.Close()
		return nil
	}
	return nil
}

// URL of the server's first database.
func (s *Server) URL() string { return "redis://" + s.addr + "/0" }

// Client of the server's first database.
func (s *Server) Client() *goredis.Client { return goredis.NewClient(&goredis.Options{Addr: s.addr}) }

// Stop ends the server.
func (s *Server) Stop() error { return s.stop() }
