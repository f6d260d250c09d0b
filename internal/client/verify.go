package client

import (
	"bufio"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
)

// Verify compares a file with its manifest: size, sums, parts, and every line.
// It returns a *Mismatch with the first difference. It reads the file once, and
// holds some hundred kilobytes whatever the size of a row. progress may be nil.
func Verify(ctx context.Context, path string, m Manifest, progress func(bytes int64)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	is, err := f.Stat()
	if err != nil {
		return err
	}
	if is.Size() != m.Bytes {
		return mismatch("the file has %d bytes; the manifest says %d", is.Size(), m.Bytes)
	}
	if progress == nil {
		progress = func(int64) {}
	}
	in := &reading{ctx: ctx, r: f, sum: sha256.New(), progress: progress}
	v := &verifier{raw: sha256.New()}
	return v.file(in, m)
}

// reading is the file on its way: hashed, counted, and broken off when ctx ends.
type reading struct {
	ctx      context.Context
	r        io.Reader
	sum      hash.Hash
	n        int64
	progress func(int64)
	err      error // of the file itself, not of what stands in it
}

// Read implements io.Reader.
func (r *reading) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		r.err = context.Cause(r.ctx)
		return 0, r.err
	}
	n, err := r.r.Read(p)
	r.sum.Write(p[:n])
	r.n += int64(n)
	r.progress(r.n)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// verifier looks at the lines as they come out of the parts.
type verifier struct {
	raw   hash.Hash
	size  int64
	lines lineChecker
	zip   *gzip.Reader
}

func (v *verifier) file(in *reading, m Manifest) error {
	for _, p := range m.Parts {
		err := v.part(in, p)
		if in.err != nil {
			return in.err
		}
		if err != nil {
			return err
		}
	}
	switch sum, raw := hex.EncodeToString(in.sum.Sum(nil)), hex.EncodeToString(v.raw.Sum(nil)); {
	case sum != m.SHA256:
		return mismatch("the file has sha256 %s; the manifest says %s", sum, m.SHA256)
	case v.lines.inside():
		return mismatch("the last line has no end")
	case v.size != m.BytesRaw:
		return mismatch("the lines have %d bytes; the manifest says %d", v.size, m.BytesRaw)
	case raw != m.SHA256Raw:
		return mismatch("the lines have sha256 %s; the manifest says %s", raw, m.SHA256Raw)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// part reads the gzip members of one part, which may not reach into the next.
func (v *verifier) part(in *reading, p Part) error {
	from := in.n
	sum := crc32.New(castagnoli)
	members := bufio.NewReaderSize(io.TeeReader(io.LimitReader(in, p.Bytes), sum), 64<<10)
	v.lines.part()
	err := v.unzip(members)
	var m *Mismatch
	if errors.As(err, &m) {
		return err
	}
	where := fmt.Sprintf("part %d (bytes %d to %d of the file)", p.Number, from, from+p.Bytes-1)
	if err != nil {
		return mismatch("%s cannot be decompressed: %v", where, err)
	}
	l := &v.lines
	switch got := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32())); {
	case got != p.CRC32C:
		return mismatch("%s has CRC32C %s; the manifest says %s", where, got, p.CRC32C)
	case l.rows != p.Rows:
		return mismatch("%s has %d rows; the manifest says %d", where, l.rows, p.Rows)
	case l.rows > 0 && (l.first != p.FirstID || l.id != p.LastID):
		return mismatch("%s has ids %d to %d; the manifest says %d to %d", where, l.first, l.id, p.FirstID, p.LastID)
	}
	return nil
}

func (v *verifier) unzip(members *bufio.Reader) (err error) {
	if v.zip == nil {
		v.zip, err = gzip.NewReader(members)
	} else {
		err = v.zip.Reset(members)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(v, v.zip)
	return err
}

// Write implements io.Writer: it takes the lines.
func (v *verifier) Write(b []byte) (int, error) {
	v.raw.Write(b)
	v.size += int64(len(b))
	if err := v.lines.take(b); err != nil {
		return 0, err
	}
	return len(b), nil
}
