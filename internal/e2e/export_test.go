package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

const conversations = `{"kind":"conversations"}`

// fill gives a world so many conversations.
func fill(t *testing.T, w *testenv.World, o demodata.Options) {
	t.Helper()
	if _, err := demodata.Fill(t.Context(), w.Admin(t), o); err != nil {
		t.Fatal(err)
	}
}

func TestEveryRow(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 1, Conversations: demodata.Volume{Rows: 2500}})
	s := start(t, w, 1)
	for _, project := range []string{demodata.DemoProject, demodata.SparseProject} {
		want := s.table(project)
		if len(want) < 10 {
			t.Fatalf("%s has %d rows: the test shows nothing", project, len(want))
		}
		created := s.create(project, conversations)
		if created.State != "queued" {
			t.Errorf("created as %s", created.State)
		}
		j := s.succeed(created.ID)
		s.check(j, want)
		s.python(j, want)
		if j.Attempt != 1 {
			t.Errorf("%d attempts", j.Attempt)
		}
	}
}

func TestJSONBColumn(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	db := w.Admin(t)
	for _, sql := range []string{
		`alter table "llm-convo-monitor" alter convo type jsonb`,
		`insert into "llm-convo-monitor" (convo_id, course_name, convo)
		 select 'c' || i, '` + demodata.DemoProject + `', jsonb_build_object('n', i, 'messages', '[]'::jsonb) from generate_series(1, 50) i`,
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, w, 1)
	s.check(s.succeed(s.create(demodata.DemoProject, conversations).ID), s.table(demodata.DemoProject))
}

func TestDates(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	db := w.Admin(t)
	for i, at := range []any{nil, "2024-02-28T23:59:59.999999Z", "2024-02-29T00:00:00Z", "2024-02-29T23:59:59.999999Z", "2024-03-01T00:00:00Z"} {
		_, err := db.Exec(t.Context(), `insert into "llm-convo-monitor" (id, course_name, created_at, convo) values ($1, $2, $3, '{}')`,
			i+1, demodata.DemoProject, at)
		if err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, w, 1)
	for body, want := range map[string]string{
		`{"kind":"conversations"}`:                                                                         "1 2 3 4 5",
		`{"kind":"conversations","from":"2024-02-29","to":"2024-02-29"}`:                                   "3 4",
		`{"kind":"conversations","to":"2024-02-28"}`:                                                       "2",
		`{"kind":"conversations","from":"2024-02-29T19:00:00-05:00"}`:                                      "5",
		`{"kind":"conversations","from":"2024-02-28T23:59:59.999999Z","to":"2024-02-29T23:59:59.999999Z"}`: "2 3",
	} {
		j := s.succeed(s.create(demodata.DemoProject, body).ID)
		z, err := gzip.NewReader(bytes.NewReader(s.download(j.ID)))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for line := range strings.Lines(string(text)) {
			id, _, _ := strings.Cut(strings.TrimPrefix(line, `{"id":`), ",")
			ids = append(ids, id)
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: rows %s, want %s", body, got, want)
		}
	}
}

func TestEmptyProject(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 1)
	j := s.succeed(s.create(demodata.EmptyProject, conversations).ID)
	if j.Result.Rows != 0 || j.Result.BytesRaw != 0 {
		t.Errorf("%+v", j.Result)
	}
	s.check(j, nil)
}

func TestDownloadRedirects(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 1)
	j := s.succeed(s.create(demodata.EmptyProject, conversations).ID)
	a := s.call(http.MethodGet, "/v1/exports/"+j.ID+"/download", demodata.AdminKey, "")
	if a.status != http.StatusSeeOther || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	res, err := http.Get(a.header.Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Disposition"); !strings.Contains(got, j.Result.Filename) {
		t.Errorf("offered as %q, want %q", got, j.Result.Filename)
	}
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/gzip" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// Progress must be in the row at least every second.
func TestProgressMoves(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 2, Conversations: demodata.Volume{Bytes: 30 << 20}})
	s := start(t, w, 1)
	id := s.create(demodata.DemoProject, conversations).ID
	var seen []int64
	var last time.Time
	s.eventually("the export ends", func() bool {
		j := s.get(id)
		if n := j.Progress.Rows; n > 0 && (len(seen) == 0 || seen[len(seen)-1] != n) {
			if gap := time.Since(last); len(seen) > 0 && gap > 3*time.Second {
				t.Errorf("no progress for %v", gap)
			}
			seen, last = append(seen, n), time.Now()
		}
		return j.State == "succeeded"
	})
	if total := seen[len(seen)-1]; total != int64(len(s.table(demodata.DemoProject))) {
		t.Errorf("progress ended at %d rows", total)
	}
}

// A damaged row is named in the job; its neighbours come out. Too many of them
// end the export, unless the person allows it.
func TestDamagedRows(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 9, Conversations: demodata.Volume{Rows: 400}})
	s := start(t, w, 1)
	want := s.table(demodata.DemoProject)
	first, last := want[0].id, want[len(want)-1].id
	w.Damage(t, last)
	j := s.succeed(s.create(demodata.DemoProject, conversations).ID)
	if j.Result.Skipped != 1 || j.Result.SkippedRows[0].ID != last || j.Result.SkippedRows[0].Reason != "damaged" {
		t.Errorf("%+v", j.Result)
	}
	s.check(j, want[:len(want)-1])

	middle := want[len(want)/2].id
	w.Damage(t, first, middle)
	f := s.wait(s.create(demodata.DemoProject, conversations).ID)
	if f.State != "failed" || f.Error.Code != "too_many_bad_rows" {
		t.Fatalf("%s %+v", f.State, f.Error)
	}
	j = s.succeed(s.create(demodata.DemoProject, `{"kind":"conversations","allow_skipped":true}`).ID)
	if j.Result.Skipped != 3 {
		t.Errorf("%+v", j.Result)
	}
	s.check(j, slices.DeleteFunc(want, func(v stored) bool { return v.id == first || v.id == middle || v.id == last }))
}

// Rows that go and come while an export runs change nothing for the others.
func TestRowsComeAndGo(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 60)
	slowSource(t, w)
	s := start(t, w, 1)
	before := s.table(demodata.DemoProject)
	id := s.create(demodata.DemoProject, conversations).ID
	s.streaming(id)
	gone := before[len(before)-2].id
	db := w.Admin(t)
	for _, sql := range []string{
		fmt.Sprintf(`delete from "llm-convo-monitor" where id = %d`, gone),
		`insert into "llm-convo-monitor" (course_name, convo) values ('` + demodata.DemoProject + `', '"late"')`,
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	j := s.succeed(id)
	if j.Result.Deleted != 1 || j.Result.Appeared != 0 {
		t.Errorf("%+v", j.Result)
	}
	s.check(j, slices.DeleteFunc(before, func(v stored) bool { return v.id == gone }))
}
