package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/s3"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// The gateway runs as a child of this very binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == s3.Command {
		if err := s3.Serve(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const rows = 50

func start(t *testing.T, dir string) *Stack {
	t.Helper()
	s, err := Start(t.Context(), Options{Dir: dir, Programs: true, Say: t.Logf, Data: &demodata.Options{
		Seed: 1, Conversations: demodata.Volume{Rows: rows}, Documents: demodata.Volume{Rows: 6},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	return s
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.WithoutCancel(t.Context())) })
	return db
}

func conversations(t *testing.T, s *Stack) (n int) {
	t.Helper()
	db := connect(t, s.Env().Get("SOURCE_DATABASE_URL"))
	if err := db.QueryRow(t.Context(), `select count(*) from "llm-convo-monitor"`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// One stack serves all that does not need one of its own.
func TestStack(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	t.Run("second instance", func(t *testing.T) {
		_, err := Start(t.Context(), Options{Dir: dir, Say: t.Logf})
		if inUse := new(InUseError); !errors.As(err, &inUse) || inUse.PID != fmt.Sprint(os.Getpid()) {
			t.Errorf("a second instance: %v", err)
		}
	})
	t.Run("least privilege", func(t *testing.T) { leastPrivilege(t, s) })
	t.Run("the service's role", func(t *testing.T) { servicesRole(t, s) })
	t.Run("store", func(t *testing.T) { storeWorks(t, s) })
	t.Run("roles", func(t *testing.T) { rolesAreThere(t, s) })

	before := conversations(t, s)
	env := s.Env()
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, dir)
	if after := conversations(t, again); before != rows || after != before {
		t.Errorf("%d rows, then %d after a restart", before, after)
	}
	for i, v := range again.Env() {
		if v != env[i] {
			t.Errorf("a restart changed %v to %v", env[i], v)
		}
	}
	select {
	case err := <-s.Failed():
		t.Errorf("a component that was stopped counts as failed: %v", err)
	default:
	}
}

func leastPrivilege(t *testing.T, s *Stack) {
	db := connect(t, s.Env().Get("SOURCE_DATABASE_URL"))
	for sql, allowed := range map[string]bool{
		`select user_id, key, is_active, email from api_keys`:                                                                      true,
		`select * from documents d join documents_doc_groups m on m.document_id = d.id join doc_groups g on g.id = m.doc_group_id`: true,
		`select * from projects`:                                     true,
		`select * from api_keys`:                                     false,
		`update documents set url = url`:                             false,
		`delete from "llm-convo-monitor"`:                            false,
		`set default_transaction_read_only = off; truncate projects`: false,
		`create table mine (a int)`:                                  false,
		`create schema mine`:                                         false,
	} {
		if _, err := db.Exec(t.Context(), sql); (err == nil) != allowed {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func servicesRole(t *testing.T, s *Stack) {
	db := connect(t, s.Env().Get("DATABASE_URL"))
	for sql, allowed := range map[string]bool{
		`create schema bulkexport`:              true,
		`create database bulkexport_test`:       true,
		`select 1 from projects`:                false,
		`alter table projects add column x int`: false,
	} {
		if _, err := db.Exec(t.Context(), sql); (err == nil) != allowed {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func storeWorks(t *testing.T, s *Stack) {
	store, err := s.s3.Client()
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.PutObject(t.Context(), exportsBucket, "a/b", strings.NewReader("hello"), 5, minio.PutObjectOptions{ContentType: "text/x"})
	if err != nil {
		t.Fatal(err)
	}
	link, err := store.PresignedGetObject(t.Context(), exportsBucket, "a/b", time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{link.String(): "200 hello text/x", s.s3.URL() + "/exports/a/b": "403"} {
		if got := fetch(t, url); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", url, got)
		}
	}
	originals := 0
	for o := range store.ListObjectsIter(t.Context(), originalsBucket, minio.ListObjectsOptions{Recursive: true}) {
		if o.Err != nil || !strings.HasPrefix(o.Key, "courses/"+demodata.DemoProject+"/") {
			t.Errorf("original %q: %v", o.Key, o.Err)
		}
		originals++
	}
	if originals == 0 {
		t.Error("no originals")
	}
}

// fetch returns status, body and content type of an answer.
func fetch(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode, " ", string(b), " ", res.Header.Get("Content-Type"))
}

func rolesAreThere(t *testing.T, s *Stack) {
	rdb := s.roles.Client()
	defer rdb.Close()
	v, err := rdb.HGet(t.Context(), "course_metadatas", demodata.DemoProject).Result()
	if err != nil || !strings.Contains(strings.ToLower(v), demodata.OwnerEmail) {
		t.Errorf("%s %v", v, err)
	}
}

// What a start that was broken off has left is made good by the next.
func TestHalfMadeDataIsRepaired(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "postgres.new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir)
	db := connect(t, s.postgres.AdminURL())
	for _, sql := range []string{`drop database platform with (force)`, `create database platform_building`} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if n := conversations(t, start(t, dir)); n != rows {
		t.Errorf("%d rows", n)
	}
}

func TestEndOfAComponentIsTold(t *testing.T) {
	s := start(t, t.TempDir())
	if err := syscall.Kill(s.s3.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := <-s.Failed()
	if !strings.Contains(err.Error(), "s3 ended unexpectedly (signal: killed)") {
		t.Error(err)
	}
}

// Without a server program an embedded Redis takes its place.
func TestWithoutRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var said strings.Builder
	s, err := Start(t.Context(), Options{Dir: t.TempDir(), Say: func(f string, args ...any) { fmt.Fprintf(&said, f, args...) }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if !strings.Contains(said.String(), "an embedded Redis takes their place") {
		t.Errorf("said %q", said.String())
	}
	rolesAreThere(t, s)
	rdb := s.queue.Client()
	defer rdb.Close()
	if err := rdb.Set(t.Context(), "lock", "x", 50*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for tick := time.Tick(10 * time.Millisecond); ; {
		n, err := rdb.Exists(t.Context(), "lock").Result()
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		select {
		case <-tick:
		case <-deadline:
			t.Fatal("a key with a limited life does not go")
		}
	}
}
