package platform

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

func message(kind byte, body int) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(4+body))
	return append(m, bytes.Repeat([]byte{kind}, body)...)
}

// Nothing of a large row passes before it is permitted, and everything passes
// as it came.
func TestGate(t *testing.T) {
	var stream []byte
	large := map[int]bool{} // by where they begin
	for _, m := range [][]byte{
		message('D', 10), message('T', jobs.LargeRow+1), message('D', jobs.LargeRow-4), message('D', jobs.LargeRow-3),
		message('C', 0), message('D', jobs.LargeRow*2), message('Z', 1),
	} {
		if m[0] == 'D' && len(m) > jobs.LargeRow {
			large[len(stream)] = true
		}
		stream = append(stream, m...)
	}
	if len(large) != 2+1 {
		t.Fatalf("%d large rows", len(large))
	}
	var got bytes.Buffer
	g := &gate{r: bufio.NewReaderSize(bytes.NewReader(stream), gateBuffer)}
	g.permit = func() error {
		if !large[got.Len()] {
			t.Errorf("asked behind %d bytes", got.Len())
		}
		delete(large, got.Len())
		return nil
	}
	if _, err := io.CopyBuffer(&got, struct{ io.Reader }{g}, make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), stream) || len(large) != 0 {
		t.Errorf("%d of %d bytes; not asked for %v", got.Len(), len(stream), large)
	}
}

func TestGateRefuses(t *testing.T) {
	g := &gate{r: bufio.NewReader(bytes.NewReader(message('D', jobs.LargeRow)))}
	refused := errors.New("refused")
	g.permit = func() error { return refused }
	if n, err := g.Read(make([]byte, 100)); n != 0 || err != refused {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A window is small, or it is one row.
func TestWindowsOfLargeRows(t *testing.T) {
	var w windows
	sizes := []int64{1, 200, windowMost, 300, windowStored - 301, 2, 5 * windowMost, 7, windowMost - 7, 1}
	for i, size := range sizes {
		w.add(int64(10*i+5), size)
	}
	list, rows, stored, highest := w.end()
	next, total := int64(4), int64(0)
	for _, win := range list {
		if win.After != next || (win.Rows > 1 && win.Stored > windowMost) || win.Rows == 0 {
			t.Errorf("%+v behind %d", win, next)
		}
		next = win.To
		total += win.Stored
	}
	if rows != int64(len(sizes)) || stored != total || highest != next || next != 95 || len(list) != 6 {
		t.Errorf("%d rows, %d bytes up to %d in %+v", rows, stored, highest, list)
	}
}
