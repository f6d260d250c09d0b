// Command devstack runs everything that Bulk Export works with, for real and
// on loopback: for trying it, for developing it, for its tests. It needs Linux,
// PostgreSQL's server programs and, if it can be had, Redis or Valkey.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/s3"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

const usage = `usage: devstack <command> [flags]

  up            start everything and stay; Ctrl-C takes it down, the data stays
  demo          start everything, run one export as a user would, show it, end
  exec -- CMD   run CMD with a throw-away stack in its environment (for tests)
  fill          fill a chat platform's empty database with invented data
  init          set up a demo platform on components that run already

devstack <command> -h shows the flags.
`

func main() {
	// What the libraries report is for nobody's terminal, unless it is grave;
	// the openid provider tells of each request.
	slog.SetLogLoggerLevel(slog.LevelError)
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	os.Exit(run(os.Args[1], os.Args[2:]))
}

// run returns the exit code.
func run(command string, args []string) int {
	var err error
	switch command {
	case "up":
		err = withSignals(args, up)
	case "demo":
		err = withSignals(args, runDemo)
	case "fill":
		err = withSignals(args, fill)
	case "init":
		err = withSignals(args, initialise)
	case "exec":
		return execute(args)
	case s3.Command:
		err = s3.Serve(args)
	case "help", "-h", "--help":
		fmt.Print(usage)
		return 0
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	return report(err)
}

func report(err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	fmt.Fprintf(os.Stderr, "\ndevstack: %v\n", err)
	return 1
}

// endings are the signals that ask for an end.
var endings = []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}

// withSignals cancels the command's context at the first of them. The second
// ends the process at once, and its children with it.
func withSignals(args []string, command func(context.Context, []string) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), endings...)
	defer stop()
	context.AfterFunc(ctx, stop)
	return command(ctx, args)
}

// errUsage: the flag package has said what is wrong.
var errUsage = errors.New("usage")

func parse(set *flag.FlagSet, args []string) error {
	err := set.Parse(args)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		return errUsage
	}
	return err
}

// dataFlags say how much invented data is made.
func dataFlags(set *flag.FlagSet, o *demodata.Options) {
	set.Uint64Var(&o.Seed, "seed", 1, "of the invented data: the same seed gives the same rows")
	set.Int64Var(&o.Conversations.Rows, "rows", 10000, "conversations, over all projects")
	set.Int64Var(&o.Conversations.Bytes, "bytes", 0, "instead: about so many bytes of conversations")
	set.Int64Var(&o.Documents.Rows, "documents", 40, "documents, over all projects")
	set.Int64Var(&o.Documents.Bytes, "document-bytes", 0, "instead: about so many bytes of documents")
}

// sibling is a program in this one's folder.
func sibling(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

// teller returns a function that says a line.
func teller(w io.Writer, prefix string) func(format string, args ...any) {
	return func(format string, args ...any) {
		_, _ = fmt.Fprintf(w, prefix+format+"\n", args...) // for a person, who may have gone
	}
}
