package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Target says where a file goes, and who is told of it.
type Target struct {
	Path  string
	Force bool // replace another file that is there
	// Progress, if set, is told how many bytes are there.
	Progress func(bytes int64)
	// Note, if set, is told what else a person would like to know.
	Note func(text string)
}

// Saved is a file that is here now, and is the one that was exported.
type Saved struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	// Resumed are the bytes that an earlier run had fetched.
	Resumed int64 `json:"resumed"`
}

// Download fetches the file of an export that has succeeded, and goes on where
// an earlier run was broken off. The file appears under its name whole and
// checked, or not at all; what was fetched stays beside it, in PATH.part. It is
// a *Mismatch if the file that came is another than the job says.
func (c *Client) Download(ctx context.Context, j Job, t Target) (Saved, error) {
	r, err := resultOf(j)
	if err != nil {
		return Saved{}, err
	}
	saved := Saved{Path: t.Path, Bytes: r.Bytes, SHA256: r.SHA256}
	if there, err := occupied(t, r); err != nil || there {
		saved.Resumed = r.Bytes
		return saved, err
	}
	p, err := openPart(t.Path, provenance{ID: j.ID, Bytes: r.Bytes, SHA256: r.SHA256})
	if err != nil {
		return Saved{}, err
	}
	defer p.close()
	f := c.fetch(j.ID, fileAsset, r.Bytes, p)
	f.tell(t)
	if saved.Resumed, err = f.resume(p); err != nil {
		return Saved{}, err
	}
	if err = f.finish(ctx, r); err != nil && saved.Resumed > 0 {
		// What a crash left on the disk need not be what was written.
		var m *Mismatch
		if errors.As(err, &m) {
			if err = f.startOver("what was there does not belong to the file"); err == nil {
				saved.Resumed = 0
				err = f.finish(ctx, r)
			}
		}
	}
	if err != nil {
		return Saved{}, err
	}
	return saved, p.publish()
}

// Copy writes the file of an export that has succeeded to w. It is a *Mismatch,
// after the fact, if that is another file than the job says.
func (c *Client) Copy(ctx context.Context, j Job, w io.Writer, t Target) error {
	r, err := resultOf(j)
	if err != nil {
		return err
	}
	f := c.fetch(j.ID, fileAsset, r.Bytes, &stream{w: w})
	f.tell(t)
	return f.finish(ctx, r)
}

// ManifestOf fetches the description of a finished export, a Frictionless data
// package.
func (c *Client) ManifestOf(ctx context.Context, id string) ([]byte, error) {
	return c.small(ctx, id, manifestAsset)
}

// ChecksumsOf fetches the list that sha256sum -c reads.
func (c *Client) ChecksumsOf(ctx context.Context, id string) ([]byte, error) {
	return c.small(ctx, id, checksumsAsset)
}

func (c *Client) small(ctx context.Context, id, asset string) ([]byte, error) {
	var m memory
	if err := c.fetch(id, asset, -1, &m).run(ctx); err != nil {
		return nil, err
	}
	return m.Bytes(), nil
}

func resultOf(j Job) (Result, error) {
	if j.State != Succeeded || j.Result == nil {
		return Result{}, fmt.Errorf("export %s is %s: it has no file", j.ID, j.State)
	}
	return *j.Result, nil
}

// occupied reports whether the very file is there already. Another one is an
// error, unless it may be replaced.
func occupied(t Target, r Result) (bool, error) {
	is, err := os.Stat(t.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case !is.Mode().IsRegular():
		return false, fmt.Errorf("%s is there and is no regular file", t.Path)
	}
	if is.Size() == r.Bytes {
		sum, err := sumOf(t.Path)
		if err != nil {
			return false, err
		}
		if sum == strings.ToLower(r.SHA256) {
			return true, nil
		}
	}
	if !t.Force {
		return false, fmt.Errorf("%s is there and is another file: name another one, or replace it with --force", t.Path)
	}
	return false, nil
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (f *fetch) tell(t Target) {
	if t.Progress != nil {
		f.progress = t.Progress
	}
	if t.Note != nil {
		f.note = t.Note
	}
}

// resume takes over what an earlier run has left.
func (f *fetch) resume(p *part) (int64, error) {
	if p.old == 0 {
		return 0, nil
	}
	if err := p.replay(f.sum); err != nil {
		return 0, err
	}
	f.done, f.etag = p.old, p.origin.ETag
	f.progress(f.done)
	return f.done, nil
}

func (f *fetch) finish(ctx context.Context, r Result) error {
	if err := f.run(ctx); err != nil {
		return err
	}
	return f.check(r)
}

// stream is a sink that nothing can be taken back from.
type stream struct {
	w       io.Writer
	written bool
}

// Write implements io.Writer.
func (s *stream) Write(b []byte) (int, error) {
	s.written = true
	return s.w.Write(b)
}

func (s *stream) restart(string) error {
	if s.written {
		return errors.New("the file would have to be written from its beginning again, which a stream does not allow: download it to a file")
	}
	return nil
}

// memory is a sink for what is small.
type memory struct{ bytes.Buffer }

// Write implements io.Writer.
func (m *memory) Write(b []byte) (int, error) {
	if m.Len()+len(b) > maxAnswer {
		return 0, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	return m.Buffer.Write(b)
}

func (m *memory) restart(string) error {
	m.Reset()
	return nil
}
