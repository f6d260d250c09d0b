package export

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime/debug"

	"github.com/klauspost/compress/gzip"

	"github.com/bulkexport/bulkexport/internal/deflate"
)

// Compressor makes gzip members (RFC 1952, 2.2) of pieces of a file. It is not
// for use by several goroutines at once.
type Compressor struct {
	text    *gzip.Writer
	numbers deflate.Encoder
	out     []byte // the member being made of text
}

// NewCompressor makes a Compressor of a gzip level, 1 to 9. The level is that of
// text: pieces that are mostly numbers have an encoder of their own, which is
// faster than any level and as small as gzip's usual one.
func NewCompressor(level int) (*Compressor, error) {
	z, err := gzip.NewWriterLevel(io.Discard, level)
	if err != nil {
		return nil, fmt.Errorf("gzip level: %w", err)
	}
	return &Compressor{text: z}, nil
}

// Member appends raw, compressed, as one member to dst.
func (z *Compressor) Member(dst, raw []byte) ([]byte, error) {
	if deflate.Suits(raw) {
		return z.numbers.Member(dst, raw), nil
	}
	z.out = dst
	z.text.Reset(z)
	if _, err := z.text.Write(raw); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := z.text.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return z.out, nil
}

// Write implements io.Writer for the library.
func (z *Compressor) Write(p []byte) (int, error) {
	z.out = append(z.out, p...)
	return len(p), nil
}

// gcPercent: what a worker holds are a few large buffers without pointers, which
// cost the collector nothing to look at and much to leave lying about.
const gcPercent = 5

// CollectEarly sets the garbage collector of a process that exports, unless
// GOGC does.
func CollectEarly() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// contentType of the file.
const contentType = "application/gzip"

// emptyMember is the file of an export without rows.
func emptyMember() ([]byte, error) {
	var b bytes.Buffer
	if err := gzip.NewWriter(&b).Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return b.Bytes(), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc32c is a part's checksum as S3 wants it.
func crc32c(data []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli)))
}
