package api_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/store"
)

// nobody listens, takes every connection and never says a word.
func nobody(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		var held []net.Conn
		defer func() {
			for _, c := range held {
				_ = c.Close()
			}
		}()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c)
		}
	}()
	return l.Addr().String()
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A dependency that takes the connection and says nothing gives up with the
// call's deadline, as one that is worth trying again: the answer is a 503.
func TestSilentDependencies(t *testing.T) {
	addr := nobody(t)
	st := must(store.Open(t.Context(), "postgres://u@"+addr+"/d?sslmode=disable", "test"))(t)
	t.Cleanup(st.Close)
	source := must(platform.OpenSource(t.Context(), "postgres://u@"+addr+"/d?sslmode=disable", "test", 2))(t)
	t.Cleanup(source.Close)
	files := must(bucket.Open(bucket.Config{
		Endpoint: "http://" + addr, Region: "us-east-1", PathStyle: true, AccessKeyID: "k", SecretKey: "s", Bucket: "exports",
	}))(t)
	calls := map[string]func(context.Context) error{
		"own database": func(ctx context.Context) error { _, err := st.Get(ctx, id); return err },
		"audit":        func(ctx context.Context) error { return st.Record(ctx, jobs.AuditEntry{}) },
		"API key":      func(ctx context.Context) error { _, err := source.KeyEmail(ctx, "uc_x"); return err },
		"original":     func(ctx context.Context) error { _, _, err := source.Original(ctx, "p", 1); return err },
		"object":       func(ctx context.Context) error { _, err := files.Open(ctx, "k"); return err },
	}
	for name, url := range map[string]string{
		"roles": "redis://" + addr, "roles with TLS": "rediss://" + addr, "sentinels": "redis-sentinel://" + addr + "/0?master=m",
		"cluster": "redis-cluster://" + addr,
	} {
		roles := must(platform.OpenRoles(url))(t)
		t.Cleanup(func() { _ = roles.Close() })
		calls[name] = func(ctx context.Context) error { _, err := roles.Role(ctx, "p", "a@b"); return err }
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			began := time.Now()
			err := call(ctx)
			var down *jobs.Unavailable
			if took := time.Since(began); !errors.As(err, &down) || took < 250*time.Millisecond || took > 5*time.Second {
				t.Errorf("%v after %s", err, took)
			}
		})
	}
}
