package platform

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// gate stands between a connection and pgx, which takes memory for a whole row
// as soon as it knows its length. Before a large row's first byte is handed on
// the gate asks permit, and meanwhile leaves the row to the server: neither
// stored nor planned sizes tell how large a row will be, only the protocol does.
type gate struct {
	r      *bufio.Reader
	left   int          // bytes of the current message
	permit func() error // nil: everything may pass
}

// gateBuffer saves system calls where rows are small; large reads bypass it.
const gateBuffer = 32 << 10

// Every message begins with a type and a length that counts itself
// (PostgreSQL, "Message Formats").
const (
	messageHeader = 5
	dataRow       = 'D'
)

// Read hands on at most one message at a time.
func (g *gate) Read(p []byte) (int, error) {
	if g.left == 0 {
		header, err := g.r.Peek(messageHeader)
		if err != nil {
			return 0, err
		}
		g.left = 1 + int(binary.BigEndian.Uint32(header[1:]))
		if header[0] == dataRow && g.left > jobs.LargeRow && g.permit != nil {
			if err := g.permit(); err != nil {
				g.left = 0
				return 0, err
			}
		}
	}
	n, err := g.r.Read(p[:min(len(p), g.left)])
	g.left -= n
	return n, err
}

// gateKey finds a connection's gate in its custom data.
const gateKey = "bulkexport.gate"

// installGate gives the connection that cfg is about to make a gate of its own.
func installGate(_ context.Context, cfg *pgx.ConnConfig) error {
	g := &gate{}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		*g = gate{r: bufio.NewReaderSize(r, gateBuffer)} // also when one of several hosts did not answer
		return pgproto3.NewFrontend(g, w)
	}
	cfg.AfterConnect = func(_ context.Context, c *pgconn.PgConn) error {
		c.CustomData()[gateKey] = g
		// Others are not converted, or not without loss; JSON is UTF-8 (RFC 8259, 8.1).
		if encoding := c.ParameterStatus("server_encoding"); encoding != "UTF8" {
			return fmt.Errorf("its encoding is %s, UTF8 is needed", encoding)
		}
		return nil
	}
	return nil
}

func gateOf(tx pgx.Tx) *gate { return tx.Conn().PgConn().CustomData()[gateKey].(*gate) }
