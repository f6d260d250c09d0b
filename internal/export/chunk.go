package export

import (
	"context"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"

	"github.com/bulkexport/bulkexport/internal/deflate"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// A chunk becomes one gzip member. Members of three quarters of a MiB cost 0.4 %
// of size against one stream, and keep the buffers small.
const (
	chunkSize   = 768 << 10
	readerSlots = 6 // chunks a reader may hold
)

// chunk is a buffer of lines on its way to a gzip member: whole rows, or a
// piece of one row that is larger than a chunk.
type chunk struct {
	raw         []byte
	gz          []byte
	rows        int64 // that end in this chunk
	first, last int64 // their ids
	contextsCut int64
	endsRow     bool
	endsWindow  bool
	window      outcome // where it ends a window

	ready chan struct{} // gz is complete
	home  chan *chunk   // the reader that owns it
}

// outcome is what a window had beside its rows.
type outcome struct {
	skipped []jobs.Skipped
	change  int64 // rows more than planned; fewer if negative
}

func newChunks(n int) chan *chunk {
	home := make(chan *chunk, n)
	for range n {
		home <- &chunk{raw: make([]byte, 0, chunkSize), ready: make(chan struct{}, 1), home: home}
	}
	return home
}

// recycle gives a chunk back to its reader.
func (c *chunk) recycle() {
	*c = chunk{raw: c.raw[:0], gz: c.gz[:0], ready: c.ready, home: c.home}
	c.home <- c
}

// Write appends to the compressed bytes.
func (c *chunk) Write(p []byte) (int, error) {
	c.gz = append(c.gz, p...)
	return len(p), nil
}

var _ io.Writer = (*chunk)(nil)

// compressor makes gzip members of one level; chunks of numbers have an encoder
// of their own, which is smaller and faster than any level.
type compressor struct {
	text    *gzip.Writer
	numbers deflate.Encoder
}

func newCompressor(level int) (*compressor, error) {
	z, err := gzip.NewWriterLevel(io.Discard, level)
	if err != nil {
		return nil, fmt.Errorf("gzip level: %w", err)
	}
	return &compressor{text: z}, nil
}

// run makes members of the chunks that arrive, until work is closed.
func (z *compressor) run(ctx context.Context, work <-chan *chunk) error {
	for {
		select {
		case c, ok := <-work:
			if !ok {
				return nil
			}
			if err := z.member(c); err != nil {
				return err
			}
			c.ready <- struct{}{}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// member compresses a chunk into a gzip member of its own (RFC 1952, 2.2).
func (z *compressor) member(c *chunk) error {
	if deflate.Suits(c.raw) {
		c.gz = z.numbers.Member(c.gz[:0], c.raw)
		return nil
	}
	z.text.Reset(c)
	if _, err := z.text.Write(c.raw); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if err := z.text.Close(); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}
