package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"
)

// The Sweeper's limits.
const (
	sweepBatch     = 200            // jobs a pass
	orphanAge      = 24 * time.Hour // by the store's clock; longer than any clock is wrong
	orphanMost     = 100            // a run without an operator's word
	orphanShare    = 10             // one in so many of the listing, but at least one
	orphansEvery   = time.Hour
	absentFor      = 7 * 24 * time.Hour
	sweepStepLimit = time.Minute
)

// Sweeper removes data whose time is over: first the row moves, then the
// objects go, then the row says so; what fails is tried again. Any number may
// run at once, one of them works.
type Sweeper struct {
	ledger   Ledger
	holdings Holdings
	shelf    Shelf
	roll     Roll
	archive  Archive
	keep     Keep
	env      Env
}

// NewSweeper makes a Sweeper.
func NewSweeper(l Ledger, h Holdings, s Shelf, r Roll, a Archive, keep Keep, env Env) *Sweeper {
	return &Sweeper{ledger: l, holdings: h, shelf: s, roll: r, archive: a, keep: keep, env: env}
}

// SweepOptions are an operator's word.
type SweepOptions struct {
	Dry bool // only say what would be done
	All bool // every orphan, however many
	Now bool // look for orphans, however long ago the last look was
}

// Report is what a pass did, or would do.
type Report struct {
	Busy    bool // another sweeper is at work; nothing was done
	Expired int
	Deleted int   // jobs whose data is gone
	Freed   int64 // bytes of their files
	// Orphans were removed; OrphansLeft were over the limit.
	Orphans     []Stray
	OrphansLeft int
	// Foreign is the installation that owns the prefix, if that is another.
	Foreign string
	Pruned
	Archived int
	// Absent projects wait for an operator's word.
	Absent []string
}

// Pass does all there is to do now. Its steps do not depend on one another: the
// error joins those of the steps that failed, and the report tells the rest.
func (s *Sweeper) Pass(ctx context.Context, o SweepOptions) (Report, error) {
	var r Report
	turn, err := s.ledger.Turn(ctx, func(ctx context.Context) error {
		var errs []error
		for _, step := range []struct {
			name string
			do   func(context.Context, SweepOptions, *Report) error
		}{
			{"expire", s.expire}, {"delete", s.delete}, {"orphans", s.orphans},
			{"prune", s.prune}, {"archive", s.pruneArchive}, {"absent projects", s.absent},
		} {
			call, cancel := context.WithTimeout(ctx, sweepStepLimit)
			if err := step.do(call, o, &r); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", step.name, err))
			}
			cancel()
		}
		if !o.Dry {
			errs = append(errs, s.holdings.Swept(ctx, Swept{Expired: r.Expired, Deleted: r.Deleted, Freed: r.Freed, Orphans: len(r.Orphans)}))
		}
		return errors.Join(errs...)
	})
	r.Busy = err == nil && !turn
	return r, err
}

func (s *Sweeper) expire(ctx context.Context, o SweepOptions, r *Report) error {
	ids, err := s.ledger.Overdue(ctx, sweepBatch)
	if err == nil && !o.Dry && len(ids) > 0 {
		moves, e := s.ledger.Expire(ctx, ids)
		for _, m := range moves {
			s.env.Moved(m)
		}
		err = e
	}
	if err == nil {
		r.Expired = len(ids)
	}
	return err
}

// delete removes the data of jobs that have none to offer. One that fails does
// not keep the others.
func (s *Sweeper) delete(ctx context.Context, o SweepOptions, r *Report) error {
	doomed, err := s.ledger.Doomed(ctx, sweepBatch)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range doomed {
		if !o.Dry {
			if err := s.shelf.Discard(ctx, d.Upload); err != nil {
				errs = append(errs, fmt.Errorf("job %s: %w", d.Job, err))
				continue
			}
			if err := s.ledger.Deleted(ctx, d.Job); err != nil {
				errs = append(errs, fmt.Errorf("job %s: %w", d.Job, err))
				continue
			}
			s.env.Log.Info("data deleted", "job", d.Job, "bytes_freed", d.Bytes)
		}
		r.Deleted++
		r.Freed += d.Bytes
	}
	return errors.Join(errs...)
}

// orphans removes what no row names, within its limits, and only where the
// prefix is known to be this installation's: a prefix that nobody has claimed is
// claimed now and swept by a later run.
func (s *Sweeper) orphans(ctx context.Context, o SweepOptions, r *Report) error {
	every := orphansEvery
	switch {
	case o.Dry:
		every = math.MaxInt64 // does not count as a look
	case o.Now:
		every = 0
	}
	id, due, err := s.holdings.Installation(ctx, every)
	if err != nil || !due && !o.Dry {
		return err
	}
	owner, err := s.shelf.Owner(ctx)
	switch {
	case err != nil:
		return err
	case owner == "" && !o.Dry:
		return s.shelf.Claim(ctx, id)
	case owner != id:
		r.Foreign = owner
		return nil
	}
	found, all, err := s.find(ctx)
	if err != nil {
		return err
	}
	limit := max(1, min(orphanMost, all/orphanShare))
	if o.All {
		limit = len(found)
	}
	r.OrphansLeft = max(0, len(found)-limit)
	for _, f := range found[:min(limit, len(found))] {
		if !o.Dry {
			if err := s.shelf.Remove(ctx, f); err != nil {
				return err
			}
			s.env.Log.Info("orphan removed", "key", f.Key, "open_upload", f.UploadID != "")
		}
		r.Orphans = append(r.Orphans, f)
	}
	if o.Dry {
		return nil
	}
	return s.holdings.Looked(ctx, len(found), r.OrphansLeft)
}

// find lists the store first and asks the rows then, so that what a job has
// begun meanwhile is named.
func (s *Sweeper) find(ctx context.Context) (orphans []Stray, all int, err error) {
	var old []Stray
	err = s.shelf.List(ctx, func(f Stray) {
		all++
		if s.env.Now().Sub(f.At) > orphanAge {
			old = append(old, f)
		}
	})
	if err != nil || len(old) == 0 {
		return nil, all, err
	}
	names := make([]UploadName, len(old))
	for i, f := range old {
		names[i] = f.UploadName
	}
	named, err := s.holdings.Named(ctx, names)
	if err != nil {
		return nil, all, err
	}
	for _, f := range old {
		if !named[f.UploadName] {
			orphans = append(orphans, f)
		}
	}
	return orphans, all, nil
}

func (s *Sweeper) prune(ctx context.Context, o SweepOptions, r *Report) (err error) {
	r.Pruned, err = s.ledger.Prune(ctx, s.keep, o.Dry)
	return err
}

func (s *Sweeper) pruneArchive(ctx context.Context, o SweepOptions, r *Report) (err error) {
	r.Archived, err = s.archive.Prune(ctx, o.Dry)
	return err
}

// absent finds projects that the platform does not have any more. Their data is
// purged at an operator's word alone.
func (s *Sweeper) absent(ctx context.Context, o SweepOptions, r *Report) error {
	projects, err := s.holdings.Projects(ctx)
	if err != nil || len(projects) == 0 || o.Dry {
		return err
	}
	missing, err := s.roll.Missing(ctx, projects)
	if err != nil {
		return err
	}
	r.Absent, err = s.holdings.Absent(ctx, missing, absentFor)
	return err
}

// Run makes a pass regularly until ctx is done.
func (s *Sweeper) Run(ctx context.Context, interval time.Duration) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		r, err := s.Pass(ctx, SweepOptions{})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.env.Log.Warn("sweep failed in part", "error", err)
		}
		r.log(s.env.Log)
		s.env.seen().Swept(r)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// log tells what an operator should know of a pass that nobody watches.
func (r Report) log(log *slog.Logger) {
	if r.Foreign != "" {
		log.Error("the prefix in the object store belongs to another installation: orphans are not removed", "owner", r.Foreign)
	}
	if r.OrphansLeft > 0 {
		log.Warn("more orphans than one run removes: look at them with: worker sweep -dry-run", "left", r.OrphansLeft)
	}
	for _, p := range r.Absent {
		log.Warn("a project is gone from the platform and has exports here: worker purge -project removes them", "project", p)
	}
	if r.Expired+r.Deleted+len(r.Orphans)+r.Archived > 0 || r.Pruned != (Pruned{}) {
		log.Info("swept", "expired", r.Expired, "data_deleted", r.Deleted, "bytes_freed", r.Freed, "orphans", len(r.Orphans),
			"job_rows", r.Jobs, "audit_lines", r.Audit, "idempotency_keys", r.Keys, "workers", r.Workers, "archived_tasks", r.Archived)
	}
}

// Print writes the report for a person.
func (r Report) Print(w io.Writer) error {
	if r.Busy {
		_, err := fmt.Fprintln(w, "another sweeper is at work: nothing was done")
		return err
	}
	out := fmt.Sprintf("exports expired           %d\nexports' data deleted     %d, %d bytes\norphans removed           %d, %d left\n",
		r.Expired, r.Deleted, r.Freed, len(r.Orphans), r.OrphansLeft)
	for _, f := range r.Orphans {
		kind := "object"
		if f.UploadID != "" {
			kind = "open upload"
		}
		out += fmt.Sprintf("  %s  %-11s  %s\n", f.At.UTC().Format(time.RFC3339), kind, f.Key)
	}
	out += fmt.Sprintf("old job rows              %d\nold lines of the audit    %d\nidempotency keys          %d\nworkers gone              %d\ndead tasks in the queue   %d\n",
		r.Jobs, r.Audit, r.Keys, r.Workers, r.Archived)
	if r.Foreign != "" {
		out += fmt.Sprintf("the prefix belongs to installation %s: its orphans are not ours to remove\n", r.Foreign)
	}
	for _, p := range r.Absent {
		out += fmt.Sprintf("project %q is gone from the platform: worker purge -project removes its exports\n", p)
	}
	_, err := io.WriteString(w, out)
	return err
}
