package demodata

import (
	"context"
	"encoding/binary"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// rowReader is COPY's binary format as a stream: no escaping, and never more
// than one row in memory. Next appends a row, or returns nil at the end.
type rowReader struct {
	next  func(b []byte) []byte
	buf   []byte
	off   int
	begun bool
	ended bool
}

func (r *rowReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if r.off == len(r.buf) && !r.refill() {
			break
		}
		c := copy(p[n:], r.buf[r.off:])
		n += c
		r.off += c
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *rowReader) refill() bool {
	r.off = 0
	switch {
	case r.ended:
		r.buf = r.buf[:0]
		return false
	case !r.begun:
		r.begun = true
		r.buf = append(r.buf[:0], "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	default:
		row := r.next(r.buf[:0])
		if row == nil {
			r.ended = true
			row = binary.BigEndian.AppendUint16(r.buf[:0], 0xffff)
		}
		r.buf = row
	}
	return true
}

func copyRows(ctx context.Context, db *pgconn.PgConn, into string, next func(b []byte) []byte) error {
	_, err := db.CopyFrom(ctx, &rowReader{next: next}, "copy "+into+" from stdin (format binary)")
	return err
}

func appendFields(b []byte, n int) []byte { return binary.BigEndian.AppendUint16(b, uint16(n)) }

func appendNull(b []byte) []byte { return append(b, 0xff, 0xff, 0xff, 0xff) }

func appendInt(b []byte, v int64) []byte {
	b = append(b, 0, 0, 0, 8)
	return binary.BigEndian.AppendUint64(b, uint64(v))
}

// postgresEpoch is what timestamps of the binary format count from.
var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

func appendTime(b []byte, micros int64) []byte { return appendInt(b, micros-postgresEpoch) }

func appendText[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}

// appendTextOrNull makes NULL of an empty string.
func appendTextOrNull[T string | []byte](b []byte, s T) []byte {
	if len(s) == 0 {
		return appendNull(b)
	}
	return appendText(b, s)
}

// appendJSONB appends a value of jsonb: its text behind a version.
func appendJSONB(b, s []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)+1))
	b = append(b, 1)
	return append(b, s...)
}
