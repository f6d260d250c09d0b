package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// pagesOf is the address of a project's page.
func pagesOf(project string) string { return "/p/" + url.PathEscape(project) }

// owned makes a project of the demo owner's.
func owned(t *testing.T, w *testenv.World, project string) {
	t.Helper()
	value, err := json.Marshal(map[string]any{"course_owner": demodata.OwnerEmail, "course_admins": []string{demodata.AdminEmail}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Roles(t).HSet(t.Context(), "course_metadatas", project, value).Err(); err != nil {
		t.Fatal(err)
	}
}

// put writes an export's row as it would stand after some life. The last given
// column wins.
func put(t *testing.T, db *pgx.Conn, project string, columns map[string]any) (id string) {
	t.Helper()
	row := map[string]any{"project": project, "kind": "conversations", "lane": "large", "requested_by": demodata.OwnerEmail, "state": "queued"}
	for name, value := range columns {
		row[name] = value
	}
	if row["state"] == "running" {
		row["worker"], row["lease_until"], row["attempt"], row["started_at"] = "elsewhere-1", time.Now().Add(time.Hour), 1, time.Now().Add(-5*time.Minute)
	}
	if s := row["state"]; s == "succeeded" || s == "expired" {
		finished := map[string]any{
			"started_at": time.Now().Add(-20 * time.Minute), "finished_at": time.Now().Add(-2 * time.Minute), "filename": "file-convo_history.jsonl.gz",
			"sha256": strings.Repeat("0123456789abcdef", 4), "sha256_raw": strings.Repeat("f", 64), "upload_nonce": "n", "upload_key": "exports/x/n/file",
			"rows_done": 100_000_000, "bytes_raw": int64(1_580_000_000_000), "bytes_stored": int64(521_000_000_000),
		}
		for name, value := range finished {
			if _, ok := row[name]; !ok {
				row[name] = value
			}
		}
	}
	names, marks, values := []string{"id"}, []string{"gen_random_uuid()"}, []any{}
	for name, value := range row {
		values = append(values, value)
		names, marks = append(names, name), append(marks, fmt.Sprint("$", len(values)))
	}
	err := db.QueryRow(t.Context(), `insert into bulkexport.jobs (`+strings.Join(names, ", ")+`) values (`+strings.Join(marks, ", ")+`) returning id::text`, values...).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// lives are exports in every state that a page can show.
func lives() map[string]map[string]any {
	from, to := time.Date(2025, 9, 1, 5, 0, 0, 0, time.UTC), time.Date(2025, 12, 20, 6, 0, 0, 0, time.UTC)
	return map[string]map[string]any{
		"waiting":   {"from_at": from, "to_at": to},
		"retrying":  {"phase": "retrying", "next_at": time.Now().Add(4 * time.Minute), "failures": 2, "attempt": 2, "kind": "documents"},
		"running":   {"state": "running", "phase": "streaming", "rows_done": 41_234_567, "rows_total": 100_000_000, "bytes_raw": int64(651e9), "bytes_stored": int64(215e9), "rows_per_second": 118_000.0, "progress_at": time.Now()},
		"canceling": {"state": "running", "phase": "streaming", "rows_done": 900, "rows_total": 100_000, "cancel_requested_at": time.Now(), "canceled_by": demodata.AdminEmail},
		"failed":    {"state": "failed", "error_code": "source_refused", "error_message": "The platform's database refused to be read.", "error_retryable": true, "finished_at": time.Now()},
		"bad-rows":  {"state": "failed", "error_code": "too_many_bad_rows", "error_message": "More than one row in a hundred cannot be read.", "error_retryable": false, "finished_at": time.Now(), "kind": "documents"},
		"ready-all": {"state": "succeeded", "expires_at": time.Now().Add(50 * time.Hour), "skipped": 2, "deleted": 5, "appeared": 12, "contexts_cut": 7,
			"skipped_rows": `[{"id": 17, "reason": "damaged"}, {"id": 4711, "reason": "too_large"}]`},
		"canceled": {"state": "canceled", "finished_at": time.Now(), "canceled_by": demodata.AdminEmail},
		"expired":  {"state": "expired", "expires_at": time.Now().Add(-time.Hour), "kind": "documents"},
	}
}

// Every state can be looked at by everybody: no violation of WCAG's levels A and
// AA, no sideways scrolling, no complaint of the browser's.
func TestPagesInEveryState(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 1, Conversations: demodata.Volume{Rows: 100}})
	s := start(t, w, 0, withSignIn(t)...)
	db := w.Admin(t)
	long := strings.Repeat("a-very-long-name-", 11) + "of-a-project!"
	hostile := `"><img src=x onerror=alert(1)><script>alert(2)</script>'`
	for _, p := range []string{"مشروع الأرشيف ١٤٤٧ (سري)", long, hostile} {
		owned(t, w, p)
	}
	c := s.chromium("Europe/Berlin")
	c.signIn(demodata.OwnerEmail)
	c.open("/")
	c.a11y("projects-many")
	ids := make(map[string]string)
	states := lives()
	for name, columns := range states {
		ids[name] = put(t, db, demodata.DemoProject, columns)
	}
	if _, err := db.Exec(t.Context(), `insert into bulkexport.attempts (job_id, attempt, worker, ended_at, outcome, error_code, error_message)
		values ($1, 2, 'elsewhere-2', now(), 'retried', 'source_unavailable', 'The platform''s database did not answer.')`, ids["retrying"]); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `insert into bulkexport.outbox (job_id, recipient, outcome, state, sent_at, tries, last_error)
		select $1, 'person-' || s || '@example.edu', 'ready', s, case s when 'sent' then now() end, 3, 'smtp_away'
		from unnest(array['due', 'sent', 'dropped', 'refused', 'unsure', 'given_up']) s`, ids["ready-all"]); err != nil {
		t.Fatal(err)
	}
	for name, id := range ids {
		c.open("/exports/" + id)
		c.a11y(name)
	}
	c.open(pagesOf(demodata.DemoProject))
	c.sees("Size of the file")
	c.a11y("project")
	c.open(pagesOf("مشروع الأرشيف ١٤٤٧ (سري)"))
	c.sees("There is nothing in this time")
	c.a11y("project-right-to-left")
	c.open(pagesOf(long))
	c.sees("There is nothing in this time")
	c.a11y("project-long-name")
	c.open(pagesOf(hostile))
	c.sees(hostile, "There is nothing in this time")
	for name, path := range map[string]string{
		"ask-cancel": "/exports/" + ids["running"] + "/cancel", "ask-delete": "/exports/" + ids["ready-all"] + "/delete",
		"audit": pagesOf(demodata.DemoProject) + "/audit", "not-found": "/exports/" + strings.Repeat("0", 8) + "-0000-0000-0000-000000000000",
		"no-such-page": "/nowhere", "deleted": "/exports/" + ids["expired"] + "/fetch/download",
		"wrong-dates": pagesOf(demodata.DemoProject) + "?from=2025-03-01&to=2024-01-01", "sign-out": "/logout", "api": "/docs",
	} {
		c.visit(path)
		c.a11y(name)
	}
}

// visit opens an address that may show something without the pages' frame.
func (c *chromium) visit(path string) {
	c.t.Helper()
	eval[any](c, fmt.Sprintf("location.href = %q; 0", c.url+path))
	c.eventually("the page "+path, func() bool { return c.text("h1") != "" && strings.HasSuffix(eval[string](c, "location.href"), path) })
}

// Whoever has no mouse gets there, too: the first stop leads past the top of the
// page, and what is in focus can be seen.
func TestPagesByKeyboard(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 1, Conversations: demodata.Volume{Rows: 100}, Documents: demodata.Volume{Rows: 5}})
	s := start(t, w, 0, withSignIn(t)...)
	c := s.chromium("UTC")
	c.signIn(demodata.OwnerEmail)
	c.open(pagesOf(demodata.DemoProject))
	c.sees("Size of the file")
	c.keys("\t")
	if got := eval[string](c, "document.activeElement.innerText"); got != "Skip to the content" {
		t.Errorf("the first stop is %q", got)
	}
	c.keys("\r")
	for stops := 0; eval[string](c, "document.activeElement.innerText || ''") != "Start the export"; stops++ {
		if stops > 20 {
			t.Fatal("the button is not among the stops")
		}
		c.keys("\t")
		if !eval[bool](c, `getComputedStyle(document.activeElement.closest("label") || document.activeElement).outlineStyle !== "none" ||
			getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
			t.Errorf("focus cannot be seen on %s", eval[string](c, "document.activeElement.outerHTML"))
		}
	}
	c.keys("\r")
	c.sees("Waiting for its turn", "Number of this export")
}

// keys presses them, one after the other.
func (c *chromium) keys(keys string) {
	c.t.Helper()
	c.do("keys", chromedp.KeyEvent(keys))
}

// A long history is a page at a time, and each is there within 100 ms.
func TestPagesOfALongHistory(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	s := start(t, w, 0, withSignIn(t)...)
	db := w.Admin(t)
	if _, err := db.Exec(t.Context(), `insert into bulkexport.jobs (id, project, kind, lane, requested_by, state, finished_at, error_code, error_message, error_retryable)
		select gen_random_uuid(), $1, 'documents', 'large', 'a@example.edu', 'failed', now(), 'internal', 'The export met an error inside this service.', true
		from generate_series(1, 5000)`, demodata.DemoProject); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `insert into bulkexport.audit (actor, action, project) select 'a@example.edu', 'create', $1 from generate_series(1, 20000)`, demodata.DemoProject); err != nil {
		t.Fatal(err)
	}
	c := s.chromium("UTC")
	c.signIn(demodata.OwnerEmail)
	c.open(pagesOf(demodata.DemoProject))
	c.a11y("history-5000")
	c.press("Older ones")
	c.eventually("the next page", func() bool { return strings.Contains(eval[string](c, "location.href"), "before=") })
	var took []time.Duration
	for range 20 {
		began := time.Now()
		a := s.call(http.MethodGet, pagesOf(demodata.DemoProject), demodata.OwnerKey, "")
		took = append(took, time.Since(began))
		if rows := strings.Count(string(a.body), `<td class="act">`); a.status != http.StatusOK || rows != 50 {
			t.Fatalf("%d, %d rows", a.status, rows)
		}
	}
	slices.Sort(took)
	t.Logf("a page of a history of 5,000: %s, at most %s", took[10], took[19])
	if took[10] > 300*time.Millisecond {
		t.Errorf("a page of the history takes %s, three times its goal", took[10])
	}
}

// Progress moves by itself: no page is loaded anew, and nothing jumps.
func TestPagesShowProgress(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 1, Conversations: demodata.Volume{Rows: 4000}})
	s := start(t, w, 1, append(withSignIn(t), "SOURCE_READ_MBPS=1")...)
	c := s.chromium("UTC")
	c.signIn(demodata.OwnerEmail)
	c.open(pagesOf(demodata.DemoProject))
	c.press("Start the export")
	c.eventually("progress", func() bool { return c.percent() > 0 })
	eval[any](c, `window.stays = true; window.shifts = 0;
		new PerformanceObserver(list => { for (const e of list.getEntries()) window.shifts += e.value; }).observe({type: "layout-shift", buffered: false}); 0`)
	first := c.percent()
	c.shoot("progress")
	c.eventually("more of it", func() bool { return c.percent() > first+20 })
	if !eval[bool](c, "window.stays === true") {
		t.Error("the page was loaded anew")
	}
	if shifts := eval[float64](c, "window.shifts"); shifts > 0.01 {
		t.Errorf("things jump: a layout shift of %g", shifts)
	}
	id := c.id()
	c.press("Cancel this export")
	c.sees("Stop this export?")
	c.press("Stop it")
	c.sees("It was stopped before it was over")
	if j := s.get(id); j.State != "canceled" {
		t.Errorf("the export is %s", j.State)
	}
	c.press("Run it again")
	c.eventually("another export", func() bool { return c.id() != id })
}

func (c *chromium) percent() int {
	return eval[int](c, `(document.querySelector(".live progress[value]") || {value: 0}).value`)
}

// Who has no role sees nothing, and who has lost the sign-in is told so, and
// led back.
func TestPagesRefuse(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	s := start(t, w, 0, withSignIn(t)...)
	db := w.Admin(t)
	id := put(t, db, demodata.DemoProject, map[string]any{"state": "succeeded", "expires_at": time.Now().Add(time.Hour)})
	running := put(t, db, demodata.DemoProject, map[string]any{"state": "running", "phase": "streaming"})
	c := s.chromium("UTC")
	c.signIn(demodata.OtherEmail)
	c.sees("neither the owner nor an admin of any project")
	c.a11y("no-role")
	for _, path := range []string{pagesOf(demodata.DemoProject), pagesOf("no-such-project"), pagesOf(demodata.DemoProject) + "/audit",
		"/exports/" + id, "/exports/" + id + "/fetch/download", "/exports/" + id + "/delete", "/exports/" + running + "/cancel"} {
		c.open(path)
		if text := c.text("main"); !strings.Contains(text, "Nothing here for you") || strings.Contains(text, "Download") {
			t.Errorf("%s: %s", path, text)
		}
	}
	c.visit("/logout")
	c.press("Sign out")
	c.sees("You are signed out")

	c.signIn(demodata.OwnerEmail)
	c.open("/exports/" + running)
	c.sees("Writing the file")
	if _, err := db.Exec(t.Context(), `delete from bulkexport.sessions`); err != nil {
		t.Fatal(err)
	}
	c.sees("Please sign in") // by itself: the page asks every second
	c.a11y("sign-in-lost")
	c.press("Sign in")
	c.provider(demodata.OwnerEmail)
	c.sees("Writing the file")
	if got := c.id(); got != running {
		t.Errorf("led back to %s", got)
	}
}

// A file that is not in the store, and a store that does not answer, are told
// by a page, not by the store.
func TestPagesBeforeTheStore(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	s := start(t, w, 0, withSignIn(t)...)
	id := put(t, w.Admin(t), demodata.DemoProject, map[string]any{"state": "succeeded", "expires_at": time.Now().Add(time.Hour)})
	c := s.chromium("UTC")
	c.signIn(demodata.OwnerEmail)
	c.open("/exports/" + id)
	c.press("Download the file")
	c.sees("This file has been deleted")
	if files, err := filepath.Glob(filepath.Join(c.downloads, "*")); err != nil || len(files) != 0 {
		t.Errorf("downloaded %v, %v", files, err)
	}

	away := start(t, w, 0, append(withSignIn(t), "S3_ENDPOINT=http://"+freeAddr(t))...)
	a := away.call(http.MethodGet, "/exports/"+id+"/fetch/download", demodata.OwnerKey, "")
	if a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "Not possible just now") {
		t.Errorf("without the store: %d %s", a.status, a.body)
	}
}
