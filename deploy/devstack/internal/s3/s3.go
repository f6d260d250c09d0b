// Package s3 runs an object store: versitygw over a folder, in a process of
// its own, as its backend changes the working folder of the whole process and
// one process holds one gateway.
package s3

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/proc"
)

// AccessKey and Region are fixed; the secret is each stack's own.
const (
	AccessKey = "devstack"
	Region    = "us-east-1"
)

// Options of a store.
type Options struct {
	Dir    string // absolute
	Log    string
	Secret string
	Failed func(error)
}

// Server is a running one.
type Server struct {
	child  *proc.Child
	addr   string
	secret string
}

// Start runs a store at a free port of the loopback address.
func Start(ctx context.Context, port int, o Options) (*Server, error) {
	for _, dir := range []string{objects(o.Dir), attributes(o.Dir)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("s3: %w", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	s := &Server{addr: fmt.Sprintf("127.0.0.1:%d", port), secret: o.Secret}
	cmd := exec.Command(self, Command, s.addr, o.Dir)
	cmd.Env = append(os.Environ(), secretVariable+"="+o.Secret)
	s.child, err = proc.Start(cmd, proc.Options{Name: "s3", Log: o.Log, Signal: syscall.SIGTERM, Grace: 10 * time.Second, Failed: o.Failed})
	if err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) ready(ctx context.Context) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	return s.child.Ready(ctx, func(ctx context.Context) error {
		_, err := c.ListBuckets(ctx)
		return err
	})
}

// objects and attributes are where the gateway keeps both; the latter stays
// empty where the file system takes attributes itself.
func objects(dir string) string    { return filepath.Join(dir, "objects") }
func attributes(dir string) string { return filepath.Join(dir, "attributes") }

// URL of the store.
func (s *Server) URL() string { return "http://" + s.addr }

// Client of the store.
func (s *Server) Client() (*minio.Client, error) {
	c, err := minio.New(s.addr, &minio.Options{
		Creds: credentials.NewStaticV4(AccessKey, s.secret, ""), Region: Region, BucketLookup: minio.BucketLookupPath,
		MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("s3 client: %w", err)
	}
	return c, nil
}

// PID is the store's process.
func (s *Server) PID() int { return s.child.PID() }

// Stop ends the store.
func (s *Server) Stop() error { return s.child.Stop() }
