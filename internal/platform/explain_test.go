package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// tableRows is large enough for a plan that reads the whole table to stand out.
const tableRows = 30000

// crowd fills both tables and their groups with small rows. Nobody analyzes
// them. Of the projects "sparse" owns one row in a hundred and "dense" the
// others, or "dense" all.
func crowd(t *testing.T, w *testenv.World, sparse bool) {
	t.Helper()
	db := w.Admin(t)
	every := 100
	if !sparse {
		every = 2 * tableRows
	}
	for _, sql := range []string{
		`alter table "llm-convo-monitor" set (autovacuum_enabled = off)`,
		`alter table documents set (autovacuum_enabled = off)`,
		`alter table doc_groups set (autovacuum_enabled = off)`,
		`alter table documents_doc_groups set (autovacuum_enabled = off)`,
		fmt.Sprintf(`insert into "llm-convo-monitor" (id, created_at, course_name, convo_id, convo)
			select i, timestamptz '2024-01-01' + i * interval '1 minute', case when i %% %d = 0 then 'sparse' else 'dense' end, i::text, '{"messages":[]}'
			from generate_series(1, %d) i`, every, tableRows),
		fmt.Sprintf(`insert into documents (id, created_at, course_name, s3_path, contexts)
			select i, timestamptz '2024-01-01' + i * interval '1 minute', case when i %% %d = 0 then 'sparse' else 'dense' end, 'courses/' || i, '[]'
			from generate_series(1, %d) i`, every, tableRows),
		`insert into doc_groups (id, name, course_name) select i, 'group ' || i, 'dense' from generate_series(1, 5000) i`,
		fmt.Sprintf(`insert into documents_doc_groups (document_id, doc_group_id) select i, 1 + i %% 5000 from generate_series(1, %d) i`, tableRows),
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// statistics are what the planner may know of the tables: nothing since they
// were filled, all, or nothing any more, as after an upgrade of the server.
var statistics = []struct{ name, sql string }{
	{"never analyzed", `select 1`},
	{"analyzed", `analyze "llm-convo-monitor", documents, doc_groups, documents_doc_groups`},
	{"dropped", dropStatistics},
}

const dropStatistics = `
	with gone as (delete from pg_statistic where starelid::regclass::text in ('"llm-convo-monitor"', 'documents', 'doc_groups', 'documents_doc_groups'))
	update pg_class set reltuples = -1, relpages = 0 where relname in ('llm-convo-monitor', 'documents', 'doc_groups', 'documents_doc_groups')`

// node is a step of an executed plan.
type node struct {
	Type        string  `json:"Node Type"`
	Relation    string  `json:"Relation Name"`
	Rows        float64 `json:"Actual Rows"`
	Loops       float64 `json:"Actual Loops"`
	Filtered    float64 `json:"Rows Removed by Filter"`
	Rechecked   float64 `json:"Rows Removed by Index Recheck"`
	Hit         int64   `json:"Shared Hit Blocks"`
	Read        int64   `json:"Shared Read Blocks"`
	TempWritten int64   `json:"Temp Written Blocks"`
	Plans       []node
}

// work is the most rows or index entries that one step has looked at.
func (n node) work() float64 {
	most := n.Loops * (n.Rows + n.Filtered + n.Rechecked)
	for _, child := range n.Plans {
		most = max(most, child.work())
	}
	return most
}

func (n node) has(ofType, relation string) bool {
	found := n.Type == ofType && (relation == "" || n.Relation == relation)
	for _, child := range n.Plans {
		found = found || child.has(ofType, relation)
	}
	return found
}

// explain runs a statement as the service does, unnamed, with the values beside
// it, in the same kind of transaction and as the same role.
func explain(t *testing.T, s *Source, sql string, args ...any) node {
	t.Helper()
	var plans []struct{ Plan node }
	var text []byte
	err := s.read(t.Context(), func(tx pgx.Tx) error {
		return tx.QueryRow(t.Context(), `explain (analyze, buffers, format json) `+sql, args...).Scan(&text)
	})
	if err == nil {
		err = json.Unmarshal(text, &plans)
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if testing.Verbose() {
		t.Logf("%v\n%s", args, outline(plans[0].Plan, ""))
	}
	return plans[0].Plan
}

func outline(n node, indent string) string {
	s := fmt.Sprintf("%s%s %s rows=%v loops=%v filtered=%v buffers=%d\n", indent, n.Type, n.Relation, n.Rows, n.Loops, n.Filtered, n.Hit+n.Read)
	for _, child := range n.Plans {
		s += outline(child, indent+"  ")
	}
	return s
}

func explained(t *testing.T, sparse bool) (*Source, *testenv.World) {
	t.Helper()
	w := testenv.New(t)
	crowd(t, w, sparse)
	s, err := OpenSource(t.Context(), w.SourceURL, "test", 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, w
}

// dates are a range within which every row lies, and none.
func dates() [][2]*time.Time {
	from, to := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	return [][2]*time.Time{{nil, nil}, {&from, &to}}
}

// bounded fails the test if a statement of a window looks at much more than
// lies between the window's ids, or at more than most rows.
func bounded(t *testing.T, s *Source, spec jobs.Spec, w jobs.Window, most int64) {
	t.Helper()
	seen := tables[spec.Kind].in(w)
	relation := map[jobs.Kind]string{jobs.Conversations: "llm-convo-monitor", jobs.Documents: "documents"}[spec.Kind]
	for name, sql := range map[string]string{"window": seen.windowSQL(), "count": seen.countSQL(), "ids": seen.idsSQL()} {
		plan := explain(t, s, sql, spec.Project, spec.From, spec.To, w.After, w.To)
		if got := plan.work(); got > float64(most) {
			t.Errorf("%s %s: a step looks at %.0f rows, want %d at most\n%s", spec.Kind, name, got, most, outline(plan, ""))
		}
		// Each row costs a page of the table at worst, and its groups another ten.
		if got, limit := plan.Hit+plan.Read, 30+most+12*w.Rows; got > limit {
			t.Errorf("%s %s: %d pages, want %d at most\n%s", spec.Kind, name, got, limit, outline(plan, ""))
		}
		if plan.TempWritten > 0 || most < tableRows/2 && plan.has("Seq Scan", relation) || plan.has("Seq Scan", "doc_groups") {
			t.Errorf("%s %s:\n%s", spec.Kind, name, outline(plan, ""))
		}
	}
}

// Whatever the planner knows of the tables, a window costs what lies between
// its ids, and a plan one pass.
func TestStatementsAreBounded(t *testing.T) {
	for name, sparse := range map[string]bool{"one project owns all": false, "one project owns 1 %": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, w := explained(t, sparse)
			for _, known := range statistics {
				if _, err := w.Admin(t).Exec(t.Context(), known.sql); err != nil {
					t.Fatal(err)
				}
				t.Run(known.name, func(t *testing.T) {
					for _, kind := range []jobs.Kind{jobs.Conversations, jobs.Documents} {
						for _, d := range dates() {
							statements(t, s, jobs.Spec{Kind: kind, From: d[0], To: d[1]}, sparse)
						}
					}
				})
			}
		})
	}
}

func statements(t *testing.T, s *Source, spec jobs.Spec, sparse bool) {
	t.Helper()
	for _, project := range []string{"dense", "sparse", "nobody's"} {
		args := []any{project, spec.From, spec.To}
		for name, plan := range map[string]node{
			"plan":    explain(t, s, tables[spec.Kind].planSQL(), args...),
			"measure": explain(t, s, tables[spec.Kind].measureSQL(), args...),
			"spread":  explain(t, s, tables[spec.Kind].spreadSQL(), append(args, []float64{0, 0.5, 1})...),
		} {
			if got := plan.work(); got > tableRows {
				t.Errorf("%s %s of %s: a step looks at %.0f rows\n%s", spec.Kind, name, project, got, outline(plan, ""))
			}
		}
	}
	one := jobs.Window{After: 9000, To: 9001, Rows: 1}
	plan := explain(t, s, tables[spec.Kind].in(one).sampleSQL(), "dense", spec.From, spec.To, one.After, one.To, sampleText, sampleLarge, sampleStored)
	if got, pages := plan.work(), plan.Hit+plan.Read; got > 1 || pages > 45 {
		t.Errorf("%s sample: a step looks at %.0f rows, %d pages\n%s", spec.Kind, got, pages, outline(plan, ""))
	}
	spec.Project = "dense"
	bounded(t, s, spec, jobs.Window{After: 9000, To: 9020, Rows: 20}, 20)
	bounded(t, s, spec, jobs.Window{After: 9000, To: 11000, Rows: 2000}, 2000)
	spec.Project = "nobody's"
	bounded(t, s, spec, jobs.Window{After: 0, To: tableRows}, tableRows)
	if sparse {
		spec.Project = "sparse"
		bounded(t, s, spec, jobs.Window{After: 9000, To: 11000, Rows: 20}, 2000)
		bounded(t, s, spec, jobs.Window{After: 0, To: tableRows, Rows: tableRows / 100}, tableRows)
		// Rows of one project may lie further apart in a part of the table.
		bounded(t, s, spec, jobs.Window{After: 9000, To: 11000, Rows: 10}, 2000)
	}
}

// counter takes rows and counts them.
type counter struct{ n *int64 }

func (c *counter) Begin()                                   {}
func (c *counter) Skip(context.Context, jobs.Skipped) error { return nil }
func (c *counter) Row(context.Context, jobs.Row) error      { *c.n++; return nil }
func (c *counter) Large(context.Context) error              { return nil }

// A table that has lost its statistics is planned and read like any other:
// every row once, and no window dearer than its rows.
func TestReadWithoutStatistics(t *testing.T) {
	t.Parallel()
	s, w := explained(t, true)
	db := w.Admin(t)
	for _, known := range statistics[1:] {
		if _, err := db.Exec(t.Context(), known.sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []jobs.Kind{jobs.Conversations, jobs.Documents} {
		for _, project := range []string{"dense", "sparse", "nobody's"} {
			var want int64
			err := db.QueryRow(t.Context(), `select count(*) from `+tables[kind].name+` where course_name = $1`, project).Scan(&want)
			if err != nil {
				t.Fatal(err)
			}
			spec := jobs.Spec{Project: project, Kind: kind}
			plan, err := s.Plan(t.Context(), spec, jobs.All)
			if err != nil {
				t.Fatal(err)
			}
			var read int64
			for _, win := range plan.Windows {
				bounded(t, s, spec, win, win.To-win.After)
				got, err := s.Read(t.Context(), spec, win, &counter{&read})
				if err != nil || got.Counted != win.Rows {
					t.Errorf("%s of %s, window %+v: %+v %v", kind, project, win, got, err)
				}
			}
			if plan.Rows != want || read != want {
				t.Errorf("%s of %s: %d planned, %d read, want %d", kind, project, plan.Rows, read, want)
			}
		}
	}
}

// With the index that docs/operating-the-source.md recommends, a project with
// few rows costs what it owns, from its plan to its last window.
func TestRecommendedIndex(t *testing.T) {
	t.Parallel()
	s, w := explained(t, true)
	const own = tableRows / 100
	db := w.Admin(t)
	if _, err := db.Exec(t.Context(), `create index on "llm-convo-monitor" (course_name, id)`); err != nil {
		t.Fatal(err)
	}
	for _, known := range statistics {
		if _, err := db.Exec(t.Context(), known.sql); err != nil {
			t.Fatal(err)
		}
		spec := jobs.Spec{Project: "sparse", Kind: jobs.Conversations}
		plan := explain(t, s, tables[spec.Kind].planSQL(), spec.Project, spec.From, spec.To)
		if plan.work() > own {
			t.Errorf("%s:\n%s", known.name, outline(plan, ""))
		}
		bounded(t, s, spec, jobs.Window{After: 0, To: tableRows, Rows: own - 1}, own)
		bounded(t, s, jobs.Spec{Project: "nobody's", Kind: jobs.Conversations}, jobs.Window{After: 0, To: tableRows}, 1)
	}
}
