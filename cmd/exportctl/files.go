package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/bulkexport/bulkexport/internal/client"
)

// The files beside an export's.
const (
	manifestName  = "datapackage.json"
	checksumsName = "SHA256SUMS"
)

// downloading are the flags of downloading.
type downloading struct {
	output   string
	force    bool
	manifest bool
}

func (d *downloading) flags(f *pflag.FlagSet) {
	f.StringVarP(&d.output, "output", "o", "", "file or folder to write to; - is the standard output (default: the export's own name, here)")
	f.BoolVar(&d.force, "force", false, "replace another file that is there")
	f.BoolVar(&d.manifest, "manifest", false, "fetch "+manifestName+" and "+checksumsName+" beside it")
}

func (a *app) downloadCommand() *cobra.Command {
	var d downloading
	cmd := &cobra.Command{
		Use: "download ID", Short: "Download an export's file, and check it", Args: exact("ID"),
		Long: `Download an export's file, and check its size and SHA-256. What was fetched before
a break stays in NAME.part: the same command goes on from there, over links that
have expired meanwhile, too. The file appears under its name when it is whole.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := d.check(a, true); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			j, err := c.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.fetch(cmd.Context(), c, j, d)
		},
	}
	d.flags(cmd.Flags())
	return cmd
}

// check refuses what does not go together, before anything is asked for.
func (d *downloading) check(a *app, download bool) error {
	switch toStdout := d.output == "-"; {
	case !download && *d != downloading{}:
		return usageError{errors.New("--output, --force and --manifest need --download")}
	case toStdout && d.manifest:
		return usageError{errors.New("--manifest needs a file to write beside, not the standard output")}
	case toStdout && a.shows:
		return usageError{errors.New("the file is compressed, and nothing for a terminal: send it to a program or a file")}
	}
	return nil
}

// fetch downloads the file of a job.
func (a *app) fetch(ctx context.Context, c *client.Client, j client.Job, d downloading) error {
	if err := outcome(j); err != nil {
		return err
	}
	t := client.Target{Path: d.path(j), Force: d.force, Note: a.note}
	if j.Result != nil {
		var end func()
		t.Progress, end = a.bytesBar(j.Result.Bytes)
		defer end()
	}
	if d.output == "-" {
		return a.stopped(ctx, c.Copy(ctx, j, a.out, t))
	}
	saved, err := c.Download(ctx, j, t)
	if err != nil {
		return a.stopped(ctx, err)
	}
	if d.manifest {
		if err := besides(ctx, c, j.ID, saved, d.force); err != nil {
			return a.stopped(ctx, err)
		}
	}
	if a.json {
		return json.NewEncoder(a.out).Encode(saved)
	}
	_, err = fmt.Fprintf(a.out, "%s  %s, sha256 %s is right\n", plain(saved.Path), humanize.IBytes(uint64(saved.Bytes)), saved.SHA256)
	return err
}

// stopped says what an interrupted download leaves.
func (a *app) stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return interrupted{errors.New("interrupted: the same command goes on from here")}
	}
	return err
}

func (d *downloading) path(j client.Job) string {
	if is, err := os.Stat(d.output); err == nil && is.IsDir() {
		return filepath.Join(d.output, client.FileName(j))
	}
	return first(d.output, client.FileName(j))
}

// besides fetches the small files, and compares the manifest with the file.
func besides(ctx context.Context, c *client.Client, id string, file client.Saved, force bool) error {
	text, err := c.ManifestOf(ctx, id)
	if err != nil {
		return err
	}
	m, err := client.ReadManifest(text)
	if err != nil {
		return err
	}
	if m.SHA256 != file.SHA256 {
		return &client.Mismatch{What: "the manifest that came is of another file"}
	}
	sums, err := c.ChecksumsOf(ctx, id)
	if err != nil {
		return err
	}
	folder := filepath.Dir(file.Path)
	if err := put(filepath.Join(folder, manifestName), text, force); err != nil {
		return err
	}
	return put(filepath.Join(folder, checksumsName), sums, force)
}

// put writes a small file whole or not at all, and replaces another one only if
// it may: it could be that of another export.
func put(path string, text []byte, force bool) error {
	there, err := os.ReadFile(path)
	switch {
	case err == nil && bytes.Equal(there, text):
		return nil
	case err == nil && !force:
		return fmt.Errorf("%s is there and is another file: download into another folder, or replace it with --force", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part") // for its owner alone
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// bytesBar draws how many bytes are there, to somebody who watches.
func (a *app) bytesBar(total int64) (progress func(int64), end func()) {
	if !a.draws || a.json {
		return nil, func() {}
	}
	bar := progressbar.NewOptions64(total, progressbar.OptionSetWriter(a.err), progressbar.OptionShowBytes(true),
		progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
	// A bar that cannot be drawn keeps nobody from downloading.
	return func(n int64) { _ = bar.Set64(n) }, func() { _ = bar.Finish() }
}

func (a *app) verifyCommand() *cobra.Command {
	var manifest string
	cmd := &cobra.Command{
		Use: "verify FILE", Short: "Check a file against its manifest, without the service", Args: exact("FILE"),
		Long: `Check a file against its manifest: size, sums, parts, and every line. It asks
nobody. The manifest is ` + manifestName + ` beside the file, unless --manifest names another.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			path := first(manifest, filepath.Join(filepath.Dir(args[0]), manifestName))
			text, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("the manifest: %w", err)
			}
			m, err := client.ReadManifest(text)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			progress, end := a.bytesBar(m.Bytes)
			err = client.Verify(cmd.Context(), args[0], m, progress)
			end()
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if a.json {
				return json.NewEncoder(a.out).Encode(map[string]any{"path": args[0], "rows": m.Rows, "bytes": m.Bytes, "sha256": m.SHA256})
			}
			_, err = fmt.Fprintf(a.out, "%s  %s rows, as the manifest says\n", plain(args[0]), humanize.Comma(m.Rows))
			return err
		},
	}
	cmd.Flags().StringVar(&manifest, "manifest", "", "the manifest")
	return cmd
}
