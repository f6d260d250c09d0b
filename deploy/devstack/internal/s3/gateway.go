package s3

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

// Command is the hidden command of this very program that Start runs: Serve.
const Command = "_s3"

const secretVariable = "DEVSTACK_S3_SECRET"

// Serve runs the gateway; args are its address and its folder.
func Serve(args []string) error {
	if len(args) != 2 {
		return errors.New("this command is devstack's own")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	backend, err := backend(args[1])
	if err != nil {
		return fmt.Errorf("folder of the object store: %w", err)
	}
	return embedgw.RunVersityGW(ctx, backend, &embedgw.Config{
		RootUserAccess: AccessKey, RootUserSecret: os.Getenv(secretVariable), Region: Region,
		Ports: []string{args[0]}, MaxConnections: 5000, MaxRequests: 2000, MultipartMaxParts: 10000, Quiet: true,
	})
}

// backend keeps the objects' attributes with their files where the file system
// can, and beside them where it cannot: older kernels' tmpfs.
func backend(dir string) (*posix.Posix, error) {
	opts := posix.PosixOpts{
		CopyObjectThreshold: 5 << 30, // zero would refuse every copy
		NewDirPerm:          0o700,
	}
	if err := (meta.XattrMeta{}).Test(objects(dir)); err == nil {
		return posix.New(objects(dir), meta.XattrMeta{}, opts)
	}
	beside, err := meta.NewSideCar(attributes(dir))
	if err != nil {
		return nil, err
	}
	opts.SideCarDir = attributes(dir)
	return posix.New(objects(dir), beside, opts)
}
