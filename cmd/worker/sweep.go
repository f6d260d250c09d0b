package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/bulkexport/bulkexport/internal/boot"
	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
)

var commands = []boot.Command{
	{Name: "sweep", Run: sweep, Usage: `  sweep        remove what is over its time now, instead of within a minute
    -dry-run   only say what would be removed
    -all       every orphan, however many there are
`},
	{Name: "purge", Run: purge, Usage: `  purge        end and remove all exports of a project
    -project   its name
    -yes       do it; without, only say what would be removed
`},
}

// newSweeper makes the sweeper of an installation.
func newSweeper(cfg config.Config, p *parts, env jobs.Env) *jobs.Sweeper {
	shelf, roll := bucket.Shelf{Bucket: p.files, Prefix: cfg.S3Prefix}, platform.Roll{Source: p.source, Roles: p.roles}
	return jobs.NewSweeper(p.store, p.store, shelf, roll, p.queue, jobs.Keep{Jobs: cfg.JobRetention, Audit: cfg.AuditRetention}, env)
}

func sweep(ctx context.Context, cfg config.Config, args []string, out io.Writer, log *slog.Logger) error {
	o := jobs.SweepOptions{Now: true}
	flags := flag.NewFlagSet("sweep", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.BoolVar(&o.Dry, "dry-run", false, "only say what would be removed")
	flags.BoolVar(&o.All, "all", false, "every orphan, however many there are")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p, err := open(ctx, cfg, 1)
	if err != nil {
		return err
	}
	defer p.close()
	r, err := newSweeper(cfg, p, jobs.Env{Now: time.Now, Log: log}).Pass(ctx, o)
	if o.Dry {
		if _, err := fmt.Fprintln(out, "a dry run: nothing is removed"); err != nil {
			return err
		}
	}
	return errors.Join(err, r.Print(out))
}

func purge(ctx context.Context, cfg config.Config, args []string, out io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("purge", flag.ContinueOnError)
	flags.SetOutput(out)
	project := flags.String("project", "", "its name")
	yes := flags.Bool("yes", false, "do it; without, only say what would be removed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *project == "" {
		return fmt.Errorf("name the project: worker purge -project NAME")
	}
	p, err := open(ctx, cfg, 1)
	if err != nil {
		return err
	}
	defer p.close()
	env := jobs.Env{Now: time.Now, Log: log}
	ids, moves, err := p.store.PurgeProject(ctx, *project, jobs.Principal{Email: "operator"}, !*yes)
	if err != nil {
		return err
	}
	for _, m := range moves {
		env.Moved(m)
	}
	if !*yes {
		_, err = fmt.Fprintf(out, "%d exports of %q would be ended and removed; repeat with -yes to do it:\n%s\n", len(ids), *project, strings.Join(ids, "\n"))
		return err
	}
	r, err := newSweeper(cfg, p, env).Pass(ctx, jobs.SweepOptions{})
	return errors.Join(err, r.Print(out))
}
