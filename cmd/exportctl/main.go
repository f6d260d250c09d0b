// Command exportctl asks for exports from the command line, waits for them,
// downloads and checks their files.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bulkexport/bulkexport/internal/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv,
		asks: term.IsTerminal(int(os.Stdin.Fd())), draws: term.IsTerminal(int(os.Stderr.Fd())), shows: term.IsTerminal(int(os.Stdout.Fd())),
	}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// app is one run of the program.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string
	asks     bool // there is somebody to answer
	draws    bool // there is somebody to watch a bar
	shows    bool // the output is a terminal

	api       string
	tokenFile string
	json      bool
}

const long = `exportctl asks for exports of a project's conversations or documents, waits for
them, downloads their files and checks them.

The API's address comes from --api, EXPORT_API_URL or API_URL. The token, an API
key of the platform or a token of the sign-in provider, comes from
EXPORT_API_TOKEN or from a file (--token-file, EXPORT_API_TOKEN_FILE) that nobody
else can read; never from an argument, which other people on the machine can see.

Exit codes:
  0    it went well
  1    another error
  2    the command line is wrong
  3    no credentials, or none that are valid
  4    no such export or project, or no role in it, or the file was deleted
  5    the export failed
  6    the export was canceled
  7    it was not over within --timeout
  8    the file is not the one that was exported
  9    the service does not answer, or asks to come back later
  130  interrupted`

// run returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use: "exportctl", Short: "Export a project's conversations or documents", Long: long,
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		if err.Error() == "unknown flag: --token" {
			err = errors.New("a token is never taken from an argument, which others can see: set EXPORT_API_TOKEN, or name a file with --token-file")
		}
		return usageError{err}
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.api, "api", "", "address of the API")
	flags.StringVar(&a.tokenFile, "token-file", "", "file that holds the token")
	flags.BoolVar(&a.json, "json", false, "write what the API says, one JSON document a line; errors too")
	root.AddCommand(a.createCommand(), a.listCommand(), a.getCommand(), a.waitCommand(), a.cancelCommand(), a.extendCommand(),
		a.downloadCommand(), a.verifyCommand(), a.purgeCommand(), a.versionCommand())
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.tell(err)
	}
	return exitCode(err)
}

// exact wants so many arguments, and says which.
func exact(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			return usageError{fmt.Errorf("%s takes %d arguments, %d were given: exportctl %s", cmd.Name(), len(names), len(args), cmd.Use)}
		}
		return nil
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Say which version this is", Args: exact(), RunE: func(*cobra.Command, []string) error {
		version := "(unknown)"
		if info, ok := debug.ReadBuildInfo(); ok {
			version = info.Main.Version
		}
		_, err := fmt.Fprintln(a.out, "exportctl", version)
		return err
	}}
}

// client connects with the settings of this run.
func (a *app) client() (*client.Client, error) {
	url := first(a.api, a.env("EXPORT_API_URL"), a.env("API_URL"))
	if url == "" {
		return nil, usageError{fmt.Errorf("the API's address is not known: give --api or set EXPORT_API_URL")}
	}
	token, err := a.token()
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{URL: url, Token: token, Trouble: a.trouble})
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
