// Command bench measures an export against what else could make the same file:
// psql into gzip or pigz, the platform's own exporter, and the floor below which
// no exporter comes on this machine. It prints Markdown, for docs/performance.md.
//
//	make bench ARGS='-size 64MB -runs 3 -only ours-local,psql-gzip6'
//
// It needs the development stack around it, which "make bench" starts, and
// a machine that does nothing else meanwhile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := bench
	if len(os.Args) > 1 && os.Args[1] == childCommand {
		run = child
	}
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the command line.
type options struct {
	size   int64
	sizes  []int64 // of the growth table; none: it is not asked for
	runs   int
	kinds  []jobs.Kind
	chosen []contender
}

func parse(args []string) (o options, err error) {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	size := set.String("size", "1GB", "JSON lines of the exported project, in each kind")
	set.IntVar(&o.runs, "runs", 5, "measured rounds")
	kinds := set.String("kinds", "conversations,documents", "what to export")
	only := set.String("only", strings.Join(contenderNames(), ","), "which contenders to run")
	growth := set.Bool("growth", false, "measure our own exporter at several sizes, too")
	sizes := set.String("sizes", "0.25GB,1GB,4GB", "the sizes of -growth")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if set.NArg() > 0 || o.runs < 1 {
		return o, errors.New("only flags are expected, and at least one run; -h lists them")
	}
	if o.size, err = parseSize(*size); err != nil {
		return o, err
	}
	for s := range strings.SplitSeq(*sizes, ",") {
		n, err := parseSize(s)
		if err != nil {
			return o, err
		}
		if *growth {
			o.sizes = append(o.sizes, n)
		}
	}
	for k := range strings.SplitSeq(*kinds, ",") {
		kind := jobs.Kind(k)
		if kind != jobs.Conversations && kind != jobs.Documents {
			return o, fmt.Errorf("%q is no kind of export", k)
		}
		o.kinds = append(o.kinds, kind)
	}
	o.chosen, err = choose(strings.Split(*only, ","))
	return o, err
}

// parseSize reads sizes such as 64MB and 0.25GB, in powers of ten.
func parseSize(s string) (int64, error) {
	for unit, factor := range map[string]float64{"GB": 1e9, "MB": 1e6} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err == nil && n > 0 {
				return int64(n * factor), nil
			}
		}
	}
	return 0, fmt.Errorf("%q is no size such as 64MB or 0.25GB", s)
}

// choose keeps the order of the table of contenders.
func choose(names []string) (chosen []contender, err error) {
	for _, name := range names {
		if !slices.Contains(contenderNames(), name) {
			return nil, fmt.Errorf("%q is no contender: there are %s", name, strings.Join(contenderNames(), ", "))
		}
	}
	for _, c := range contenders {
		if slices.Contains(names, c.name) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}

// bench runs everything that was asked for.
func bench(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := prerequisites(o.chosen); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := openStage(ctx, dir, o.kinds)
	if err != nil {
		return err
	}
	defer s.close(ctx)

	var results []result
	for _, kind := range o.kinds {
		r, err := s.measure(ctx, kind, o.size, o.runs, o.chosen)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		results = append(results, r)
	}
	var report strings.Builder
	if err := s.heading(ctx, &report, o); err != nil {
		return err
	}
	for _, r := range results {
		r.table(&report)
	}
	ratioTable(&report, results)
	fmt.Print(report.String())
	if len(o.sizes) == 0 {
		return nil
	}
	var growth strings.Builder
	if err := s.growth(ctx, &growth, o); err != nil {
		return err
	}
	fmt.Print(growth.String())
	return nil
}

// prerequisites tells all that is missing at once.
func prerequisites(chosen []contender) error {
	var errs []error
	for _, name := range []string{
		adminVar, serviceVar, sourceVar, "S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "S3_BUCKET",
	} {
		if os.Getenv(name) == "" {
			errs = append(errs, fmt.Errorf("%s is not set: run this as `make bench`", name))
		}
	}
	packages := map[string]string{"psql": "postgresql-client", "gzip": "gzip", "pigz": "pigz"}
	missing := map[string]bool{}
	for _, c := range chosen {
		for _, program := range c.needs() {
			if _, err := exec.LookPath(program); err != nil && !missing[program] {
				missing[program] = true
				errs = append(errs, fmt.Errorf("%s is not installed: apt-get install %s", program, packages[program]))
			}
		}
	}
	return errors.Join(errs...)
}

// say tells on standard error what is going on; the tables go to standard output.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
