package export

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/jsontest"
)

// lines runs rows through a line writer and returns what came out.
func lines(t *testing.T, rows []jobs.Row) (out []byte, chunks []chunk) {
	t.Helper()
	pool := newChunks(2)
	w := newLineWriter(jobs.Conversations.Columns(), pool, func(c *chunk) error {
		out = append(out, c.raw...)
		kept := *c
		kept.raw = bytes.Clone(c.raw)
		chunks = append(chunks, kept)
		c.recycle()
		return nil
	})
	for _, r := range rows {
		if err := w.row(context.Background(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.endWindow(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	return out, chunks
}

func conversation(id int64, convo []byte) jobs.Row {
	return jobs.Row{number(id), number(0), []byte("c"), []byte("p"), nil, convo}
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

func TestLine(t *testing.T) {
	out, _ := lines(t, []jobs.Row{
		{number(-7), nil, []byte("a\"\\\n\r\t\x00\x1f\x7f/é\u2028😀"), []byte(""), nil, []byte("{\"a\" :\r\n 1.0}")},
		{number(math.MaxInt64), number(-1), nil, nil, []byte("x"), nil},
	})
	want := `{"id":-7,"created_at":null,"convo_id":"a\"\\\n\r\t\u0000\u001f` + "\x7f/é\u2028😀" + `","course_name":"","user_email":null,"convo":{"a" :   1.0}}
{"id":9223372036854775807,"created_at":"1999-12-31T23:59:59.999999+00:00","convo_id":null,"course_name":null,"user_email":"x","convo":null}
`
	if string(out) != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func TestAppendTime(t *testing.T) {
	for micros, want := range map[int64]string{
		0:                   `"2000-01-01T00:00:00.000000+00:00"`,
		745371340508062:     `"2023-08-14T23:35:40.508062+00:00"`,
		-1:                  `"1999-12-31T23:59:59.999999+00:00"`,
		math.MaxInt64:       `"infinity"`,
		math.MinInt64:       `"-infinity"`,
		-64464508800000000:  `"0044-03-15T00:00:00.000000+00:00 BC"`,
		-63234950400000001:  `"0005-02-29T23:59:59.999999+00:00 BC"`, // a leap year, as 1 BC is one
		9223371331199999999: `"294276-12-31T23:59:59.999999+00:00"`,
	} {
		if got := string(appendTime(nil, micros)); got != want {
			t.Errorf("%d: %s, want %s", micros, got, want)
		}
	}
}

// Chunks hold whole rows; only a row larger than a chunk has chunks of its
// own, and its last one ends with it.
func TestChunks(t *testing.T) {
	sizes := []int{10, 1000, chunkSize - 500, chunkSize, 5, 3*chunkSize + 17, 5, 5, chunkSize/2 + 1, chunkSize/2 + 1}
	var rows []jobs.Row
	var want []string
	for i, n := range sizes {
		text := `"` + strings.Repeat("x", n) + `"`
		rows = append(rows, conversation(int64(i+1), []byte(text)))
		want = append(want, text)
	}
	out, chunks := lines(t, rows)

	var at, next int64 = 0, 1
	for i, c := range chunks {
		if len(c.raw) > chunkSize {
			t.Errorf("chunk %d has %d bytes", i, len(c.raw))
		}
		ends := len(c.raw) == 0 || c.raw[len(c.raw)-1] == '\n'
		if ends != c.endsRow {
			t.Errorf("chunk %d: endsRow is %v, but it ends in a row's end: %v", i, c.endsRow, ends)
		}
		if n := int64(bytes.Count(c.raw, []byte("\n"))); n != c.rows {
			t.Errorf("chunk %d: %d rows, %d lines", i, c.rows, n)
		}
		if c.rows > 0 && (c.first != next || c.last != next+c.rows-1) {
			t.Errorf("chunk %d: ids %d to %d, want from %d", i, c.first, c.last, next)
		}
		next += c.rows
		at += int64(len(c.raw))
		if c.endsWindow != (i == len(chunks)-1) {
			t.Errorf("chunk %d: endsWindow is %v", i, c.endsWindow)
		}
	}
	for i, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		if !strings.HasSuffix(line, `"convo":`+want[i]+"}") {
			t.Errorf("row %d came out changed", i+1)
		}
	}
}

// A row that spreads is never in one chunk with a neighbour.
func TestLargeRowAlone(t *testing.T) {
	large := bytes.Repeat([]byte(" "), 2*chunkSize)
	large = append(large, "1"...)
	_, chunks := lines(t, []jobs.Row{conversation(1, []byte("1")), conversation(2, large), conversation(3, []byte("3"))})
	for i, c := range chunks {
		if c.rows > 1 || c.rows == 1 && c.first == 2 && !c.endsRow {
			t.Errorf("chunk %d holds rows %d to %d", i, c.first, c.last)
		}
	}
}

// Every line is JSON again, equal to what went in but for white space.
func FuzzLine(f *testing.F) {
	f.Add(int64(1), "a", "b\x00\"", []byte(`{"a":[1.0,1e400,-0,"\ud800",{"a":1,"a":2}]}`))
	f.Add(int64(-1), "", "\u2028\n", []byte("[\r\n1\t,\n\"\\n\"]"))
	f.Fuzz(func(t *testing.T, id int64, convoID, course string, convo []byte) {
		if !json.Valid(convo) {
			return
		}
		row := jobs.Row{number(id), number(id), []byte(strings.ToValidUTF8(convoID, "")), []byte(strings.ToValidUTF8(course, "")), nil, convo}
		out, chunks := lines(t, []jobs.Row{row})
		if bytes.Count(out, []byte("\n")) != 1 || bytes.ContainsRune(out, '\r') {
			t.Fatalf("not one line: %q", out)
		}
		stored, cut := plainCut(t, convo, jobs.MaxContexts)
		got := decode(t, out).([]jsontest.Member)
		want := []jsontest.Member{
			{Key: "id", Value: json.Number(fmt.Sprint(id))}, {Key: "created_at", Value: got[1].Value}, {Key: "convo_id", Value: string(row[2])},
			{Key: "course_name", Value: string(row[3])}, {Key: "user_email"}, {Key: "convo", Value: stored},
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %#v, want %#v", got, want)
		}
		if chunks[0].contextsCut != cut {
			t.Fatalf("%d contexts cut, want %d", chunks[0].contextsCut, cut)
		}
	})
}
