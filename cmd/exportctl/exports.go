package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bulkexport/bulkexport/internal/client"
)

func (a *app) createCommand() *cobra.Command {
	var r client.CreateRequest
	var wait, download bool
	var w waiting
	var d downloading
	cmd := &cobra.Command{
		Use: "create PROJECT conversations|documents", Short: "Ask for an export", Args: exact("PROJECT", "KIND"),
		Long: `Ask for an export. An identical one that waits or has just begun is joined
instead, unless --fresh. Dates are as 2024-05-31 (--to includes that day) or as
2024-05-31T08:00:00Z.`,
		Example: "  exportctl create cs-101 conversations --from 2024-01-01 --download",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.check(a, download); err != nil {
				return err
			}
			if wait = wait || download; w.timeout != 0 && !wait {
				return usageError{errors.New("--timeout needs --wait")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			r.Kind = args[1]
			j, started, err := c.Create(cmd.Context(), args[0], r)
			if err != nil {
				return err
			}
			if !started {
				a.note("An export that was there already answers the request.")
			}
			if !wait {
				return a.show(j)
			}
			if j, err = a.wait(cmd.Context(), c, j.ID, w); err != nil || !download {
				return errors.Join(a.shown(j), err)
			}
			return a.fetch(cmd.Context(), c, j, d)
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.From, "from", "", "rows created at or after this date or time")
	f.StringVar(&r.To, "to", "", "rows created until this date, or before this time")
	f.StringSliceVar(&r.Notify, "notify", nil, "who else is told: people with a role in the project")
	f.BoolVar(&r.Fresh, "fresh", false, "do not join an identical export")
	f.BoolVar(&r.AllowSkipped, "allow-skipped", false, "succeed however many rows cannot be read")
	f.StringVar(&r.IdempotencyKey, "idempotency-key", "", "repeating the command with the same key returns the same export for a day")
	f.BoolVar(&wait, "wait", false, "wait until it is over")
	f.BoolVar(&download, "download", false, "wait, then download the file")
	w.flags(f)
	d.flags(f)
	return cmd
}

func (a *app) listCommand() *cobra.Command {
	var state string
	var limit int
	cmd := &cobra.Command{
		Use: "list PROJECT", Short: "List a project's exports, newest first", Args: exact("PROJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usageError{errors.New("--limit must be 0 (all) or more")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			list := []client.Job{}
			for j, err := range c.List(cmd.Context(), args[0], state, limit) {
				if err != nil {
					return err
				}
				if list = append(list, j); a.json {
					if err := a.show(j); err != nil {
						return err
					}
				}
			}
			if a.json {
				return nil
			}
			return table(a.out, list)
		},
	}
	cmd.Flags().StringVar(&state, "state", "", "only queued, running, canceling, succeeded, failed, canceled or expired ones")
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 is all")
	return cmd
}

func (a *app) getCommand() *cobra.Command {
	return a.jobCommand("get ID", "Look at an export", (*client.Client).Get)
}

func (a *app) cancelCommand() *cobra.Command {
	return a.jobCommand("cancel ID", "Stop an export, for all who wait for it", (*client.Client).Cancel)
}

func (a *app) extendCommand() *cobra.Command {
	return a.jobCommand("extend ID", "Keep a finished file for longer, four times at most", (*client.Client).Extend)
}

// jobCommand is a call about one export that returns it.
func (a *app) jobCommand(use, short string, call func(*client.Client, context.Context, string) (client.Job, error)) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: exact("ID"), RunE: func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		j, err := call(c, cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(j)
	}}
}

func (a *app) purgeCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "purge ID", Short: "Delete an export's file; its record stays", Args: exact("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				if err := a.confirm(fmt.Sprintf("Delete the file of export %s for everybody?", args[0])); err != nil {
					return err
				}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.Purge(cmd.Context(), args[0])
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// confirm asks, where there is somebody to answer.
func (a *app) confirm(question string) error {
	if !a.asks {
		return usageError{errors.New("nobody is there to be asked: repeat with --yes")}
	}
	a.say("%s Type yes:", question)
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return interrupted{errors.New("nothing was deleted")}
	}
	return nil
}
