package demodata_test

import (
	"context"
	"crypto/rand"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// database makes an empty database that goes when the test ends.
func database(t testing.TB) *pgx.Conn {
	t.Helper()
	admin := testenv.Var(t, "DEVSTACK_ADMIN_DATABASE_URL")
	root := connect(t, admin)
	name := "demodata_" + strings.ToLower(rand.Text()[:12])
	if _, err := root.Exec(t.Context(), `create database `+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := root.Exec(context.WithoutCancel(t.Context()), `drop database `+name+` with (force)`); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return connect(t, u.String())
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.WithoutCancel(t.Context())) })
	return db
}

func filled(t testing.TB, o demodata.Options) (*pgx.Conn, demodata.Summary) {
	t.Helper()
	db := database(t)
	if err := demodata.CreateSchema(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	sum, err := demodata.Fill(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	return db, sum
}

// value returns the one value of a query.
func value[T any](t testing.TB, db *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	rows, err := db.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	v, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestFill(t *testing.T) {
	volume := demodata.Options{Seed: 3, Conversations: demodata.Volume{Rows: 3000}, Documents: demodata.Volume{Rows: 60}}
	db, sum := filled(t, volume)

	t.Run("the summary agrees with the tables", func(t *testing.T) {
		want := demodata.Summary{
			Conversations: value[int64](t, db, `select count(*) from "llm-convo-monitor"`),
			Documents:     value[int64](t, db, `select count(*) from documents`),
			Bytes:         sum.Bytes, // of the text sent, which jsonb does not keep
			Projects:      map[string]int64{},
		}
		rows, err := db.Query(t.Context(), `select course_name, count(*) from "llm-convo-monitor" group by 1`)
		if err != nil {
			t.Fatal(err)
		}
		var name string
		var n int64
		if _, err := pgx.ForEachRow(rows, []any{&name, &n}, func() error { want.Projects[name] = n; return nil }); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(sum, want) {
			t.Errorf("%+v, want %+v", sum, want)
		}
	})
	t.Run("the rows are those of the generator", func(t *testing.T) {
		for want := range demodata.Conversations(volume.Seed, volume.Conversations.Rows) {
			if got := stored(t, db, want.ID); !reflect.DeepEqual(got, want) {
				t.Fatalf("row %d differs", want.ID)
			}
			if want.ID > 600 {
				break
			}
		}
	})
	t.Run("the sequences go on behind", func(t *testing.T) {
		for _, table := range []string{`"llm-convo-monitor"`, "documents"} {
			last := value[int64](t, db, `select max(id) from `+table)
			if next := value[int64](t, db, `insert into `+table+` default values returning id`); next != last+1 {
				t.Errorf("%s: the id after %d is %d", table, last, next)
			}
		}
	})
	t.Run("the planner has statistics", func(t *testing.T) {
		if n := value[float64](t, db, `select reltuples::float8 from pg_class where relname = 'llm-convo-monitor'`); n != 3000 {
			t.Errorf("reltuples %v", n)
		}
	})
}

func TestFillIsTheSameAgain(t *testing.T) {
	contents := func(seed uint64) string {
		db, _ := filled(t, demodata.Options{Seed: seed, Conversations: demodata.Volume{Rows: 300}, Documents: demodata.Volume{Rows: 6}})
		return value[string](t, db, `select md5(string_agg(md5(r), '' order by r)) from (
			select c::text r from "llm-convo-monitor" c union all select d::text from documents d union all
			select g::text from doc_groups g union all select m::text from documents_doc_groups m) x`)
	}
	one, two, other := contents(1), contents(1), contents(2)
	if one != two {
		t.Error("the same seed makes other rows")
	}
	if one == other {
		t.Error("another seed makes the same rows")
	}
}

func stored(t *testing.T, db *pgx.Conn, id int64) demodata.Conversation {
	t.Helper()
	c := demodata.Conversation{ID: id}
	err := db.QueryRow(t.Context(), `select created_at, convo_id, course_name, user_email, convo::text from "llm-convo-monitor" where id = $1`, id).
		Scan(&c.CreatedAt, &c.ConvoID, &c.CourseName, &c.UserEmail, &c.Convo)
	if err != nil {
		t.Fatal(err)
	}
	if c.CreatedAt != nil {
		utc := c.CreatedAt.In(time.UTC)
		c.CreatedAt = &utc
	}
	return c
}

func TestFillReachesVolumeInBytes(t *testing.T) {
	const want = 12 << 20
	for _, o := range []demodata.Options{
		{Seed: 1, Conversations: demodata.Volume{Bytes: want}},
		{Seed: 1, Documents: demodata.Volume{Bytes: want}},
	} {
		if _, sum := filled(t, o); sum.Bytes < want || sum.Bytes > want*11/10 {
			t.Errorf("%+v: %d bytes", o, sum.Bytes)
		}
	}
}

func TestFillJSONB(t *testing.T) {
	db := database(t)
	if err := demodata.CreateSchemaJSONB(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	sum, err := demodata.Fill(t.Context(), db, demodata.Options{Conversations: demodata.Volume{Rows: 600}})
	if err != nil {
		t.Fatal(err)
	}
	if n := value[int64](t, db, `select count(*) from "llm-convo-monitor" where jsonb_typeof(convo) = 'object'`); sum.Conversations != 600 || n < 580 {
		t.Errorf("%d rows, %d objects", sum.Conversations, n)
	}
}

func TestDocuments(t *testing.T) {
	db, _ := filled(t, demodata.Options{Seed: 5, Documents: demodata.Volume{Rows: 150}})
	for question, sql := range map[string]string{
		"embeddings have 1536 numbers": `select bool_and(jsonb_array_length(c->'embedding') = 1536) from documents, jsonb_array_elements(contexts) c`,
		"every embedding is different": `select count(*) = count(distinct c->'embedding') from documents, jsonb_array_elements(contexts) c`,
		"embeddings have length one":   `select bool_and(l between 0.8 and 1.2) from (select sqrt(sum(e::float8 ^ 2)) l from documents d, jsonb_array_elements(contexts) with ordinality c(v, n), jsonb_array_elements_text(v->'embedding') e where d.id < 100 group by d.id, n) x`,
		"page numbers are numbers or empty": `select count(distinct jsonb_typeof(c->'pagenumber')) = 2 and bool_and(jsonb_typeof(c->'pagenumber') = 'number' or c->>'pagenumber' = '')
			from documents, jsonb_array_elements(contexts) c`,
		"older rows lack chunk_index":    `select bool_or(c ? 'chunk_index') and not bool_and(c ? 'chunk_index') from documents, jsonb_array_elements(contexts) c`,
		"pages have an address, no file": `select bool_and((url is null) = (s3_path <> '')) and bool_or(url is null) and bool_or(s3_path = '') from documents`,
		"paths name project and file":    `select bool_and(s3_path like 'courses/' || course_name || '/%-' || readable_filename) from documents where s3_path <> ''`,
		"there are small and large ones": `select min(n) = 1 and max(n) > 100 and percentile_disc(0.5) within group (order by n) between 4 and 16 from (select jsonb_array_length(contexts) n from documents) x`,
		"ids have gaps":                  `select max(id) - min(id) >= 2 * count(*) from documents`,
		"a document has up to 3 groups":  `select min(n) = 0 and max(n) = 3 from (select (select count(*) from documents_doc_groups m where m.document_id = d.id) n from documents d) x`,
		"groups belong to its project":   `select bool_and(d.course_name = g.course_name) from documents d join documents_doc_groups m on m.document_id = d.id join doc_groups g on g.id = m.doc_group_id`,
		"groups know how many they have": `select bool_and(doc_count = (select count(*) from documents_doc_groups m where m.doc_group_id = g.id)) from doc_groups g`,
		"the empty project has none":     `select not exists (select from documents where course_name = 'empty-demo')`,
		"the first files have originals": `select bool_and(s3_path like '%/de300000-%') from (select s3_path from documents where course_name = 'cs-101-demo' and s3_path <> '' order by id limit 4) x`,
	} {
		t.Run(question, func(t *testing.T) {
			if !value[bool](t, db, sql) {
				t.Errorf("not true: %s", sql)
			}
		})
	}
}

func BenchmarkFill(b *testing.B) {
	const volume = 64 << 20
	for name, o := range map[string]demodata.Options{
		"conversations": {Conversations: demodata.Volume{Bytes: volume}},
		"documents":     {Documents: demodata.Volume{Bytes: volume}},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(volume)
			for b.Loop() {
				filled(b, o)
			}
		})
	}
}
