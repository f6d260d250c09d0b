// Package demo does the main job once, as a person's script would do it over
// HTTP: ask for an export, follow it, fetch the file, check it.
package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Options of a demo.
type Options struct {
	API     string // its URL
	Key     string // of a person who may export
	Project string
	Inbox   string // where mails can be read
	Folder  string // where the file goes
	Out     *os.File
}

// pollEvery is short, as the demo's export is; a script would heed Retry-After.
const pollEvery = 100 * time.Millisecond

// Run does it, and fails unless the file is what the job says.
func Run(ctx context.Context, o Options) error {
	c := client{base: o.API, key: o.Key}
	asked := time.Now()
	j, err := c.create(ctx, o.Project)
	if err != nil {
		return err
	}
	say(o.Out, "\nAsked for all conversations of %s as its owner: export %s.\n\n", o.Project, j.ID)
	if j, err = follow(ctx, c, j, newProgress(o.Out)); err != nil {
		return err
	}
	took := time.Since(asked)
	if j.State != "succeeded" || j.Result == nil {
		return fmt.Errorf("the export is %s: %s", j.State, j.text)
	}
	path, err := fetch(ctx, c, j, o.Folder)
	if err != nil {
		return err
	}
	first, rows, err := inspect(path)
	if err != nil {
		return err
	}
	if rows != j.Result.Rows {
		return fmt.Errorf("%s has %d rows, the job says %d", path, rows, j.Result.Rows)
	}
	if err := report(o.Out, j, path, first, took); err != nil {
		return err
	}
	return showMail(ctx, o.Out, o.Inbox, j)
}

// follow polls until the export is over.
func follow(ctx context.Context, c client, j job, p progress) (job, error) {
	defer p.end()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		p.show(j)
		if j.final() {
			return j, nil
		}
		select {
		case <-ctx.Done():
			return j, context.Cause(ctx)
		case <-tick.C:
		}
		var err error
		if j, err = c.get(ctx, j.ID); err != nil {
			return j, err
		}
	}
}

// fetch downloads the file and compares it with what the job says.
func fetch(ctx context.Context, c client, j job, folder string) (string, error) {
	link, err := c.link(ctx, j.ID)
	if err != nil {
		return "", err
	}
	body, err := open(ctx, link)
	if err != nil {
		return "", err
	}
	defer body.Close()
	path := filepath.Join(folder, filepath.Base(j.Result.Filename))
	n, sum, err := save(path, body)
	if err != nil {
		return "", fmt.Errorf("download: %w", err)
	}
	if n != j.Result.Bytes || sum != j.Result.SHA256 {
		return "", fmt.Errorf("%s has %d bytes with sha256 %s; the job says %d with %s", path, n, sum, j.Result.Bytes, j.Result.SHA256)
	}
	return path, nil
}

// report shows what came of it.
func report(out *os.File, j job, path, first string, took time.Duration) error {
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, bytes.TrimSpace(j.text), "  ", "  "); err != nil {
		return fmt.Errorf("job: %w", err)
	}
	say(out, `
The job:

  %s

The first row:

  %s

The file, with size, sha256 and rows as the job says:

  %s
  %d rows, %d bytes of gzip, %d bytes of lines

The export took %.1f s.
`, &pretty, first, path, j.Result.Rows, j.Result.Bytes, j.Result.BytesRaw, took.Seconds())
	return nil
}

// say writes for a person; what cannot be shown fails no export.
func say(out io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(out, format, args...) }
