//go:build faultpoints

package e2e

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
)

// TestRestore does what docs/backup.md says: a backup in the middle of an export,
// a world that goes on, and a restore.
func TestRestore(t *testing.T) {
	f := newFleet(t, 2, 60_000)
	_, via := behindProxy(t, f.world.SourceURL, 6<<20)
	addr := freeAddr(t)
	f.env = append(f.env, "SOURCE_DATABASE_URL="+via, "HTTP_ADDR="+addr, "PUBLIC_URL=http://"+addr)
	f.url = "http://" + addr
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Env = f.env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
	}
	begin := func() (ended func()) {
		t.Helper()
		probes := freeAddr(t)
		api := f.run("api", "METRICS_ADDR="+probes)
		f.ready(probes, http.StatusOK)
		worker := f.worker()
		return func() {
			for _, p := range []*process{api, worker} {
				p.signal(syscall.SIGTERM)
				<-p.exited
			}
		}
	}
	dump := filepath.Join(t.TempDir(), "bulkexport.dump")

	end := begin()
	o := &outcome{fault: "restored from a backup"}
	done := f.ask(0)
	f.verify(done, o)
	half := f.ask(1)
	f.eventually("there is a checkpoint", func() bool {
		return query[int](f.field, `select count(*) from bulkexport.checkpoints where job_id = $1`, half) > 0
	})
	run("/usr/bin/pg_dump", "--schema=bulkexport", "--format=custom", "--file="+dump, f.DatabaseURL)
	f.verify(half, o)
	after := f.ask(0)
	f.verify(after, o)
	end()

	run("/usr/bin/pg_restore", "--clean", "--if-exists", "--dbname="+f.DatabaseURL, dump)
	run(filepath.Join(binaries, "api"), "migrate")
	run(filepath.Join(binaries, "worker"), "sweep", "-dry-run")
	if state := query[string](f.field, `select state from bulkexport.jobs where id = $1`, half); state != "running" {
		t.Fatalf("the backup was not taken in the middle: %s", state)
	}
	begin()
	f.verify(done, o)
	if j := f.verify(half, o); j.Attempt != 2 {
		t.Errorf("taken over %d times", j.Attempt-1)
	}
	if a := f.call(http.MethodGet, "/v1/exports/"+after, demodata.OwnerKey, ""); a.status != http.StatusNotFound {
		t.Errorf("an export that the backup does not know: %d", a.status)
	}
	f.verify(f.ask(0), o)
}
