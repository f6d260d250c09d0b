package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// storedDocument is a row as the database's own text has it.
type storedDocument struct {
	ID       int64      `json:"id"`
	Created  *time.Time `json:"created_at"`
	Course   *string    `json:"course_name"`
	Path     *string    `json:"s3_path"`
	Filename *string    `json:"readable_filename"`
	URL      *string    `json:"url"`
	Base     *string    `json:"base_url"`
	Groups   []string   `json:"doc_groups"`
	contexts string
}

func (s *service) documents(project string) []storedDocument {
	s.t.Helper()
	rows, err := s.Admin(s.t).Query(s.t.Context(), `select d.id, created_at, course_name, s3_path, readable_filename, url, base_url,
			array(select g.name from doc_groups g where g.id in (select doc_group_id from documents_doc_groups where document_id = d.id)
				order by g.name collate "C"),
			contexts::text
		from documents d where course_name = $1 order by id`, project)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (d storedDocument, err error) {
		return d, r.Scan(&d.ID, &d.Created, &d.Course, &d.Path, &d.Filename, &d.URL, &d.Base, &d.Groups, &d.contexts)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

// Texts, groups and every digit of every embedding come out as they are stored.
func TestDocuments(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 8, Documents: demodata.Volume{Rows: 60}})
	s := start(t, w, 1)
	want := s.documents(demodata.DemoProject)
	if len(want) < 20 {
		t.Fatalf("%d documents show nothing", len(want))
	}
	s.checkDocuments(s.succeed(s.create(demodata.DemoProject, `{"kind":"documents"}`).ID), want)
}

// checkDocuments compares a finished export with the table.
func (s *service) checkDocuments(j job, want []storedDocument) {
	s.t.Helper()
	if j.Result.Rows != int64(len(want)) || j.Result.Filename != demodata.DemoProject+"-documents.jsonl.gz" {
		s.t.Errorf("%+v, want %d rows", j.Result, len(want))
	}
	z, err := gzip.NewReader(bytes.NewReader(s.download(j.ID)))
	if err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(z)
	for _, d := range want {
		line, err := r.ReadBytes('\n')
		if err != nil {
			s.t.Fatal(err)
		}
		head, ok := bytes.CutSuffix(line, []byte(`,"contexts":`+d.contexts+"}\n"))
		if !ok {
			s.t.Fatalf("document %d: contexts came out changed", d.ID)
		}
		var got storedDocument
		if err := json.Unmarshal(append(head, '}'), &got); err != nil {
			s.t.Fatalf("document %d: %v", d.ID, err)
		}
		got.contexts = d.contexts
		if got.Created != nil && d.Created != nil && got.Created.Equal(*d.Created) {
			got.Created = d.Created
		}
		if !reflect.DeepEqual(got, d) {
			s.t.Errorf("document %d: %+v, want %+v", d.ID, got, d)
		}
	}
	if rest, err := r.ReadBytes('\n'); err == nil {
		s.t.Errorf("a line too many: %.100s", rest)
	}
}
