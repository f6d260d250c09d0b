package platform_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

const uuid = "de300000-0000-4000-8000-000000000001"

// paths are what documents' rows hold, and what becomes of it.
var paths = []struct {
	path, readable any
	key, name      string // empty: it has none
}{
	{"courses/mine/" + uuid + "-lecture.pdf", "lecture.pdf", "=", "lecture.pdf"},
	{"courses/mine/" + uuid + "-lecture.pdf", "Übung 1: Kraft/Weg.PDF", "=", "Übung 1_ Kraft_Weg.PDF"},
	{"courses/mine/" + uuid + "-lecture.pdf", "The first lecture", "=", "lecture.pdf"},
	{"courses/mine/" + uuid + "-lecture.pdf", "lecture.exe", "=", "lecture.pdf"},
	{"courses/mine/" + uuid + "-lecture.pdf", nil, "=", "lecture.pdf"},
	{"courses/mine/" + uuid + ".pdf", nil, "=", uuid + ".pdf"},
	{"courses/mine/" + uuid + "-", nil, "=", "document"},
	{"courses/mine/" + uuid + "-.pdf", ".pdf", "=", "document.pdf"},
	{"courses/mine/README", "read me", "=", "README"},
	{"courses/Курс 2024/25/" + uuid + "-данные (1).csv", "данные (1).csv", "=", "данные (1).csv"},
	{"courses/where it was copied from/" + uuid + "-a.txt", "a.txt", "=", "a.txt"},
	{"courses/mine/a\u202egpj.exe", nil, "=", "a_gpj.exe"},
	{"courses/mine/a.p\u202edf", nil, "=", "a.p_df"},
	{"courses/mine/a; filename=\"x\".html", nil, "=", "a_ filename=_x_.html"},
	{"courses/mine/..a..", nil, "=", "a"},
	{"courses/mine/x.pdf", strings.Repeat("é", 2000) + ".pdf", "=", strings.Repeat("é", 75) + ".pdf"},
	{nil, "page", "", ""},
	{"", "page", "", ""},
	{"exports/j/n/data.jsonl.gz", nil, "", ""},
	{"users/7/" + uuid + "-private.png", "private.png", "", ""},
	{"/courses/mine/a.pdf", nil, "", ""},
	{"courses", nil, "", ""},
	{"courses/", nil, "", ""},
	{"courses/a.pdf", nil, "", ""},
	{"courses/mine/", nil, "", ""},
	{"courses//a.pdf", nil, "", ""},
	{"courses/../exports/a.pdf", nil, "", ""},
	{"courses/mine/../../a.pdf", nil, "", ""},
	{"courses/./a.pdf", nil, "", ""},
	{"Courses/mine/a.pdf", nil, "", ""},
	{"courses/mine/a\r\nb.pdf", nil, "", ""},
	{"courses/mine/a\u0085b.pdf", nil, "", ""},
	{"courses/mine/" + strings.Repeat("x", 1024), nil, "", ""},
	{"s3://bucket/courses/mine/a.pdf", nil, "", ""},
}

func TestOriginal(t *testing.T) {
	s, w := openSource(t)
	for i, c := range paths {
		id := int64(i + 1)
		exec(t, w, `insert into documents (id, course_name, s3_path, readable_filename) values ($1, 'mine', $2, $3)`, id, c.path, c.readable)
		if c.key == "=" {
			c.key = c.path.(string)
		}
		key, name, err := s.Original(t.Context(), "mine", id)
		if key != c.key || name != c.name || (c.key == "") != errors.Is(err, jobs.ErrNoOriginal) || c.key != "" && err != nil {
			t.Errorf("%q, %v: %q %q %v, want %q %q", c.path, c.readable, key, name, err, c.key, c.name)
		}
		for _, project := range []string{"other", "Mine", "", "min_", "mine' or '1'='1"} {
			if key, name, err := s.Original(t.Context(), project, id); !errors.Is(err, jobs.ErrNotFound) || key+name != "" {
				t.Errorf("another project, %q, has it: %q %v", project, key, err)
			}
		}
	}
	for _, id := range []int64{0, -1, 1000, 1<<63 - 1} {
		if _, _, err := s.Original(t.Context(), "mine", id); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("no document %d: %v", id, err)
		}
	}
}

// What the demo data has in its bucket is found by its rows.
func TestOriginalOfDemoData(t *testing.T) {
	s, w := openSource(t)
	fill(t, w, 0, 40)
	if err := demodata.FillOriginals(t.Context(), w.S3, w.Bucket); err != nil {
		t.Fatal(err)
	}
	rows, err := w.Admin(t).Query(t.Context(), `select id, s3_path <> '' from documents where course_name = $1 order by id`, demodata.DemoProject)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	files, pages := 0, 0
	for rows.Next() {
		var id int64
		var file bool
		if err := rows.Scan(&id, &file); err != nil {
			t.Fatal(err)
		}
		key, name, err := s.Original(t.Context(), demodata.DemoProject, id)
		if file != (err == nil) || file != (name != "") {
			t.Errorf("%d: %q %q %v", id, key, name, err)
		}
		if !file {
			pages++
		} else if files++; files <= 4 {
			if _, err := w.S3.StatObject(t.Context(), w.Bucket, key, minio.StatObjectOptions{}); err != nil {
				t.Errorf("%q: %v", key, err)
			}
		}
	}
	if files < 5 || pages < 5 || rows.Err() != nil {
		t.Errorf("%d files, %d pages: %v", files, pages, rows.Err())
	}
}
