package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// peak is the largest memory of a process's own so far, in bytes: without the
// program's file, which all workers of a machine share, and which the kernel
// lets go where memory is short.
func (p *process) peak() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	kib := func(field string) int64 {
		_, rest, _ := strings.Cut(string(status), field+":")
		kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		n, err := strconv.ParseInt(kb, 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		return n
	}
	return (kib("VmHWM") - kib("RssFile")) << 10
}

// memoryLimit is for a worker with one export, beside what its largest row takes.
// With three parts in memory, as before a slow store, it is some 77 MiB.
const memoryLimit = 85 << 20

// plainWorker is built anew: the race detector takes memory of its own.
var plainWorker = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaries, "plain-worker")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/worker").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

func (s *service) plainWorker(extra ...string) *process {
	s.t.Helper()
	path, err := plainWorker()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.runPath("worker", path, append(extra, "METRICS_ADDR="+freeAddr(s.t))...)
}

func (p *process) within(limit int64) {
	p.t.Helper()
	got := p.peak()
	p.t.Logf("the worker's memory reached %d MiB, the limit is %d", got>>20, limit>>20)
	if got > limit {
		p.t.Errorf("the worker's memory reached %d MiB, the limit is %d", got>>20, limit>>20)
	}
}

// An export must not need more memory than the pools that it is given.
func TestMemory(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 200)
	s := start(t, w, 0)
	p := s.plainWorker()
	j := s.succeed(s.create(demodata.DemoProject, conversations).ID)
	if j.Result.Bytes < 5*partSize {
		t.Fatalf("%d bytes show nothing", j.Result.Bytes)
	}
	p.within(memoryLimit)
}

// Four exports at once share what a process has anyway.
func TestMemoryOfFourExports(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 150)
	_, w.SourceURL = behindProxy(t, w.SourceURL, 40<<20) // so that they run at the same time
	s := start(t, w, 0, "WORKER_CONCURRENCY=4", "PROJECT_SLOTS=4")
	p := s.plainWorker()
	var ids []string
	for range 4 {
		ids = append(ids, s.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID)
	}
	s.eventually("all four run", func() bool {
		for _, id := range ids {
			if s.get(id).Progress.Rows == 0 {
				return false
			}
		}
		return true
	})
	for _, id := range ids {
		s.succeed(id)
	}
	p.within(memoryLimit + 3*80<<20)
}

// Rows of hundreds of megabytes come out whole, beside ordinary ones; the
// server and the worker hold one of them at a time.
func TestHugeRows(t *testing.T) {
	t.Parallel()
	const conversationBytes, documentBytes = 300 << 20, 200 << 20
	w := testenv.New(t)
	db := w.Admin(t)
	for _, sql := range []string{
		// Noise is not worth the time to compress it.
		`alter table "llm-convo-monitor" alter convo set storage external`,
		`alter table documents alter contexts set storage external`,
		fmt.Sprintf(`insert into "llm-convo-monitor" (convo_id, course_name, convo) select 'huge-' || i, '%s',
			case when i %% 4 = 2 then json_build_object('messages', json_build_array(json_build_object('role', 'user', 'content', noise.text)))
			else '{"messages":[]}' end
			from generate_series(1, 5) i, (select repeat(string_agg(md5(i::text), ''), 100) text from generate_series(1, %d / 3200) i) noise`,
			demodata.DemoProject, conversationBytes),
		fmt.Sprintf(`insert into documents (course_name, contexts) select '%s',
			case when i = 2 then (select jsonb_agg(jsonb_build_object('text', noise.text, 'embedding', i)) from generate_series(1, 100) i)
			else '[]' end
			from generate_series(1, 3) i, (select string_agg(md5(i::text), '') text from generate_series(1, %d / 3200) i) noise`,
			demodata.DemoProject, documentBytes),
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, w, 0)
	p := s.plainWorker()
	for _, c := range []struct{ kind, column, table string }{
		{"conversations", "convo", `"llm-convo-monitor"`}, {"documents", "contexts", "documents"},
	} {
		j := s.succeed(s.create(demodata.DemoProject, fmt.Sprintf(`{"kind":%q}`, c.kind)).ID)
		if j.Result.BytesRaw < documentBytes {
			t.Errorf("%s: %d bytes", c.kind, j.Result.BytesRaw)
		}
		s.sameSums(j, c.table, c.column)
	}
	p.within(memoryLimit + 2*conversationBytes)
}

// sameSums compares the last column of every line with the table's, by their
// checksums.
func (s *service) sameSums(j job, table, column string) {
	s.t.Helper()
	rows, err := s.Admin(s.t).Query(s.t.Context(), fmt.Sprintf(`select md5(%s::text) from %s order by id`, column, table))
	if err != nil {
		s.t.Fatal(err)
	}
	want, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(s.download(j.ID)))
	if err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewReaderSize(z, 1<<20)
	for i, sum := range want {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		_, value, _ := bytes.Cut(line, []byte(`"`+column+`":`))
		if got := fmt.Sprintf("%x", md5.Sum(bytes.TrimSuffix(value, []byte("}\n")))); got != sum {
			s.t.Errorf("line %d of %d bytes is not what is stored", i+1, len(line))
		}
	}
	if _, err := lines.ReadByte(); err != io.EOF {
		s.t.Errorf("more lines than rows: %v", err)
	}
}
