package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bulkexport/bulkexport/internal/client"
)

// waiting are the flags of waiting.
type waiting struct{ timeout time.Duration }

func (w *waiting) flags(f *pflag.FlagSet) {
	f.DurationVar(&w.timeout, "timeout", 0, "how long to wait, as 30m; 0 is for ever")
}

func (a *app) waitCommand() *cobra.Command {
	var w waiting
	cmd := &cobra.Command{
		Use: "wait ID", Short: "Wait until an export is over; the exit code tells how it ended", Args: exact("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			j, err := a.wait(cmd.Context(), c, args[0], w)
			return errors.Join(a.shown(j), err)
		},
	}
	w.flags(cmd.Flags())
	return cmd
}

// shown shows a job if there is one.
func (a *app) shown(j client.Job) error {
	if j.ID == "" {
		return nil
	}
	return a.show(j)
}

// wait waits for the end, and returns an error unless it is a success.
func (a *app) wait(parent context.Context, c *client.Client, id string, w waiting) (client.Job, error) {
	ctx := parent
	if w.timeout < 0 {
		return client.Job{}, usageError{errors.New("--timeout must be 0 (none) or more")}
	}
	if w.timeout > 0 {
		limited, cancel := context.WithTimeout(parent, w.timeout)
		defer cancel()
		ctx = limited
	}
	watch := a.watcher()
	j, err := c.Wait(ctx, id, watch.show)
	watch.end()
	switch {
	case err != nil && parent.Err() != nil:
		return client.Job{}, interrupted{fmt.Errorf("the export goes on: wait for it again with exportctl wait %s", id)}
	case err != nil && ctx.Err() != nil:
		return j, timeoutError{fmt.Errorf("the export is not over after %s, and goes on: wait for it again with exportctl wait %s", w.timeout, id)}
	case err != nil:
		return client.Job{}, err
	}
	return j, outcome(j)
}

// outcome says why an export has no file; it is nil if it has one.
func outcome(j client.Job) error {
	switch j.State {
	case client.Succeeded:
		return nil
	case client.Failed:
		return failedError{errors.New("the export failed")}
	case client.Canceled:
		return canceledError{errors.New("the export was canceled")}
	case client.Expired:
		return goneError{errors.New("the export's file was deleted: ask for a new export")}
	}
	return fmt.Errorf("the export is %s, and has no file yet: wait for it with exportctl wait %s", j.State, j.ID)
}

// watcher shows the progress: a bar to somebody who watches, else a line at
// each change, and every ten seconds.
type watcher struct {
	a    *app
	bar  *progressbar.ProgressBar
	last string
	at   time.Time
}

func (a *app) watcher() *watcher { return &watcher{a: a} }

const lineEvery = 10 * time.Second

func (w *watcher) show(j client.Job) {
	switch {
	case w.a.json:
	case w.a.draws && j.State == "running" && j.Progress.RowsTotal != nil:
		w.draw(j)
	default:
		kind := j.State + j.Phase
		if kind == w.last && time.Since(w.at) < lineEvery {
			return
		}
		w.last, w.at = kind, time.Now()
		w.a.say("%s", progress(j))
	}
}

func (w *watcher) draw(j client.Job) {
	total := *j.Progress.RowsTotal
	if w.bar == nil {
		w.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(w.a.err), progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("rows"), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true),
			progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
	}
	w.bar.Describe(j.Phase)
	_ = w.bar.Set64(min(j.Progress.Rows, total)) // a bar that cannot be drawn keeps nobody from waiting
}

func (w *watcher) end() {
	if w.bar != nil {
		_ = w.bar.Finish()
	}
}
