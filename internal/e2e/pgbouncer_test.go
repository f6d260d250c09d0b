package e2e

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// pgbouncer is what Debian's package installs.
const pgbouncer = "/usr/sbin/pgbouncer"

// behindPgbouncer puts a pooler in transaction mode before a world's source,
// with so many connections to the server. All settings but those named here
// are its defaults; ignore_startup_parameters above all is empty.
func behindPgbouncer(t *testing.T, w *testenv.World, poolSize int) {
	t.Helper()
	if _, err := os.Stat(pgbouncer); err != nil {
		t.Fatal("install Debian's package pgbouncer")
	}
	u, err := url.Parse(w.SourceURL)
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	password, _ := u.User.Password()
	dir := t.TempDir()
	users := filepath.Join(dir, "users.txt")
	ini := filepath.Join(dir, "pgbouncer.ini")
	settings := fmt.Sprintf(`[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = %s
listen_port = %s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = transaction
default_pool_size = %d
`, u.Hostname(), u.Port(), host, port, users, poolSize)
	for path, text := range map[string]string{users: fmt.Sprintf("%q %q\n", u.User.Username(), password), ini: settings} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{ini}
	if os.Geteuid() == 0 { // as whom it refuses to run; it reads its files before
		args = append(args, "-u", "nobody")
	}
	cmd, log := exec.Command(pgbouncer, args...), &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("pgbouncer:\n%s", log)
		}
	})
	u.Host = addr
	w.SourceURL = u.String()
}

// A pooler in transaction mode, as platforms have it, changes nothing.
func TestBehindPgbouncer(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 21, Conversations: demodata.Volume{Rows: 1500}, Documents: demodata.Volume{Rows: 40}})
	behindPgbouncer(t, w, 2)
	s := start(t, w, 1)
	s.check(s.succeed(s.create(demodata.DemoProject, conversations).ID), s.table(demodata.DemoProject))
	s.checkDocuments(s.succeed(s.create(demodata.DemoProject, `{"kind":"documents"}`).ID), s.documents(demodata.DemoProject))
	var servers, named int
	err := w.Admin(t).QueryRow(t.Context(), `select count(*), count(*) filter (where application_name in ('bulkexport-api', 'bulkexport-worker'))
		from pg_stat_activity where datname = current_database() and usename = 'bulkexport_source'`).Scan(&servers, &named)
	if err != nil || servers == 0 || servers > 2 || named != servers {
		t.Errorf("%d connections to the server, %d with their names: %v", servers, named, err)
	}
}

// Two exports have four readers. With fewer connections than that each must
// still get the one that it waits for.
func TestMoreReadersThanPgbouncerHasConnections(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 60)
	_, err := w.Admin(t).Exec(t.Context(), `update "llm-convo-monitor" set course_name = $1 where id % 2 = 0`, demodata.SparseProject)
	if err != nil {
		t.Fatal(err)
	}
	slowSource(t, w)
	behindPgbouncer(t, w, 2)
	s := start(t, w, 1)
	jobs := map[string]job{}
	for _, project := range []string{demodata.DemoProject, demodata.SparseProject} {
		jobs[project] = s.create(project, conversations)
	}
	for project, j := range jobs {
		done := s.succeed(j.ID)
		s.check(done, s.table(project))
		if done.Attempt != 1 {
			t.Errorf("%s: %d attempts", project, done.Attempt)
		}
	}
}

// A reader that is ahead of the other holds its connection while it waits. It
// must not be the only one there is: the other would never get its turn.
func TestOneConnectionBehindPgbouncer(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	// Windows of 1 MB as stored are ten times as large as read, and fill a reader.
	_, err := w.Admin(t).Exec(t.Context(), `insert into "llm-convo-monitor" (convo_id, course_name, convo)
		select 'c' || i, $1, json_build_object('messages', noise.text || repeat('compressible ', 35000))
		from generate_series(1, 100) i, (select string_agg(md5(i::text), '') text from generate_series(1, 1200) i) noise`, demodata.DemoProject)
	if err != nil {
		t.Fatal(err)
	}
	behindPgbouncer(t, w, 1)
	s := start(t, w, 1, "WORKER_CONCURRENCY=4", "PROJECT_SLOTS=4")
	var ids []string
	for range 8 { // which reader comes first is chance
		ids = append(ids, s.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID)
	}
	for _, id := range ids {
		if j := s.succeed(id); j.Attempt != 1 || j.Result.Rows != 100 {
			t.Errorf("%+v", j)
		}
	}
}
