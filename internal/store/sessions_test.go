package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func (f *fixture) session(id, subject, sid string) {
	f.t.Helper()
	if err := f.CommitSession(f.t.Context(), id, []byte("data of "+id), subject, sid, time.Hour); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) hasSession(id string) bool {
	f.t.Helper()
	data, found, err := f.FindSession(f.t.Context(), id)
	if err != nil || found != (string(data) == "data of "+id) {
		f.t.Errorf("%s: %q %v %v", id, data, found, err)
	}
	return found
}

func TestSessions(t *testing.T) {
	f := open(t)
	if f.hasSession("a") {
		t.Error("found what nobody committed")
	}
	f.session("a", "", "")
	f.session("b", "sub", "sid")
	if !f.hasSession("a") || !f.hasSession("b") {
		t.Error("not found")
	}
	if err := f.CommitSession(t.Context(), "a", []byte("new"), "", "", time.Hour); err != nil {
		t.Fatal(err)
	}
	if data, _, err := f.FindSession(t.Context(), "a"); string(data) != "new" || err != nil {
		t.Errorf("%q %v", data, err)
	}
	for range 2 {
		if err := f.DeleteSession(t.Context(), "b"); err != nil {
			t.Error(err)
		}
	}
	if f.hasSession("b") {
		t.Error("found after its end")
	}
}

func TestSessionsThatAreOver(t *testing.T) {
	f := open(t)
	f.session("a", "", "")
	f.session("b", "", "")
	f.exec(`update bulkexport.sessions set expires_at = now() where id = 'a'`)
	if f.hasSession("a") || !f.hasSession("b") {
		t.Error("a session must end at its time, and no sooner")
	}
	f.session("c", "", "")
	ids, err := queryStrings(f, `select id from bulkexport.sessions order by id`)
	if err != nil || !slices.Equal(ids, []string{"b", "c"}) {
		t.Errorf("kept: %q %v", ids, err)
	}
	// One that is over and is committed again lives on: its commit does not trip
	// over its own clearing up.
	f.exec(`update bulkexport.sessions set expires_at = now() where id = 'c'`)
	f.session("c", "", "")
	if !f.hasSession("c") {
		t.Error("not found")
	}
}

func queryStrings(f *fixture, sql string) ([]string, error) {
	rows, err := f.db.Query(f.t.Context(), sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Commits that clear up the same rows do not get in each other's way.
func TestSessionsAtOnce(t *testing.T) {
	f := open(t)
	f.exec(`insert into bulkexport.sessions select 'old' || i, '', null, null, now() - interval '1 hour' from generate_series(1, 500) i`)
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			if err := f.CommitSession(t.Context(), fmt.Sprint("new", n), []byte{}, "", "", time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ids, err := queryStrings(f, `select id from bulkexport.sessions where id like 'old%'`)
	if err != nil || len(ids) != 0 {
		t.Errorf("%d old ones are left, %v", len(ids), err)
	}
}

func TestEndSessions(t *testing.T) {
	f := open(t)
	for _, c := range []struct {
		name, subject, sid string
		kept               []string
	}{
		{"one of a person's", "ann", "s1", []string{"ann2", "bob", "nobody"}}, // and the one that tells no sid
		{"all of a person's", "ann", "", []string{"bob", "nobody"}},
		{"by sid alone", "", "s2", []string{"ann1", "ann?", "bob", "nobody"}},
		{"another's sid", "bob", "s1", []string{"ann1", "ann2", "ann?", "bob", "nobody"}},
		{"unknown", "cat", "s9", []string{"ann1", "ann2", "ann?", "bob", "nobody"}},
		{"neither", "", "", []string{"ann1", "ann2", "ann?", "bob", "nobody"}},
	} {
		f.exec(`delete from bulkexport.sessions`)
		f.session("ann1", "ann", "s1")
		f.session("ann2", "ann", "s2")
		f.session("ann?", "ann", "")
		f.session("bob", "bob", "s3")
		f.session("nobody", "", "")
		ended, err := f.EndSessions(t.Context(), c.subject, c.sid)
		if err != nil || int(ended) != 5-len(c.kept) {
			t.Errorf("%s: %d %v", c.name, ended, err)
		}
		for _, id := range []string{"ann1", "ann2", "ann?", "bob", "nobody"} {
			if f.hasSession(id) != slices.Contains(c.kept, id) {
				t.Errorf("%s: %s", c.name, id)
			}
		}
	}
}
