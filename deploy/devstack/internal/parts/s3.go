package parts

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/proc"
)

// S3AccessKey and S3Region are fixed; the secret is made for each stack.
const (
	S3AccessKey = "devstack"
	S3Region    = "us-east-1"
)

// S3 is versitygw in a child process of its own: its backend changes the
// working directory of the whole process, and one process holds one gateway.
type S3 struct {
	Child  *proc.Child
	Client *minio.Client
	port   int
}

// S3Command is the hidden command of this very program that runs the gateway.
const S3Command = "_s3"

const s3SecretVariable = "DEVSTACK_S3_SECRET"

// ServeS3 is that command: args are the address and the folder.
func ServeS3(args []string) error {
	if len(args) != 2 {
		return errors.New("this command is for devstack itself")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	be, err := posix.New(args[1], meta.XattrMeta{}, posix.PosixOpts{CopyObjectThreshold: 5 << 30, Concurrency: 5000, NewDirPerm: 0o755})
	if err != nil {
		return fmt.Errorf("s3 folder: %w", err)
	}
	return embedgw.RunVersityGW(ctx, be, &embedgw.Config{
		RootUserAccess: S3AccessKey, RootUserSecret: os.Getenv(s3SecretVariable), Region: S3Region,
		Ports: []string{args[0]}, MaxConnections: 5000, MaxRequests: 2000, MultipartMaxParts: 10000, Quiet: true,
	})
}

// StartS3 runs the gateway over dir with the buckets given.
func StartS3(ctx context.Context, dir, log string, port int, secret string, buckets ...string) (*S3, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(self, S3Command, addr, dir)
	cmd.Env = append(os.Environ(), s3SecretVariable+"="+secret)
	child, err := proc.Start("s3", cmd, log)
	if err != nil {
		return nil, err
	}
	s := &S3{Child: child, port: port}
	if err = answers(ctx, port, child); err == nil {
		s.Client, err = OpenS3(ctx, s.URL(), S3AccessKey, secret, buckets...)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// OpenS3 connects to the store at endpoint and makes the buckets that are not
// there yet.
func OpenS3(ctx context.Context, endpoint, key, secret string, buckets ...string) (*minio.Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(key, secret, ""), Region: S3Region, BucketLookup: minio.BucketLookupPath, Secure: u.Scheme == "https",
	})
	if err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	for _, b := range buckets {
		err := client.MakeBucket(ctx, b, minio.MakeBucketOptions{Region: S3Region})
		if err != nil && minio.ToErrorResponse(err).Code != "BucketAlreadyOwnedByYou" {
			return nil, fmt.Errorf("s3 bucket %s: %w", b, err)
		}
	}
	return client, nil
}

// URL of the gateway.
func (s *S3) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", s.port) }

// Stop ends the gateway.
func (s *S3) Stop() error { return s.Child.Stop(syscall.SIGTERM, 10*time.Second) }
