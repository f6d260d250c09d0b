package platform_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

var (
	limitsSpec   = jobs.Spec{Project: "mine", Kind: jobs.Conversations}
	limitsWindow = jobs.Window{To: 100}
)

// locked makes every statement on the table wait until the test ends.
func locked(t *testing.T, w *testenv.World) {
	t.Helper()
	tx, err := w.Admin(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `lock table "llm-convo-monitor" in access exclusive mode`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
}

// A server that keeps a window waiting beyond its limit is asked again later.
func TestSlowWindow(t *testing.T) {
	s, w := openSource(t)
	locked(t, w)
	s.SetWait(300 * time.Millisecond)
	got, err := s.Read(t.Context(), limitsSpec, limitsWindow, each(func(jobs.Row) error { return nil }))
	if !jobs.IsTransient(err) || got.Waited < 300*time.Millisecond {
		t.Errorf("waited %v: %v", got.Waited, err)
	}
	if n := waiting(t, w); n != 0 {
		t.Errorf("%d statements are left at the server", n)
	}
}

// waiting counts the source's statements that wait for a lock, until there is
// none or time is up.
func waiting(t *testing.T, w *testenv.World) (n int) {
	t.Helper()
	db := w.Admin(t)
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := db.QueryRow(t.Context(), `select count(*) from pg_stat_activity where datname = current_database()
			and application_name = 'test' and state = 'active' and wait_event_type = 'Lock'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 || time.Now().After(deadline) {
			return n
		}
	}
}

// The time that a reader takes over its rows is not the server's.
func TestSlowReaderIsNotASlowWindow(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into "llm-convo-monitor" (course_name, convo) select 'mine', '1' from generate_series(1, 4)`)
	const limit = time.Second
	s.SetWait(limit)
	rows := 0
	got, err := s.Read(t.Context(), limitsSpec, limitsWindow, each(func(jobs.Row) error {
		rows++
		<-time.After(limit / 2)
		return nil
	}))
	if err != nil || rows != 4 || got.Waited > limit {
		t.Errorf("%d rows, waited %v: %v", rows, got.Waited, err)
	}
}

// When an export ends, so does its statement at the server.
func TestCancelReachesTheServer(t *testing.T) {
	s, w := openSource(t)
	locked(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Read(ctx, limitsSpec, limitsWindow, each(func(jobs.Row) error { return nil }))
		done <- err
	}()
	db := w.Admin(t)
	for n := 0; n == 0; {
		if err := db.QueryRow(t.Context(), `select count(*) from pg_locks where not granted and relation = '"llm-convo-monitor"'::regclass`).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a canceled reading succeeded")
	}
	if n := waiting(t, w); n != 0 {
		t.Errorf("%d statements are left at the server", n)
	}
}

// What a transaction is, is seen from beside it.
func TestTransactionIsShortAndReadOnly(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `create function probe() returns text language sql volatile as
		$$ select current_setting('transaction_read_only') || ' ' || current_setting('transaction_isolation') || ' ' || current_setting('statement_timeout') $$`)
	exec(t, w, `alter table "llm-convo-monitor" rename to original`)
	exec(t, w, `create view "llm-convo-monitor" as select id, created_at, course_name, user_email, convo, probe() convo_id from original`)
	exec(t, w, `grant select on "llm-convo-monitor" to bulkexport_source`)
	exec(t, w, `insert into original (course_name, convo) values ('mine', '1')`)
	var got string
	_, err := s.Read(t.Context(), limitsSpec, limitsWindow, each(func(r jobs.Row) error { got = string(r[2]); return nil }))
	if want := "on repeatable read 5min"; err != nil || got != want {
		t.Errorf("%q, want %q: %v", got, want, err)
	}
}

// A row beyond the limit asks before it comes; others do not.
func TestLargeRowAsks(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into "llm-convo-monitor" (id, course_name, convo) values
		(1, 'mine', '1'), (2, 'mine', to_json(repeat('x', 40000000))), (3, 'mine', '3'), (4, 'mine', to_json(repeat('y', 34000000)))`)
	var order []string
	if _, err := s.Read(t.Context(), limitsSpec, limitsWindow, &asked{order: &order}); err != nil {
		t.Fatal(err)
	}
	if got, want := len(order), 6; got != want || order[1] != "large" || order[2] != "row" || order[4] != "large" {
		t.Errorf("%v", order)
	}
	refused := errors.New("refused")
	if _, err := s.Read(t.Context(), limitsSpec, limitsWindow, &asked{order: &order, err: refused}); err != refused {
		t.Errorf("%v", err)
	}
}

// asked notes what is called.
type asked struct {
	order *[]string
	err   error
}

func (a *asked) Begin() {}

func (a *asked) Skip(context.Context, jobs.Skipped) error { return nil }

func (a *asked) Row(context.Context, jobs.Row) error {
	*a.order = append(*a.order, "row")
	return nil
}

func (a *asked) Large(context.Context) error {
	*a.order = append(*a.order, "large")
	return a.err
}

// Text that is not UTF-8 would make lines that are not JSON.
func TestEncoding(t *testing.T) {
	w := testenv.New(t)
	const name = "latin"
	db := w.Admin(t)
	exec(t, w, `create database `+name+` template template0 encoding 'LATIN1' locale 'C'`)
	t.Cleanup(func() {
		if _, err := db.Exec(context.WithoutCancel(t.Context()), `drop database `+name+` with (force)`); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(w.AdminURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = name
	s, err := platform.OpenSource(t.Context(), u.String(), "test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "LATIN1") {
		t.Errorf("%v", err)
	}
}
