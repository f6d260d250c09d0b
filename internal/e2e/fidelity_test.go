package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/jsontest"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// chunkSize is the exporter's: what is larger spreads over gzip members.
const chunkSize = 768 << 10

// traps are values that JSON tools are known to change or to break on. All of
// them are what a json column accepts; not all of them fit into jsonb.
func traps() []string {
	contexts := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(`{"t":"]"}, `, n), ", ") + "]" }
	list := []string{
		`null`, `true`, `0`, `-0`, `-0.0`, `1.0`, `1E400`, `1e-400`, `1.50e+02`, `123456789012345678901234567890`, `0.10000000000000000000000000001`,
		`""`, `"\u0000"`, `"\ud800"`, `"\udc00\ud800"`, `"\uD83D\uDE00"`, `"\u2028\u2029\u007f\/\b\f"`, "\"\u2028\u2029\u007f\uFEFF\U0001F600\"", `"</script>&<>"`,
		"{\r\n\t\"a\"\r:\n[\n1\n,\r\n2 ]\r}", " \n{} \r", `{}`, `[]`, `[[],{}]`, `{"":{"":""}}`, `{"a":1,"a":2,"a":{"a":3}}`, `{"b":1,"a":2,"B":3}`, `"\\"`, `"\\\""`, `"[1, 2]"`,
		strings.Repeat("[", 3000) + strings.Repeat("]", 3000), strings.Repeat(`{"a":`, 3000) + "1" + strings.Repeat("}", 3000),
		`{"messages":{"role":"assistant","contexts":` + contexts(99) + `}}`,
		`{"messages":[{"role":"assistant","contexts":{"0":` + contexts(99) + `}},{"role":"assistant","x":{"contexts":` + contexts(99) + `}}]}`,
		`{"x":{"messages":[{"role":"assistant","contexts":` + contexts(99) + `}]}}`,
		`{"messages":[` + contexts(99) + `,null,"assistant",{"role":"user","contexts":` + contexts(99) + `}]}`,
	}
	for _, n := range []int{0, 1, 79, 80, 81, 500} {
		list = append(list,
			`{"messages":[{"role":"assistant","contexts":`+contexts(n)+`}]}`,
			`{"messages":[{"contexts":`+contexts(n)+`,"r\u006fle":"\u0061ssistant"}]}`,
			"{\"messages\":[{\"role\":\"user\",\n\"\\u0063ontexts\" :\r\n"+contexts(n)+"\n,\"role\":\"assistant\"}],\"messages\":[{\"role\":\"assistant\",\"contexts\":"+contexts(n)+"}]}",
			`{"messages":[{"role":"assistant","contexts":`+contexts(n)+`,"role":"user"}]}`)
	}
	for n := -200; n <= 4; n += 3 { // a row of as many bytes as a chunk is among them, and one more and less
		list = append(list, `"`+strings.Repeat(`\"x`, (chunkSize+n)/3)+`"`)
	}
	return append(list, `["`+strings.Repeat(`]\\`, chunkSize)+`"]`)
}

// Whatever a json column takes comes out as the same bytes, but for line breaks
// and contexts that are cut.
func TestTrapsInJSON(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	var rows [][]any
	for i, v := range traps() {
		rows = append(rows, []any{fmt.Sprint("trap-", i), demodata.DemoProject, v})
	}
	_, err := w.Admin(t).CopyFrom(t.Context(), pgx.Identifier{"llm-convo-monitor"}, []string{"convo_id", "course_name", "convo"}, pgx.CopyFromRows(rows))
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, w, 1)
	j := s.succeed(s.create(demodata.DemoProject, conversations).ID)
	stored := s.texts(`select convo::text from "llm-convo-monitor" order by id`)
	if len(stored) != len(rows) {
		t.Fatalf("%d rows, %d inserted", len(stored), len(rows))
	}
	cut := int64(0)
	for i, line := range s.linesOf(j) {
		got := lastValue(t, line, "convo")
		want := strings.NewReplacer("\n", " ", "\r", " ").Replace(stored[i])
		tree := treeOf(t, want)
		n := jsontest.CapContexts(tree, jobs.MaxContexts)
		cut += n
		if n == 0 && got != want || !reflect.DeepEqual(treeOf(t, got), tree) {
			t.Errorf("%.60q came out as %.60q", want, got)
		}
	}
	if cut != j.Result.ContextsCut || cut < 4*400 {
		t.Errorf("%d contexts cut, the job says %d", cut, j.Result.ContextsCut)
	}
}

// Documents are jsonb, which has its own text for a value; what stands around
// it is whatever people and web pages gave as a name.
func TestTrapsInDocuments(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	db := w.Admin(t)
	names := []string{"", " ", `"`, `\`, `\"`, "a\nb\r\tc", "\x01\x1f\x7f", "\u2028\ufeff\ufffd", "\U0001F600 наука 数学", `<a href="x">&amp;</a>`, `{"a":1}`, strings.Repeat(`\`, chunkSize)}
	times := []any{nil, "infinity", "-infinity", "0005-02-29 00:00:00+00 BC", "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999+00", "294276-12-31 23:59:59.999999+00", "2023-08-14 23:35:40.5+00"}
	n := 0
	for i, v := range traps() {
		name := names[i%len(names)]
		_, err := db.Exec(t.Context(), `insert into documents (course_name, s3_path, readable_filename, url, base_url, created_at, contexts)
			values ($1, $2, $2, $2, nullif($2, ''), $3::text::timestamptz, $4::text::jsonb)`, demodata.DemoProject, name, times[i%len(times)], v)
		if err == nil {
			n++ // jsonb takes neither \u0000 nor lone surrogates nor numbers beyond its range
		}
	}
	if n < len(traps())-15 {
		t.Fatalf("%d of %d inserted", n, len(traps()))
	}
	s := start(t, w, 1)
	j := s.succeed(s.create(demodata.DemoProject, `{"kind":"documents"}`).ID)
	stored := s.texts(`select contexts::text from documents order by id`)
	meta := s.texts(`select json_build_array(s3_path, readable_filename, url, base_url)::text from documents order by id`)
	whens := s.texts(`set timezone to utc; select coalesce(to_json(created_at)::text, 'null') from documents order by id`)
	for i, line := range s.linesOf(j) {
		if got := lastValue(t, line, "contexts"); got != stored[i] {
			t.Errorf("%.60q came out as %.60q", stored[i], got)
		}
		checkNames(t, line, meta[i], whens[i])
	}
}

// checkNames compares what stands before the contexts with the database's own
// JSON of it; times are compared without their zeros, as the database drops them.
func checkNames(t *testing.T, line, meta, when string) {
	t.Helper()
	var row struct {
		Path     *string `json:"s3_path"`
		Filename *string `json:"readable_filename"`
		URL      *string `json:"url"`
		Base     *string `json:"base_url"`
		Created  *string `json:"created_at"`
	}
	var want []*string
	if err := json.Unmarshal([]byte(line), &row); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(meta), &want); err != nil {
		t.Fatal(err)
	}
	if got := []*string{row.Path, row.Filename, row.URL, row.Base}; !reflect.DeepEqual(got, want) {
		t.Errorf("names came out changed: %.80q", line)
	}
	got := "null"
	if row.Created != nil {
		instant, zone, dated := strings.Cut(*row.Created, "+")
		if dated {
			instant, zone = strings.TrimRight(strings.TrimRight(instant, "0"), "."), "+"+zone
		}
		got = `"` + instant + zone + `"`
	}
	if got != when {
		t.Errorf("created_at is %s, stored is %s", got, when)
	}
}

func treeOf(t *testing.T, v string) any {
	t.Helper()
	tree, err := jsontest.Tree([]byte(v))
	if err != nil {
		t.Fatalf("%.60q: %v", v, err)
	}
	return tree
}

// lastValue is the text of a line's last column.
func lastValue(t *testing.T, line, column string) string {
	t.Helper()
	_, v, ok := strings.Cut(line, `,"`+column+`":`)
	v, closed := strings.CutSuffix(v, "}\n")
	if !ok || !closed {
		t.Fatalf("no %s in %.60q", column, line)
	}
	return v
}

func (s *service) linesOf(j job) (lines []string) {
	s.t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(s.download(j.ID)))
	if err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReaderSize(z, 1<<20)
	for {
		line, err := r.ReadString('\n')
		if line == "" {
			return lines
		}
		if err != nil {
			s.t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

// texts reads one column.
func (s *service) texts(sql string) []string {
	s.t.Helper()
	db := s.Admin(s.t)
	if set, rest, ok := strings.Cut(sql, "; "); ok {
		if _, err := db.Exec(s.t.Context(), set); err != nil {
			s.t.Fatal(err)
		}
		sql = rest
	}
	rows, err := db.Query(s.t.Context(), sql)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}
