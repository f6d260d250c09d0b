package demodata_test

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func TestFillPeopleTwice(t *testing.T) {
	db := database(t)
	if err := demodata.CreateSchema(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := demodata.FillPeople(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	people := value[string](t, db, `select string_agg(email || ' ' || is_active, ', ' order by user_id) from api_keys where key ~ '^uc_[0-9a-f]{32}$'`)
	want := fmt.Sprintf("%s true, %s true, %s true, %s false", demodata.AdminEmail, demodata.OtherEmail, demodata.OwnerEmail, demodata.OwnerEmail)
	if people != want {
		t.Errorf("keys of %s", people)
	}
	if n := value[int64](t, db, `select count(*) from projects`); n != 6 {
		t.Errorf("%d projects", n)
	}
}

func TestFillRoles(t *testing.T) {
	w := testenv.New(t)
	rdb := w.Roles(t)
	if err := demodata.FillRoles(t.Context(), rdb); err != nil {
		t.Fatal(err)
	}
	values, err := rdb.HGetAll(t.Context(), "course_metadatas").Result()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{} // project: owner, then admins, that are demo people
	otherCase := 0
	for project, v := range values {
		var m struct {
			Owner   string   `json:"course_owner"`
			Admins  []string `json:"course_admins"`
			Private *bool    `json:"is_private"`
			Frozen  *bool    `json:"is_frozen"`
		}
		if err := json.Unmarshal([]byte(v), &m); err != nil || m.Admins == nil || m.Private == nil || m.Frozen == nil {
			t.Errorf("%s: %s (%v)", project, v, err)
		}
		for _, email := range append(m.Admins, m.Owner) {
			if email != strings.ToLower(email) {
				otherCase++
			}
			switch lower := strings.ToLower(email); lower {
			case demodata.OwnerEmail, demodata.AdminEmail, demodata.OtherEmail, demodata.OperatorEmail:
				got[project] = append(got[project], lower)
			}
		}
	}
	both := []string{demodata.AdminEmail, demodata.OwnerEmail}
	want := map[string][]string{demodata.DemoProject: both, demodata.SparseProject: both, demodata.EmptyProject: both}
	if !reflect.DeepEqual(got, want) || otherCase == 0 {
		t.Errorf("%v, %d addresses in another case", got, otherCase)
	}
}

func TestFillOriginals(t *testing.T) {
	w := testenv.New(t)
	if err := demodata.FillOriginals(t.Context(), w.S3, w.Bucket); err != nil {
		t.Fatal(err)
	}
	db := w.Admin(t)
	if _, err := demodata.Fill(t.Context(), db, demodata.Options{Seed: 9, Documents: demodata.Volume{Rows: 12}}); err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), `select s3_path from documents where course_name = $1 and s3_path <> '' order by id limit 4`, demodata.DemoProject)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(paths) != 4 {
		t.Fatal(paths, err)
	}
	for i, path := range paths {
		o, err := w.S3.GetObject(t.Context(), w.Bucket, path, minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(o)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if i == 0 && !strings.HasPrefix(string(content), "%PDF-") {
			t.Errorf("%s begins with %.20q", path, content)
		}
	}
}
