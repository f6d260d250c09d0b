package main

import (
	"os"
	"strings"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress draws one line that is redrawn on a terminal; elsewhere it says
// what has changed.
type progress struct {
	bar  *progressbar.ProgressBar
	said string
}

func newProgress() *progress {
	if !term.IsTerminal(int(os.Stdout.Fd())) {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(1, progressbar.OptionSetWriter(os.Stdout), progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"),
		progressbar.OptionSetPredictTime(false), progressbar.OptionOnCompletion(func() { say("") }))}
}

func (p *progress) draw(e export) {
	doing := strings.TrimSpace(e.State + " " + e.Phase)
	if p.bar == nil {
		if doing != p.said {
			say("  %s, %d rows", doing, e.Progress.Rows)
			p.said = doing
		}
		return
	}
	p.bar.Describe("  " + doing)
	if total := e.Progress.RowsTotal; total != nil && *total > 0 {
		p.bar.ChangeMax64(*total)
	}
	// The bar draws to this terminal only: what it cannot draw is not missed.
	_ = p.bar.Set64(e.Progress.Rows)
	if e.State == "succeeded" {
		_ = p.bar.Finish()
	}
}
