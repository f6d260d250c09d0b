package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// A program that finds an older schema, and is not to migrate it, says so and
// takes no export; as soon as somebody else has migrated, it works.
func TestOlderSchema(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 0)
	db := s.Admin(t)
	id := s.create(demodata.EmptyProject, conversations).ID
	var version int
	if err := db.QueryRow(t.Context(), `delete from bulkexport.goose_db_version
		where version_id = (select max(version_id) from bulkexport.goose_db_version) returning version_id`).Scan(&version); err != nil {
		t.Fatal(err)
	}
	probes := freeAddr(t)
	worker := s.run("worker", "AUTO_MIGRATE=false", "METRICS_ADDR="+probes)
	for _, url := range []string{s.url, "http://" + probes} {
		s.eventually("readiness refuses", func() bool {
			res, err := http.Get(url + "/readyz")
			if err != nil {
				return false
			}
			_ = res.Body.Close()
			return res.StatusCode == http.StatusServiceUnavailable
		})
	}
	for _, p := range []*process{s.api, worker} {
		s.eventually("the log says what to do", func() bool {
			return strings.Contains(p.log.String(), "this program needs") && strings.Contains(p.log.String(), ": run `api migrate`")
		})
	}
	// Whoever works is seen on the board before it can be told of a job.
	var seen int
	s.eventually("the worker has asked again", func() bool {
		if err := db.QueryRow(t.Context(), `select count(*) from bulkexport.workers`).Scan(&seen); err != nil {
			t.Fatal(err)
		}
		return seen > 0 || strings.Count(worker.log.String(), "schema not migrated yet") > 1
	})
	if seen > 0 {
		t.Error("a worker offers itself on an older schema")
	}
	if _, err := db.Exec(t.Context(), `insert into bulkexport.goose_db_version (version_id, is_applied) values ($1, true)`, version); err != nil {
		t.Fatal(err)
	}
	s.succeed(id)
}
