//go:build faultpoints

package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
)

// before is the commit of the programs that are upgraded: the last one of schema
// 7. It moves on with a release, to one that was in use.
const before = "fe8230387a08a34b5445ba062d17b697e1cbd193"

// previous builds those programs, and returns their folder.
func previous(t *testing.T) string {
	t.Helper()
	run := func(name string, args ...string) string {
		out, err := exec.Command(name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s\nThis test needs the repository's history: git fetch --unshallow",
				name, strings.Join(args, " "), err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git := func(args ...string) string {
		return run("git", append([]string{"-c", "safe.directory=*", "-C", "../.."}, args...)...)
	}
	src, bin := t.TempDir(), t.TempDir()
	git("archive", "--output="+src+"/src.tar", before)
	run("tar", "-xf", src+"/src.tar", "-C", src)
	run("go", "build", "-C", src, "-buildvcs=false", "-tags", "faultpoints", "-o", bin+string(filepath.Separator), "./cmd/api", "./cmd/worker")
	t.Logf("the programs of %s beside today's", before[:7])
	return bin
}

// upgrade is a world in which two versions of the programs run.
type upgrade struct {
	*fleet
	old    string
	nonces map[string]string // of the uploads of half-finished exports
}

func (u *upgrade) nonce(id string) string {
	u.t.Helper()
	return query[string](u.field, `select upload_nonce from bulkexport.jobs where id = $1`, id)
}

// version is the schema's.
func (u *upgrade) version() int {
	u.t.Helper()
	return query[int](u.field, `select max(version_id)::int from bulkexport.goose_db_version where is_applied`)
}

// begin starts a program of a folder and returns it and its probes' address.
func (u *upgrade) begin(folder, name string, extra ...string) (*process, string) {
	u.t.Helper()
	metrics := freeAddr(u.t)
	return u.runPath(name, filepath.Join(folder, name), append(extra, "METRICS_ADDR="+metrics)...), metrics
}

// refused starts both of today's programs on a schema that is too old for them.
func (u *upgrade) refused() {
	u.t.Helper()
	for _, name := range []string{"api", "worker"} {
		p, probes := u.begin(binaries, name, "AUTO_MIGRATE=false", "HTTP_ADDR="+freeAddr(u.t))
		u.ready(probes, http.StatusServiceUnavailable)
		check := exec.Command(filepath.Join(binaries, name), "healthcheck")
		check.Env = append(append([]string{}, u.env...), "METRICS_ADDR="+probes)
		if out, err := check.CombinedOutput(); err == nil {
			u.t.Errorf("%s is healthy on an older schema: %s", name, out)
		}
		want := fmt.Sprintf("the schema bulkexport is at version %d, this program needs ", u.version())
		u.eventually(name+" says so", func() bool {
			log := p.log.String()
			return strings.Contains(log, want) && strings.Contains(log, ": run `api migrate`")
		})
		p.signal(syscall.SIGTERM)
		<-p.exited
		if strings.Contains(p.log.String(), "worker started") {
			u.t.Error("a worker takes exports on an older schema")
		}
	}
}

// halfway asks for an export and waits until a part of it is there for good.
func (u *upgrade) halfway(i int) string {
	u.t.Helper()
	id := u.ask(i)
	u.eventually("there is a checkpoint", func() bool {
		return query[int](u.field, `select count(*) from bulkexport.checkpoints where job_id = $1`, id) > 0
	})
	u.nonces[id] = u.nonce(id)
	return id
}

// passedOn checks that an export was begun by one program and ended by another.
func (u *upgrade) passedOn(id string, from, to *process) {
	u.t.Helper()
	j := u.verify(id, &outcome{})
	mark := func(p *process) string { return fmt.Sprintf("-%d-", p.cmd.Process.Pid) }
	if n := len(j.Attempts); n != 2 || !strings.Contains(j.Attempts[0].Worker, mark(from)) || !strings.Contains(j.Attempts[1].Worker, mark(to)) {
		u.t.Errorf("not handed from one to the other: %+v", j.Attempts)
	}
	if u.nonce(id) != u.nonces[id] {
		u.t.Error("it was begun anew")
	}
}

// TestUpgrade brings a running installation from an older schema
// to today's, one program at a time, and a worker back.
func TestUpgrade(t *testing.T) {
	u := &upgrade{fleet: newFleet(t, 2, 60_000), old: previous(t), nonces: make(map[string]string)}
	_, via := behindProxy(t, u.world.SourceURL, 6<<20)
	u.env = append(u.env, "SOURCE_DATABASE_URL="+via, "PROJECT_SLOTS=2")
	addr := freeAddr(t)
	oldAPI, oldProbes := u.begin(u.old, "api", "HTTP_ADDR="+addr, "PUBLIC_URL=http://"+addr)
	u.ready(oldProbes, http.StatusOK)
	was := u.version()
	u.refused()
	oldWorker, oldWorkerProbes := u.begin(u.old, "worker")
	u.ready(oldWorkerProbes, http.StatusOK)
	u.url = "http://" + addr
	first := u.halfway(0)

	// The new API migrates under the old programs, which stay ready.
	newAddr := freeAddr(t)
	_, probes := u.begin(binaries, "api", "HTTP_ADDR="+newAddr, "PUBLIC_URL=http://"+newAddr)
	u.ready(probes, http.StatusOK)
	if after := u.version(); after <= was {
		t.Fatalf("from version %d to %d: there was nothing to upgrade", was, after)
	}
	for _, p := range []string{oldProbes, oldWorkerProbes} {
		u.ready(p, http.StatusOK)
	}
	newWorker, probes := u.begin(binaries, "worker")
	u.ready(probes, http.StatusOK)
	oldWorker.signal(syscall.SIGTERM)
	<-oldWorker.exited
	u.passedOn(first, oldWorker, newWorker)

	// Back: a new worker dies, and an old one ends what it has begun.
	second := u.halfway(1)
	oldWorker, oldWorkerProbes = u.begin(u.old, "worker")
	u.ready(oldWorkerProbes, http.StatusOK)
	newWorker.kill()
	u.passedOn(second, newWorker, oldWorker)

	u.together(addr, newAddr)
	oldAPI.signal(syscall.SIGTERM)
	<-oldAPI.exited
}

// together: both APIs take exports, and an old worker and a new one share them.
func (u *upgrade) together(addrs ...string) {
	u.t.Helper()
	_, probes := u.begin(binaries, "worker")
	u.ready(probes, http.StatusOK)
	c := &caller{t: u.t, client: &http.Client{Timeout: 30 * time.Second}}
	for i, addr := range append(addrs, addrs...) {
		a, err := c.once(addr, http.MethodPost, exportsOf(u.projects[i%2]), `{"kind":"conversations","fresh":true}`, fmt.Sprint("together-", i))
		if err != nil || a.status != http.StatusAccepted {
			u.t.Fatalf("%d %v %s", a.status, err, a.body)
		}
		id := u.decode(a).ID
		defer u.verify(id, &outcome{})
		for _, ask := range addrs {
			if a, err := c.once(ask, http.MethodGet, "/v1/exports/"+id, "", ""); err != nil || a.status != http.StatusOK {
				u.t.Errorf("%s does not know an export of %s: %d %v", ask, addr, a.status, err)
			}
		}
	}
}

// A schema from the future is none of a program's business.
func TestNewerSchema(t *testing.T) {
	u := &upgrade{fleet: newFleet(t, 1, 100)}
	addr := freeAddr(t)
	api, probes := u.begin(binaries, "api", "HTTP_ADDR="+addr, "PUBLIC_URL=http://"+addr)
	u.ready(probes, http.StatusOK)
	api.signal(syscall.SIGTERM)
	<-api.exited
	for _, sql := range []string{
		`insert into bulkexport.goose_db_version (version_id, is_applied) values (99999, true)`,
		`alter table bulkexport.jobs add column from_the_future text not null default 'later'`,
	} {
		if _, err := u.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"api", "worker"} {
		_, probes := u.begin(binaries, name, "HTTP_ADDR="+addr, "PUBLIC_URL=http://"+addr)
		u.ready(probes, http.StatusOK)
	}
	u.url = "http://" + addr
	u.verify(u.ask(0), &outcome{})
	if a := u.call(http.MethodGet, exportsOf(u.projects[0]), demodata.OwnerKey, ""); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
}
