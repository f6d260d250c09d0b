// Command devstack runs everything that Bulk Export works with, for real and
// on loopback: for trying it, for developing it, for its tests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/parts"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

const usage = `usage: devstack <command> [flags]

  up            start everything and stay; Ctrl-C takes it down, the data stays
  demo          start everything, run one export as a user would, show it, end
  exec -- CMD   run CMD with a throw-away stack in its environment (for tests)
  fill          fill an empty platform database: -database URL
  init          set up a demo platform on components that run already, named by
                the service's variables and DEVSTACK_ADMIN_DATABASE_URL,
                DEVSTACK_ROLE_PASSWORD (docker-compose.yml does this)

devstack <command> -h shows the flags.
`

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1], os.Args[2:])
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "\ndevstack: %v\n", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(ctx context.Context, command string, args []string) (code int, err error) {
	switch command {
	case "up":
		return 0, up(ctx, args)
	case "demo":
		return 0, demo(ctx, args)
	case "exec":
		return execute(ctx, args)
	case "fill":
		return 0, fill(ctx, args)
	case "init":
		return 0, initialise(ctx, args)
	case parts.S3Command:
		return 0, parts.ServeS3(args)
	}
	fmt.Fprint(os.Stderr, usage)
	return 2, nil
}

// flags are what up and demo take.
type flags struct {
	dir, api, worker string
	data             demodata.Options
}

func parse(command, dir string, args []string) (flags, error) {
	self, err := os.Executable()
	if err != nil {
		return flags{}, fmt.Errorf("where am I: %w", err)
	}
	var f flags
	set := flag.NewFlagSet(command, flag.ExitOnError)
	set.StringVar(&f.dir, "data", dir, "folder of the data")
	set.StringVar(&f.api, "api", filepath.Join(filepath.Dir(self), "api"), "the api program")
	set.StringVar(&f.worker, "worker", filepath.Join(filepath.Dir(self), "worker"), "the worker program")
	dataFlags(set, &f.data)
	if err := set.Parse(args); err != nil {
		return f, err
	}
	for _, program := range []string{f.api, f.worker} {
		if _, err := os.Stat(program); err != nil {
			return f, fmt.Errorf("%s is missing: run `make build`", program)
		}
	}
	return f, nil
}

func dataFlags(set *flag.FlagSet, o *demodata.Options) {
	set.Uint64Var(&o.Seed, "seed", 1, "of the invented data")
	set.Int64Var(&o.Conversations.Rows, "rows", 5000, "conversations, over all projects")
	set.Int64Var(&o.Conversations.Bytes, "bytes", 0, "instead: about so many bytes of conversations")
	set.Int64Var(&o.Documents.Rows, "documents", 40, "documents, over all projects")
	set.Int64Var(&o.Documents.Bytes, "document-bytes", 0, "instead: about so many bytes of documents")
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// errEnded is how a person's Ctrl-C ends what waits.
var errEnded = errors.New("stopped")
