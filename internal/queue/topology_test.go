package queue_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/queue"
)

// server starts a Redis of the test's own and returns its address.
func server(t *testing.T, args ...string) (addr string, stop func()) {
	t.Helper()
	program, err := exec.LookPath("valkey-server")
	if err != nil {
		program = "redis-server"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = l.Addr().String()
	_ = l.Close()
	_, port, _ := strings.Cut(addr, ":")
	cmd := exec.Command(program, append(args, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := false
	stop = func() {
		if !done {
			done = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	rdb := redis.NewClient(&redis.Options{Addr: addr, Password: "secret"})
	t.Cleanup(func() { _ = rdb.Close() })
	eventually(t, "Redis answers", func() bool {
		err := rdb.Ping(t.Context()).Err()
		return err == nil || strings.Contains(err.Error(), "without any password")
	})
	return addr, stop
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// flows rings until a ticket arrives, and returns how long that took.
func flows(t *testing.T, q *queue.Queue, got <-chan jobs.Ticket, dispatch int) time.Duration {
	t.Helper()
	began := time.Now()
	eventually(t, "a ticket arrives", func() bool {
		_ = q.Enqueue(t.Context(), jobs.Ticket{Job: "j", Dispatch: dispatch, Lane: jobs.Large})
		select {
		case ticket := <-got:
			return ticket.Dispatch == dispatch
		case <-time.After(200 * time.Millisecond):
			return false
		}
	})
	return time.Since(began)
}

// TestSentinel: tickets flow through a master with a password, and again after
// it has died.
func TestSentinel(t *testing.T) {
	auth := []string{"--requirepass", "secret", "--masterauth", "secret"}
	master, kill := server(t, auth...)
	host, port, _ := strings.Cut(master, ":")
	replica, _ := server(t, append(auth, "--replicaof", host+" "+port)...)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	text := fmt.Sprintf("sentinel monitor exports %s %s 1\nsentinel auth-pass exports secret\nsentinel down-after-milliseconds exports 1000\nsentinel failover-timeout exports 5000\n", host, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel, _ := server(t, conf, "--sentinel")
	watch := redis.NewSentinelClient(&redis.Options{Addr: sentinel})
	t.Cleanup(func() { _ = watch.Close() })
	eventually(t, "the sentinel knows the replica", func() bool {
		replicas, err := watch.Replicas(t.Context(), "exports").Result()
		return err == nil && len(replicas) == 1 && replicas[0]["master-link-status"] == "ok"
	})
	q, err := queue.Open("redis-sentinel://:secret@" + sentinel + ",127.0.0.1:1/0?master=exports")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	if err := q.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := serve(t, q, map[jobs.Lane]int{jobs.Large: 1})
	flows(t, q, got, 1)
	kill()
	t.Logf("tickets flow again %s after the master's death", flows(t, q, got, 2))
	addr, err := watch.GetMasterAddrByName(t.Context(), "exports").Result()
	if err != nil || strings.Join(addr, ":") != replica {
		t.Errorf("the master is %v, want %s: %v", addr, replica, err)
	}
}

// TestCluster: each lane's queue is one slot of a cluster.
func TestCluster(t *testing.T) {
	var nodes []string
	for i := range 3 {
		addr, _ := server(t, "--cluster-enabled", "yes")
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = rdb.Close() })
		if err := rdb.ClusterAddSlotsRange(t.Context(), i*5462, min(16383, (i+1)*5462-1)).Err(); err != nil {
			t.Fatal(err)
		}
		for _, other := range nodes {
			host, port, _ := strings.Cut(other, ":")
			if err := rdb.ClusterMeet(t.Context(), host, port).Err(); err != nil {
				t.Fatal(err)
			}
		}
		nodes = append(nodes, addr)
	}
	q, err := queue.Open("redis-cluster://" + strings.Join(nodes, ","))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	eventually(t, "the cluster is up", func() bool { return q.Ping(t.Context()) == nil })
	flows(t, q, serve(t, q, map[jobs.Lane]int{jobs.Large: 1, jobs.Small: 1}), 1)
	if n, err := q.Prune(t.Context(), false); n != 0 || err != nil {
		t.Error(n, err)
	}
}
