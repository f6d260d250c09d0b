package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/jsontest"
)

// stored is a row as the database's own text has it.
type stored struct {
	id      int64
	created *time.Time
	convoID *string
	course  *string
	email   *string
	convo   *string
}

// table reads a project's conversations, by another way than the exporter's.
func (s *service) table(project string) []stored {
	s.t.Helper()
	rows, err := s.Admin(s.t).Query(s.t.Context(), `select id, created_at, convo_id, course_name, user_email, convo::text
		from "llm-convo-monitor" where course_name = $1 order by id`, project)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (v stored, err error) {
		return v, r.Scan(&v.id, &v.created, &v.convoID, &v.course, &v.email, &v.convo)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

// line is what the file must say about a row, but for white space in convo.
func (v stored) line(t *testing.T) (tree []jsontest.Member, cut int64) {
	t.Helper()
	text := func(s *string) any {
		if s == nil {
			return nil
		}
		return *s
	}
	var created, convo any
	if v.created != nil {
		created = v.created.UTC().Format("2006-01-02T15:04:05.000000") + "+00:00"
	}
	if v.convo != nil {
		var err error
		if convo, err = jsontest.Tree([]byte(*v.convo)); err != nil {
			t.Fatal(err)
		}
		cut = jsontest.CapContexts(convo, jobs.MaxContexts)
	}
	return []jsontest.Member{
		{Key: "id", Value: json.Number(fmt.Sprint(v.id))}, {Key: "created_at", Value: created},
		{Key: "convo_id", Value: text(v.convoID)}, {Key: "course_name", Value: text(v.course)},
		{Key: "user_email", Value: text(v.email)}, {Key: "convo", Value: convo},
	}, cut
}

// withoutPlainConvo spares the slow comparison: a conversation in which nothing
// can be cut must stand in the line byte for byte, but for line breaks. Where
// it does, null takes its place in both.
func (v *stored) withoutPlainConvo(line []byte) []byte {
	if v.convo == nil || strings.Contains(*v.convo, "contexts") || strings.Contains(*v.convo, `\u`) {
		return line
	}
	plain := strings.NewReplacer("\n", " ", "\r", " ").Replace(*v.convo)
	head, ok := bytes.CutSuffix(line, []byte(plain+"}\n"))
	if !ok {
		return line
	}
	v.convo = nil
	return append(head, "null}\n"...)
}

// check compares a finished export with the table, row by row, and with what
// the job says about it.
func (s *service) check(j job, want []stored) {
	s.t.Helper()
	file := s.download(j.ID)
	sum := sha256.Sum256(file)
	if j.Result.SHA256 != hex.EncodeToString(sum[:]) || j.Result.Bytes != int64(len(file)) {
		s.t.Errorf("the job says %d bytes, sha256 %s; the file has %d, %x", j.Result.Bytes, j.Result.SHA256, len(file), sum)
	}
	if j.Result.Rows != int64(len(want)) {
		s.t.Errorf("the job says %d rows, the table has %d", j.Result.Rows, len(want))
	}
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(z)
	var n int
	var raw, cut int64
	for ; ; n++ {
		line, err := r.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil {
			s.t.Fatalf("line %d: %v", n+1, err)
		}
		raw += int64(len(line))
		if n >= len(want) {
			continue
		}
		row := want[n]
		line = row.withoutPlainConvo(line)
		got, err := jsontest.Tree(line)
		if err != nil {
			s.t.Fatalf("line %d: %v", n+1, err)
		}
		tree, left := row.line(s.t)
		cut += left
		if !reflect.DeepEqual(got, any(tree)) {
			s.t.Fatalf("row %d came out changed", row.id)
		}
	}
	if n != len(want) {
		s.t.Errorf("%d lines, want %d", n, len(want))
	}
	if j.Result.BytesRaw != raw || j.Result.ContextsCut != cut {
		s.t.Errorf("the job says %d raw bytes and %d contexts cut, the file has %d and %d", j.Result.BytesRaw, j.Result.ContextsCut, raw, cut)
	}
}

// python reads the file as the platform's documentation tells its users to.
func (s *service) python(j job, want []stored) {
	s.t.Helper()
	dir := s.t.TempDir()
	path := filepath.Join(dir, "export.jsonl.gz")
	if err := os.WriteFile(path, s.download(j.ID), 0o600); err != nil {
		s.t.Fatal(err)
	}
	var rows bytes.Buffer
	enc := json.NewEncoder(&rows)
	enc.SetEscapeHTML(false)
	for _, v := range want {
		if err := enc.Encode([]any{v.id, v.convoID, v.course, v.email, v.convo}); err != nil {
			s.t.Fatal(err)
		}
	}
	cmd := exec.Command("python3", "testdata/compare.py", path)
	cmd.Stdin = &rows
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Errorf("python: %v\n%s", err, out)
	}
}
