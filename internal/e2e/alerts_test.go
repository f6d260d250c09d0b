package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// guarded is a service under a Prometheus, whose every part can fail.
type guarded struct {
	*service
	prom              *prometheus
	only              *process // worker
	redis             *ownRedis
	own, source, smtp *proxy
	store             *moody
	fired             map[string]bool
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 9, Conversations: demodata.Volume{Rows: 300}, Documents: demodata.Volume{Rows: 50}})
	g := &guarded{fired: map[string]bool{}}
	g.own, w.DatabaseURL = behindProxy(t, w.DatabaseURL, 0)
	source, sourceURL := behindProxy(t, w.SourceURL, 0) // the worker's alone: people's keys stand there, too
	g.source = source
	g.redis = newRedis(t)
	w.RedisURL = "redis://" + g.redis.addr + "/0"
	var endpoint, smtp string
	g.store, endpoint = newMoody(t)
	relay, relayURL := newRelay(t)
	relay.refuse = demodata.AdminEmail
	g.smtp, smtp = behindProxy(t, relayURL, 0)
	worker := freeAddr(t)
	g.service = start(t, w, 0, "S3_ENDPOINT="+endpoint, "S3_PUBLIC_ENDPOINT="+testenv.Var(t, "S3_ENDPOINT"),
		"SMTP_URL="+smtp, "MAIL_FROM=exports@example.edu", "MAIL_TELL_ADMINS=false", "WORKER_CONCURRENCY=8", "PROJECT_SLOTS=8")
	g.only = g.run("worker", "METRICS_ADDR="+worker, "SOURCE_DATABASE_URL="+sourceURL)
	g.prom = watch(t, map[string]string{"bulkexport-api": g.metrics, "bulkexport-worker": worker})
	return g
}

// fires waits until the alerts do.
func (g *guarded) fires(names ...string) {
	g.t.Helper()
	began := time.Now()
	g.eventually("these alerts fire: "+strings.Join(names, ", "), func() bool {
		now := g.prom.firing()
		return !slices.ContainsFunc(names, func(n string) bool { return !now["BulkExport"+n] })
	})
	for _, n := range names {
		g.fired["BulkExport"+n] = true
	}
	g.t.Logf("%s after %s", strings.Join(names, ", "), time.Since(began).Round(time.Second))
}

// calm waits until no alert fires.
func (g *guarded) calm() {
	g.t.Helper()
	began := time.Now()
	var now map[string]bool
	defer func() {
		g.t.Logf("calm after %s; firing: %v", time.Since(began).Round(time.Second), slices.Sorted(maps.Keys(now)))
	}()
	g.eventually("no alert fires", func() bool {
		now = g.prom.firing()
		return len(now) == 0
	})
}

func (g *guarded) exec(sql string, args ...any) {
	g.t.Helper()
	if _, err := g.Admin(g.t).Exec(g.t.Context(), sql, args...); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guarded) fresh(n int) (ids []string) {
	g.t.Helper()
	for range n {
		ids = append(ids, g.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID)
	}
	return ids
}

// becomes waits until all of the jobs are in one of the states.
func (g *guarded) becomes(ids []string, states ...string) {
	g.t.Helper()
	for _, id := range ids {
		g.eventually("the export is "+strings.Join(states, " or "), func() bool { return slices.Contains(states, g.get(id).State) })
	}
}

// Each fault makes its alert fire, and each alert ends with its fault. Every
// panel of the dashboard has something to show.
func TestAlerts(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	ready := g.fresh(1)
	documents := g.create(demodata.DemoProject, `{"kind":"documents"}`)
	g.becomes(append(ready, documents.ID), "succeeded")
	g.eventually("Prometheus looks at both", func() bool {
		n, err := g.prom.samples(`up{job=~"bulkexport-.+"} == 1`)
		return err == nil && n == 2
	})
	g.calm()

	g.workerStopped()
	g.tableGone()
	g.smtp.close()
	g.storeFull()
	g.storeRefuses(ready[0])
	g.fires("MailsUndelivered", "DependencyDown")
	g.smtp.open()
	g.orphaned()
	g.redisGone()
	g.databaseGone()

	g.exec(`update bulkexport.outbox set due_at = now() where state = 'due'`) // its back-off is over
	g.calm()
	for _, name := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(deploy.Alerts, -1) {
		if !g.fired[name[1]] {
			t.Errorf("nothing fired %s", name[1])
		}
	}
	g.panels()
}

// workerStopped freezes the only worker in the middle of an export, while
// another one waits and Redis is nearly full.
func (g *guarded) workerStopped() {
	g.t.Helper()
	g.source.hush()
	running := g.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID
	g.becomes([]string{running}, "running")
	g.only.signal(syscall.SIGSTOP)
	g.source.speak()
	waiting := g.create(demodata.EmptyProject, conversations).ID
	g.exec(`update bulkexport.jobs set created_at = now() - interval '2 hours' where id = $1`, waiting)
	rdb := redis.NewClient(&redis.Options{Addr: g.redis.addr})
	defer rdb.Close()
	var ballast []string
	for i := range 75 {
		ballast = append(ballast, fmt.Sprint("ballast:", i))
		if err := rdb.Set(g.t.Context(), ballast[i], strings.Repeat("x", redisLimit/100), 0).Err(); err != nil {
			g.t.Fatal(err)
		}
	}
	g.fires("NoWorker", "NoProgress", "WaitingTooLong", "Down", "RedisMemory")
	g.only.signal(syscall.SIGCONT)
	if err := rdb.Del(g.t.Context(), ballast...).Err(); err != nil {
		g.t.Fatal(err)
	}
	g.becomes([]string{running, waiting}, "succeeded")
}

// tableGone takes the table away, and lets a failure be told to somebody whose
// mail server does not know them.
func (g *guarded) tableGone() {
	g.t.Helper()
	g.exec(`alter table "llm-convo-monitor" rename to away`)
	ids := append(g.fresh(3), g.create(demodata.DemoProject, `{"kind":"conversations","fresh":true,"notify":["`+demodata.AdminEmail+`"]}`).ID)
	g.becomes(ids, "failed")
	g.fires("SourceRefused", "ExportsFailed", "MailsLost")
	g.exec(`alter table away rename to "llm-convo-monitor"`)
}

func (g *guarded) storeFull() {
	g.t.Helper()
	g.store.is(full)
	ids := g.fresh(8)
	g.fires("StoreFull", "RetryStorm")
	g.store.is(fine)
	g.exec(`update bulkexport.jobs set next_at = now() where state = 'queued' and next_at is not null`)
	g.becomes(ids, "succeeded")
}

// storeRefuses fails an export, and keeps the file of another that was deleted.
func (g *guarded) storeRefuses(id string) {
	g.t.Helper()
	g.store.is(refuses)
	if a := g.call(http.MethodDelete, "/v1/exports/"+id, demodata.OwnerKey, ""); a.status != http.StatusNoContent {
		g.t.Fatalf("%d %s", a.status, a.body)
	}
	g.exec(`update bulkexport.jobs set expires_at = now() - interval '2 hours' where id = $1`, id)
	g.becomes(g.fresh(1), "failed")
	g.fires("StoreRefused", "NoCleanUp")
	g.store.is(fine)
	g.command("sweep")
}

// orphaned leaves objects of no job in the store, of which the sweeper removes
// a few by itself.
func (g *guarded) orphaned() {
	g.t.Helper()
	for i := range 6 {
		key := fmt.Sprintf("exports/%s0000-4000-8000-%012d/nonce/data.jsonl.gz", nobody, i)
		if _, err := g.S3.PutObject(g.t.Context(), g.Bucket, key, strings.NewReader("x"), 1, minio.PutObjectOptions{}); err != nil {
			g.t.Fatal(err)
		}
	}
	g.store.is(aged)
	g.command("sweep")
	g.fires("Orphans", "OrphansLeft")
	g.command("sweep", "-all")
	g.store.is(fine)
	g.command("sweep")
}

func (g *guarded) redisGone() {
	g.t.Helper()
	g.redis.run.kill()
	g.fires("RedisDown")
	g.redis.start()
}

func (g *guarded) databaseGone() {
	g.t.Helper()
	g.own.close()
	g.eventually("the alerts about the database fire", func() bool {
		g.call(http.MethodGet, exportsOf(demodata.DemoProject), demodata.OwnerKey, "")
		now := g.prom.firing()
		return now["BulkExportDatabaseDown"] && now["BulkExportErrors"]
	})
	g.fires("DatabaseDown", "Errors")
	g.own.open()
}

// panels asks what Grafana would.
func (g *guarded) panels() {
	g.t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(deploy.Dashboard, &d); err != nil || len(d.Panels) < 20 {
		g.t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			expr := strings.ReplaceAll(q.Expr, "$__rate_interval", "3m")
			if n, err := g.prom.samples(expr); err != nil || n == 0 {
				g.t.Errorf("%s: %s: %d samples, %v", p.Title, expr, n, err)
			}
		}
	}
}

// The rules are ones that Prometheus takes, and each has its section in the
// runbook.
func TestRules(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("promtool", "check", "rules", "../../deploy/prometheus/bulkexport.rules.yml").CombinedOutput()
	if err != nil {
		t.Fatalf("%v (is Debian's package prometheus installed?)\n%s", err, out)
	}
	anchors := regexp.MustCompile(`runbook: "docs/runbook.md#([a-z-]+)"`).FindAllStringSubmatch(deploy.Alerts, -1)
	if n := strings.Count(deploy.Alerts, "alert: "); len(anchors) != n {
		t.Errorf("%d of %d alerts name the runbook", len(anchors), n)
	}
	sections := headings(t, "runbook.md")
	for _, a := range anchors {
		if !sections[a[1]] {
			t.Errorf("docs/runbook.md has no section %s", a[1])
		}
	}
}
