package demo

import (
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far an export is.
type progress interface {
	show(j job)
	end()
}

// newProgress draws where it can: on a terminal.
func newProgress(out *os.File) progress {
	if !term.IsTerminal(int(out.Fd())) {
		return &lines{out: out}
	}
	return &bar{out: out, bar: progressbar.NewOptions64(1,
		progressbar.OptionSetWriter(out), progressbar.OptionSetWidth(30), progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(false))}
}

// bar is one line that is drawn again and again.
type bar struct {
	out *os.File
	bar *progressbar.ProgressBar
}

func (b *bar) show(j job) {
	total := j.Progress.RowsTotal
	if total == nil || *total == 0 {
		say(b.out, "\r  %s …\x1b[K", j.doing()) // and clear the rest of the line
		return
	}
	b.bar.ChangeMax64(*total)
	_ = b.bar.Set64(j.Progress.Rows) // what a terminal cannot show is not missed
	b.bar.Describe("  " + j.doing())
}

func (b *bar) end() { say(b.out, "\n") }

// often is how long lines wait before they say again that rows were written.
const often = 2 * time.Second

// lines are for logs: one for each new phase, and now and then one between.
type lines struct {
	out  *os.File
	said string
	at   time.Time
}

func (l *lines) show(j job) {
	if doing := j.doing(); doing != l.said || time.Since(l.at) > often {
		say(l.out, "  %s, %d rows\n", doing, j.Progress.Rows)
		l.said, l.at = doing, time.Now()
	}
}

func (l *lines) end() {}

// doing is the state in words.
func (j job) doing() string {
	if j.Phase == "" || j.final() {
		return j.State
	}
	return j.State + ", " + j.Phase
}
