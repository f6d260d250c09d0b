package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// part is the beginning of a file, at PATH.part. PATH.part.json says of which
// export's file it is the beginning, so that a later run goes on from there. Both
// are for the owner alone, and hold no link.
type part struct {
	target string
	file   *os.File
	origin provenance
	old    int64 // bytes that were there already and are this file's beginning
}

// provenance is what PATH.part.json holds.
type provenance struct {
	ID     string `json:"id"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	ETag   string `json:"etag"`
}

const private = 0o600

func (p *part) path() string { return p.target + ".part" }
func (p *part) note() string { return p.path() + ".json" }

// openPart opens or begins the part of a target for this process alone.
func openPart(target string, of provenance) (*part, error) {
	p := &part{target: target, origin: of}
	for {
		if err := p.open(); err != nil {
			return nil, err
		}
		if err := lock(p.file); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", p.path(), err), p.file.Close())
		}
		// Whoever held the lock may have made the file of it meanwhile.
		ours, err := p.file.Stat()
		if err != nil {
			return nil, errors.Join(err, p.file.Close())
		}
		if named, err := os.Lstat(p.path()); err == nil && os.SameFile(ours, named) {
			p.old = p.known(ours.Size())
			return p, nil
		}
		if err := p.file.Close(); err != nil {
			return nil, err
		}
	}
}

func (p *part) open() (err error) {
	if is, err := os.Lstat(p.path()); err == nil && !is.Mode().IsRegular() {
		return fmt.Errorf("%s is there and is no regular file", p.path())
	}
	if p.file, err = os.OpenFile(p.path(), os.O_RDWR|os.O_CREATE, private); err != nil {
		return err
	}
	if err := p.file.Chmod(private); err != nil {
		return errors.Join(err, p.file.Close())
	}
	return nil
}

// known reads where the part comes from. It is 0 for that of another export,
// and for one that nobody knows.
func (p *part) known(size int64) int64 {
	b, err := os.ReadFile(p.note())
	var was provenance
	if err != nil || json.Unmarshal(b, &was) != nil || size > p.origin.Bytes {
		return 0
	}
	tag := was.ETag
	if was.ETag = ""; was != p.origin {
		return 0
	}
	p.origin.ETag = tag
	return size
}

// replay gives what is there to w, and stands at its end.
func (p *part) replay(w io.Writer) error {
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.CopyN(w, p.file, p.old); err != nil {
		return fmt.Errorf("read %s: %w", p.path(), err)
	}
	return nil
}

// restart implements sink.
func (p *part) restart(etag string) error {
	p.old, p.origin.ETag = 0, etag
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	b, err := json.Marshal(p.origin)
	if err != nil {
		return err
	}
	return os.WriteFile(p.note(), b, private)
}

// Write implements io.Writer.
func (p *part) Write(b []byte) (int, error) { return p.file.Write(b) }

// publish makes the file of the part, once it is safe on disk.
func (p *part) publish() error {
	if err := p.file.Sync(); err != nil {
		return err
	}
	if err := rename(p.file, p.path(), p.target); err != nil {
		return err
	}
	if err := os.Remove(p.note()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// close leaves the part for the next run.
func (p *part) close() { _ = p.file.Close() } // what counts was synced
