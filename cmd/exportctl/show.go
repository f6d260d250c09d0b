package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"

	"github.com/bulkexport/bulkexport/internal/client"
)

// show writes a job for a person, or as it came.
func (a *app) show(j client.Job) error {
	if a.json {
		_, err := fmt.Fprintf(a.out, "%s\n", j.JSON)
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, line := range describe(j, time.Now()) {
		if _, err := fmt.Fprintf(w, "%s\t%s\n", line[0], plain(line[1])); err != nil {
			return err
		}
	}
	return w.Flush()
}

// plain takes out of a text what a terminal would obey: others chose the names
// of projects and the words of answers.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func describe(j client.Job, now time.Time) (lines [][2]string) {
	add := func(name, format string, args ...any) {
		lines = append(lines, [2]string{name, fmt.Sprintf(format, args...)})
	}
	add("export", "%s", j.ID)
	add("project", "%s", j.Project)
	add("what", "%s%s", j.Kind, between(j))
	add("state", "%s", progress(j))
	add("asked", "by %s, %s", j.RequestedBy, humanize.RelTime(j.CreatedAt, now, "ago", "from now"))
	if r := j.Result; r != nil {
		add("file", "%s", client.FileName(j))
		add("size", "%s, %s rows", humanize.IBytes(uint64(r.Bytes)), humanize.Comma(r.Rows))
		add("sha256", "%s", r.SHA256)
		if r.Skipped > 0 {
			add("skipped", "%s rows could not be read: see the manifest", humanize.Comma(r.Skipped))
		}
	}
	if j.ExpiresAt != nil && j.State == client.Succeeded {
		add("kept", "until %s, %s", j.ExpiresAt.Local().Format("2006-01-02 15:04 MST"), humanize.RelTime(*j.ExpiresAt, now, "ago", "from now"))
	}
	if e := j.Error; e != nil {
		help := "asking again will not help"
		if e.Retryable {
			help = "asking again may help"
		}
		add("error", "%s (%s; %s)", e.Message, e.Code, help)
	}
	return lines
}

func between(j client.Job) string {
	text := ""
	if j.From != nil {
		text += " from " + j.From.Format(time.RFC3339)
	}
	if j.To != nil {
		text += " until before " + j.To.Format(time.RFC3339)
	}
	return text
}

// progress says in a line how far a job is.
func progress(j client.Job) string {
	switch {
	case j.State == "queued" && j.NextAt != nil:
		return "waiting to be tried again at " + j.NextAt.Local().Format(time.TimeOnly)
	case j.State == "queued" && j.QueuePosition != nil:
		return fmt.Sprintf("waiting, number %d in the queue", *j.QueuePosition)
	case j.State != "running":
		return j.State
	}
	text := "running, " + j.Phase
	if j.Progress.RowsTotal != nil {
		text += fmt.Sprintf(": %s of %s rows", humanize.Comma(j.Progress.Rows), humanize.Comma(*j.Progress.RowsTotal))
	}
	if rate := int64(j.Progress.RowsPerSecond); rate > 0 {
		text += fmt.Sprintf(", %s rows/s", humanize.Comma(rate))
	}
	if s := j.Progress.ETASeconds; s != nil {
		text += fmt.Sprintf(", about %s left", time.Duration(*s)*time.Second)
	}
	return text
}

// table writes jobs a line each.
func table(w io.Writer, list []client.Job) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(t, strings.Join([]string{"EXPORT", "STATE", "KIND", "ROWS", "SIZE", "ASKED", "BY"}, "\t")); err != nil {
		return err
	}
	for _, j := range list {
		rows, size := humanize.Comma(j.Progress.Rows), "-"
		if j.Result != nil {
			size = humanize.IBytes(uint64(j.Result.Bytes))
		}
		_, err := fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", j.ID, j.State, j.Kind, rows, size,
			j.CreatedAt.Local().Format("2006-01-02 15:04"), plain(j.RequestedBy))
		if err != nil {
			return err
		}
	}
	return t.Flush()
}
