package platform_test

import (
	"slices"
	"testing"

	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// A project is missing where neither the table nor the roles have it, and
// nothing is concluded from a platform that has no project at all.
func TestMissing(t *testing.T) {
	w := testenv.New(t)
	source, err := platform.OpenSource(t.Context(), w.SourceURL, "test", 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(source.Close)
	roles, err := platform.OpenRoles(w.PlatformRedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = roles.Close() })
	roll, db := platform.Roll{Source: source, Roles: roles}, w.Admin(t)
	if _, err := db.Exec(t.Context(), `delete from projects`); err != nil {
		t.Fatal(err)
	}
	if got, err := roll.Missing(t.Context(), []string{"gone"}); err == nil {
		t.Errorf("an empty table says that %v are missing", got)
	}
	if _, err := db.Exec(t.Context(), `insert into projects (course_name) values ('in the table')`); err != nil {
		t.Fatal(err)
	}
	rdb := w.Roles(t)
	if err := rdb.HSet(t.Context(), "course_metadatas", "in the roles", "{}").Err(); err != nil {
		t.Fatal(err)
	}
	got, err := roll.Missing(t.Context(), []string{"gone", "in the table", "in the roles"})
	if err != nil || !slices.Equal(got, []string{"gone"}) {
		t.Errorf("%v, %v", got, err)
	}
	if err := rdb.Del(t.Context(), "course_metadatas").Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := roll.Missing(t.Context(), []string{"gone"}); err == nil {
		t.Errorf("empty roles say that %v are missing", got)
	}
}
