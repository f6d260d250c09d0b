package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/bulkexport/bulkexport/internal/boot"
	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/store"
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

// parts are what sweeping needs.
type parts struct {
	store   *store.Store
	sweeper *jobs.Sweeper
	close   []func()
}

func (p *parts) Close() {
	for _, f := range p.close {
		f()
	}
}

// openSweeper opens what one command needs; a worker that serves has all of it
// already, but for the roles.
func openSweeper(ctx context.Context, cfg config.Config, log *slog.Logger) (*parts, error) {
	var p parts
	st, err := store.Open(ctx, cfg.DatabaseURL, "bulkexport-sweep")
	if err != nil {
		return nil, err
	}
	p.store, p.close = st, append(p.close, st.Close)
	source, err := platform.OpenSource(ctx, cfg.SourceDatabaseURL, "bulkexport-sweep", 1)
	if err != nil {
		return &p, err
	}
	p.close = append(p.close, source.Close)
	q, err := queue.Open(cfg.RedisURL)
	if err != nil {
		return &p, err
	}
	p.close = append(p.close, func() { _ = q.Close() })
	roles, err := platform.OpenRoles(cfg.PlatformRedisURL)
	if err != nil {
		return &p, err
	}
	p.close = append(p.close, func() { _ = roles.Close() })
	files, err := boot.OpenBucket(cfg)
	if err != nil {
		return &p, err
	}
	p.sweeper = newSweeper(cfg, st, files, platform.Roll{Source: source, Roles: roles}, q, log)
	return &p, nil
}

func newSweeper(cfg config.Config, st *store.Store, files *bucket.Bucket, roll platform.Roll, q *queue.Queue, log *slog.Logger) *jobs.Sweeper {
	return jobs.NewSweeper(st, st, bucket.Shelf{Bucket: files, Prefix: cfg.S3Prefix}, roll, q, cfg.JobRetention, jobs.Env{Now: time.Now, Log: log})
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
	p, err := openSweeper(ctx, cfg, log)
	if p != nil {
		defer p.Close()
	}
	if err != nil {
		return err
	}
	r, err := p.sweeper.Pass(ctx, o)
	if o.Dry {
		fmt.Fprintln(out, "a dry run: nothing is removed")
	}
	if printed := r.Print(out); err == nil {
		err = printed
	}
	return err
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
	p, err := openSweeper(ctx, cfg, log)
	if p != nil {
		defer p.Close()
	}
	if err != nil {
		return err
	}
	ids, err := p.store.Purge(ctx, *project, "operator", !*yes)
	for _, id := range ids {
		fmt.Fprintln(out, id)
	}
	if err != nil {
		return err
	}
	if !*yes {
		_, err = fmt.Fprintf(out, "%d exports of %q would be ended and removed; repeat with -yes to do it\n", len(ids), *project)
		return err
	}
	r, err := p.sweeper.Pass(ctx, jobs.SweepOptions{})
	if printed := r.Print(out); err == nil {
		err = printed
	}
	return err
}
