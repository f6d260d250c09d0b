package parts

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/proc"
)

// Redis is a server of the system's own programs, or else an embedded one.
type Redis struct {
	Child    *proc.Child // nil if embedded
	embedded *miniredis.Miniredis
	stop     chan struct{}
	port     int
}

// FindRedis returns the path of a server program, or nothing.
func FindRedis() string {
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// StartRedis runs a server over dir. The settings are those that the queue
// needs: nothing is evicted, and tasks survive a restart.
func StartRedis(ctx context.Context, name, dir, log string, port int) (*Redis, error) {
	path := FindRedis()
	if path == "" {
		return embedRedis(port)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir,
		"--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction")
	child, err := proc.Start(name, cmd, log)
	if err != nil {
		return nil, err
	}
	r := &Redis{Child: child, port: port}
	return r, answers(ctx, port, child)
}

// answers waits until a child listens at its port.
func answers(ctx context.Context, port int, child *proc.Child) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return c.Close()
		}
		select {
		case <-child.Done():
			return child.Ended()
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", child.Name, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// embedRedis runs a server in this process. Its clock stands still unless it
// is moved.
func embedRedis(port int) (*Redis, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	r := &Redis{embedded: m, stop: make(chan struct{}), port: port}
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.FastForward(time.Second)
			case <-r.stop:
				return
			}
		}
	}()
	return r, nil
}

// Embedded reports that no server program was found.
func (r *Redis) Embedded() bool { return r.embedded != nil }

// URL of the server's first database.
func (r *Redis) URL() string { return fmt.Sprintf("redis://127.0.0.1:%d/0", r.port) }

// Stop ends the server.
func (r *Redis) Stop() error {
	if r.embedded != nil {
		close(r.stop)
		r.embedded.Close()
		return nil
	}
	return r.Child.Stop(syscall.SIGTERM, 10*time.Second)
}
