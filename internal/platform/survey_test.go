package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

var kinds = []jobs.Kind{jobs.Conversations, jobs.Documents}

func fill(t *testing.T, w *testenv.World, conversations, documents int64) {
	t.Helper()
	_, err := demodata.Fill(t.Context(), w.Admin(t), demodata.Options{
		Seed: 3, Conversations: demodata.Volume{Rows: conversations}, Documents: demodata.Volume{Rows: documents},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is measured is what an export plans, whatever the project and the dates.
func TestMeasure(t *testing.T) {
	s, w := openSource(t)
	fill(t, w, 1500, 60)
	w.Damage(t, 1) // its size is known all the same
	from, to := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, project := range []string{demodata.DemoProject, demodata.SparseProject, demodata.EmptyProject, demodata.OddProject, "nobody's"} {
		for _, kind := range kinds {
			for _, dates := range [][2]*time.Time{{nil, nil}, {&from, &to}, {&to, nil}} {
				spec := jobs.Spec{Project: project, Kind: kind, From: dates[0], To: dates[1]}
				p, err := s.Plan(t.Context(), spec, jobs.All)
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Measure(t.Context(), spec)
				if want := (jobs.Size{Rows: p.Rows, Stored: p.Stored}); got != want || err != nil {
					t.Errorf("%+v: %+v %v, want %+v", spec, got, err, want)
				}
			}
		}
	}
}

// What takes too long is ended where it runs.
func TestSurveyEndsAtTheServer(t *testing.T) {
	s, w := openSource(t)
	locked(t, w)
	for name, f := range map[string]func(context.Context) error{
		"measure": func(ctx context.Context) error { _, err := s.Measure(ctx, limitsSpec); return err },
		"samples": func(ctx context.Context) error { _, err := s.Samples(ctx, limitsSpec, 3); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := f(ctx); !errors.As(err, new(*jobs.Unavailable)) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		if n := waiting(t, w); n != 0 {
			t.Errorf("%s: %d statements are left at the server", name, n)
		}
	}
}

// However many people wait for a preview, keys are still looked up.
func TestSurveysLeaveConnections(t *testing.T) {
	s, w := openSource(t)
	locked(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	for range 4 {
		go func() {
			_, err := s.Measure(ctx, limitsSpec)
			ended <- err
		}()
	}
	db := w.Admin(t)
	for n := 0; n == 0; {
		if err := db.QueryRow(t.Context(), `select count(*) from pg_locks where not granted and relation = '"llm-convo-monitor"'::regclass`).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	for began := time.Now(); time.Since(began) < 300*time.Millisecond; {
		if _, err := s.KeyEmail(t.Context(), demodata.OwnerKey); err != nil {
			t.Fatalf("behind previews: %v", err)
		}
	}
	cancel()
	for range 4 {
		if err := <-ended; err == nil {
			t.Error("a canceled count succeeded")
		}
	}
}

// object reads a sample and holds it to the columns of its kind, in order.
func object(t *testing.T, kind jobs.Kind, sample json.RawMessage) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(sample, &fields); err != nil {
		t.Fatalf("%v: %s", err, sample)
	}
	rest := string(sample)
	for _, c := range kind.Columns() {
		_, behind, ok := strings.Cut(rest, `"`+c.Name+`":`)
		if !ok {
			t.Fatalf("no %s in its place: %s", c.Name, sample)
		}
		rest = behind
	}
	if len(fields) != len(kind.Columns()) {
		t.Errorf("%d fields: %s", len(fields), sample)
	}
	return fields
}

// Every row can be shown, whatever stands in it, and none at length.
func TestSamplesOfHostileRows(t *testing.T) {
	s, w := openSource(t)
	fill(t, w, 1500, 60)
	for _, kind := range kinds {
		spec := jobs.Spec{Project: demodata.DemoProject, Kind: kind}
		size, err := s.Measure(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		samples, err := s.Samples(t.Context(), spec, int(size.Rows))
		if err != nil || int64(len(samples)) < size.Rows*9/10 {
			t.Errorf("%s: %d samples of %d rows: %v", kind, len(samples), size.Rows, err)
		}
		last := 0.0
		for _, sample := range samples {
			fields := object(t, kind, sample)
			if id := fields["id"].(float64); id <= last {
				t.Errorf("%s: %v behind %v", kind, id, last)
			} else {
				last = id
			}
			for name, v := range fields {
				text, isText := v.(string)
				if isText && utf8.RuneCountInString(text) > 601 || strings.Contains(text, `"embedding"`) {
					t.Errorf("%s %s at length: %s", kind, name, sample)
				}
			}
			if _, isText := fields["contexts"].(string); kind == jobs.Documents && !isText {
				t.Errorf("contexts are not text: %s", sample)
			}
		}
	}
}

func TestSamples(t *testing.T) {
	s, w := openSource(t)
	long := strings.Repeat("é", 700)
	exec(t, w, `insert into "llm-convo-monitor" (id, created_at, course_name, convo_id, user_email, convo) values
		(3, '2024-02-29 10:00:00.5+02', 'mine', 'a', null, '{"b":
"\u0000\ud800"}'),
		(4, null, 'other', 'b', 'x@example.org', '1'),
		(5, 'infinity', 'mine', $1, '<"\>@example.org', to_json($1::text)),
		(7, null, 'mine', 'd', '', null),
		(9, '0044-03-15 00:00:00+00 BC', 'mine', 'c', 'y@example.org', 'null')`, long)
	for n, want := range map[int][]int{0: {}, 1: {0}, 2: {0, 3}, 3: {0, 1, 3}, 4: {0, 1, 2, 3}, 9: {0, 1, 2, 3}} {
		samples, err := s.Samples(t.Context(), jobs.Spec{Project: "mine", Kind: jobs.Conversations}, n)
		if err != nil || len(samples) != len(want) {
			t.Fatalf("%d: %s %v", n, samples, err)
		}
		for i, row := range want {
			if got := string(samples[i]); got != []string{
				`{"id":3,"created_at":"2024-02-29T08:00:00.500000+00:00","convo_id":"a","course_name":"mine","user_email":null,"convo":"{\"b\":\n\"\\u0000\\ud800\"}"}`,
				`{"id":5,"created_at":"infinity","convo_id":"` + long[:2*300] + `…","course_name":"mine","user_email":"\u003c\"\\\u003e@example.org","convo":"\"` + long[:2*599] + `…"}`,
				`{"id":7,"created_at":null,"convo_id":"d","course_name":"mine","user_email":"","convo":null}`,
				`{"id":9,"created_at":"0044-03-15T00:00:00.000000+00:00 BC","convo_id":"c","course_name":"mine","user_email":"y@example.org","convo":"null"}`,
			}[row] {
				t.Errorf("%d of %d: %s", i, n, got)
			}
		}
	}
	if samples, err := s.Samples(t.Context(), jobs.Spec{Project: "nobody's", Kind: jobs.Documents}, 3); err != nil || samples == nil || len(samples) != 0 {
		t.Errorf("of nothing: %s %v", samples, err)
	}
}

func TestSamplesOfDocuments(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into documents (id, created_at, course_name, s3_path, readable_filename, contexts) values
		(1, null, 'mine', '', 'Übung', '[{"text":"first","embedding":[1.5,2.5]},{"text":"second"}]'),
		(2, null, 'mine', null, null, '{"text":"no array"}'), (3, null, 'mine', null, null, '"text"'),
		(4, null, 'mine', null, null, null), (5, null, 'mine', null, null, '[]'), (6, null, 'mine', null, null, '[{"text":7}]')`)
	exec(t, w, `insert into doc_groups (id, name, course_name) select i, case i when 1 then 'A "b"' else repeat('x', 150) || i end, 'mine' from generate_series(1, 4) i`)
	exec(t, w, `insert into documents_doc_groups (document_id, doc_group_id) values (1, 1), (2, 2), (2, 3), (2, 4)`)
	samples, err := s.Samples(t.Context(), jobs.Spec{Project: "mine", Kind: jobs.Documents}, 6)
	if err != nil || len(samples) != 6 {
		t.Fatalf("%s %v", samples, err)
	}
	want := `{"id":1,"created_at":null,"course_name":"mine","s3_path":"","readable_filename":"Übung","url":null,"base_url":null,"doc_groups":["A \"b\""],"contexts":"first …"}`
	if got := string(samples[0]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if groups, _ := object(t, jobs.Documents, samples[1])["doc_groups"].(string); !strings.HasPrefix(groups, `["xxx`) || !strings.HasSuffix(groups, "…") {
		t.Errorf("long names of groups: %s", samples[1])
	}
	var got []string
	for _, sample := range samples[1:] {
		got = append(got, fmt.Sprint(object(t, jobs.Documents, sample)["contexts"]))
	}
	if got, want := strings.Join(got, " | "), `{"text": "no array"} | "text" | <nil> | [] | 7 …`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A damaged row is left out; a very large one is shown without its value,
// which is not read.
func TestSamplesLeaveOut(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into "llm-convo-monitor" (id, course_name, convo) select i, 'mine', '{"small":true}' from generate_series(1, 3) i`)
	w.Damage(t, 2)
	spec := jobs.Spec{Project: "mine", Kind: jobs.Conversations}
	samples, err := s.Samples(t.Context(), spec, 3)
	if err != nil || len(samples) != 2 || !strings.Contains(string(samples[1]), `"id":3`) {
		t.Errorf("beside a damaged row: %s %v", samples, err)
	}
	exec(t, w, `update "llm-convo-monitor" set convo = to_json((select string_agg(md5(random()::text), '') from generate_series(1, 80000))) where id = 3`)
	if samples, err = s.Samples(t.Context(), spec, 3); err != nil || len(samples) != 2 {
		t.Fatalf("beside a large row: %s %v", samples, err)
	}
	if got := fmt.Sprint(object(t, jobs.Conversations, samples[1])["convo"]); !strings.HasPrefix(got, "… (") || !strings.HasSuffix(got, "B as stored)") {
		t.Errorf("a large value: %s", got)
	}
}

// A count asks no more of the server than a plan: the large values stay where they are.
func TestMeasureReadsNoLargeValue(t *testing.T) {
	w := testenv.New(t)
	s, err := platform.OpenSource(t.Context(), w.SourceURL, "test", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	exec(t, w, `insert into "llm-convo-monitor" (course_name, convo) select 'mine', to_json(repeat(md5(random()::text), 20000)) from generate_series(1, 300)`)
	began := time.Now()
	size, err := s.Measure(t.Context(), jobs.Spec{Project: "mine", Kind: jobs.Conversations})
	if took := time.Since(began); err != nil || size.Rows != 300 || took > time.Second {
		t.Errorf("%+v in %v: %v", size, took, err)
	}
}
