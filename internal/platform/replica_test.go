package platform_test

import (
	"context"
	"fmt"
	"net"
	"os"
	program "os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
)

// server is a Postgres of this test's own.
type server struct{ port string }

func (s server) url(role string) string {
	return "postgres://" + role + "@127.0.0.1:" + s.port + "/postgres"
}

// command is one of Postgres's, as a user whom it accepts.
func command(t *testing.T, name string, args ...string) *program.Cmd {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || found == nil {
		t.Fatalf("no %s: install Debian's package postgresql", name)
	}
	cmd := program.Command(slices.Max(found), args...)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.ParseUint(nobody.Uid, 10, 32)
		gid, _ := strconv.ParseUint(nobody.Gid, 10, 32)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	return cmd
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := command(t, name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// launch starts a server on a data folder, and ends it with the test.
func launch(t *testing.T, dir string, settings ...string) server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	args := []string{"-D", dir, "-p", port, "-k", "", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "autovacuum=off"}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	cmd := command(t, "postgres", args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGQUIT); _ = cmd.Wait() })
	s := server{port}
	soon(t, "the server answers", func() bool {
		db, err := pgx.Connect(t.Context(), s.url("postgres"))
		if err == nil {
			_ = db.Close(t.Context())
		}
		return err == nil
	})
	return s
}

func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not soon: %s", what)
		}
	}
}

// replicated makes a primary with rows and a replica that waits for nobody.
func replicated(t *testing.T) (primary *pgx.Conn, replica server) {
	t.Helper()
	dir, err := os.MkdirTemp("", "replica-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil { // the servers are another user's
		t.Fatal(err)
	}
	run(t, "initdb", "-D", dir+"/primary", "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8")
	first := launch(t, dir+"/primary")
	primary, err = pgx.Connect(t.Context(), first.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = primary.Close(context.WithoutCancel(t.Context())) })
	if err := demodata.CreateSchema(t.Context(), primary); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		deploy.SourceGrants,
		`insert into "llm-convo-monitor" (id, course_name, convo) select i, 'mine', to_json(repeat('x', 20000)) from generate_series(1, 400) i`,
		`insert into "llm-convo-monitor" (id, course_name, convo) select i, 'other', '1' from generate_series(1001, 2000) i`,
	} {
		if _, err := primary.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "pg_basebackup", "-d", first.url("postgres"), "-D", dir+"/replica", "-R", "-c", "fast", "--no-sync")
	return primary, launch(t, dir+"/replica", "max_standby_streaming_delay=0")
}

// When a replica's recovery ends a window, the same window can be read again.
func TestReplicaConflict(t *testing.T) {
	primary, replica := replicated(t)
	s, err := platform.OpenSource(t.Context(), replica.url("bulkexport_source"), "test", 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	spec := jobs.Spec{Project: "mine", Kind: jobs.Conversations}
	p, err := s.Plan(t.Context(), spec, jobs.All)
	if err != nil || p.Rows != 400 || p.Membership.OpenWriters != nil {
		t.Fatalf("%+v %v", p, err)
	}
	window := jobs.Window{To: 400, Rows: 400}
	n := 0
	_, err = s.Read(t.Context(), spec, window, each(func(jobs.Row) error {
		if n++; n == 1 {
			vacuum(t, primary, replica)
		}
		return nil
	}))
	if !jobs.IsTransient(err) {
		t.Fatalf("after %d rows: %v", n, err)
	}
	t.Logf("after %d rows: %v", n, err)
	if got := ids(t, s, spec, jobs.Plan{Windows: []jobs.Window{window}}); len(got) != 400 {
		t.Errorf("%d rows", len(got))
	}
}

// vacuum removes rows that the replica's snapshots may still see, and returns
// when the replica has done the same.
func vacuum(t *testing.T, primary *pgx.Conn, replica server) {
	t.Helper()
	for _, sql := range []string{`delete from "llm-convo-monitor" where course_name = 'other'`, `vacuum "llm-convo-monitor"`} {
		if _, err := primary.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	var at string
	if err := primary.QueryRow(t.Context(), `select pg_current_wal_flush_lsn()::text`).Scan(&at); err != nil {
		t.Fatal(err)
	}
	db, err := pgx.Connect(t.Context(), replica.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	soon(t, fmt.Sprint("the replica reaches ", at), func() bool {
		var there bool
		err := db.QueryRow(t.Context(), `select pg_last_wal_replay_lsn() >= $1::text::pg_lsn`, at).Scan(&there)
		return err == nil && there
	})
}
