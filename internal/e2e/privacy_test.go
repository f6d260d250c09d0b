package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"mime/quotedprintable"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// kept are all places that outlast a request and are not the exports: logs,
// the service's tables, the queue's Redis.
func (s *service) kept() map[string]string {
	s.t.Helper()
	places := map[string]string{}
	for i, p := range s.ran {
		places[fmt.Sprintf("log of program %d", i)] = p.log.String()
	}
	db := s.Admin(s.t)
	rows, err := db.Query(s.t.Context(), `select table_name from information_schema.tables where table_schema = 'bulkexport' and table_type = 'BASE TABLE'`)
	if err != nil {
		s.t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 8 {
		s.t.Fatalf("%v %v", tables, err)
	}
	for _, table := range tables {
		var text string
		err := db.QueryRow(s.t.Context(), `select coalesce(string_agg(t::text, E'\n'), '') from bulkexport.`+pgx.Identifier{table}.Sanitize()+` t`).Scan(&text)
		if err != nil {
			s.t.Fatal(err)
		}
		places["table "+table] = text
	}
	places["the queue's Redis"] = s.redisText()
	return places
}

// redisText is every key and value of the queue's Redis.
func (s *service) redisText() string {
	s.t.Helper()
	rdb, ctx := s.QueueRedis(s.t), s.t.Context()
	keys, err := rdb.Keys(ctx, "*").Result()
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for _, key := range keys {
		var value any
		switch kind, _ := rdb.Type(ctx, key).Result(); kind {
		case "string":
			value, err = rdb.Get(ctx, key).Result()
		case "hash":
			value, err = rdb.HGetAll(ctx, key).Result()
		case "list":
			value, err = rdb.LRange(ctx, key, 0, -1).Result()
		case "set":
			value, err = rdb.SMembers(ctx, key).Result()
		case "zset":
			value, err = rdb.ZRange(ctx, key, 0, -1).Result()
		case "none": // it is over by now
		default:
			s.t.Fatalf("%s is a %s", key, kind)
		}
		if err != nil {
			s.t.Logf("%s: %v", key, err) // it is over by now
		}
		fmt.Fprintln(&b, key, value)
	}
	return b.String()
}

// nowhere fails the test if one of the secrets is in one of the places.
func (s *service) nowhere(places map[string]string, secrets map[string]string) {
	s.t.Helper()
	for name, secret := range secrets {
		if len(secret) < 8 {
			s.t.Fatalf("%s is too short to be looked for", name)
		}
		for place, text := range places {
			if strings.Contains(text, secret) || strings.Contains(text, hex.EncodeToString([]byte(secret))) ||
				strings.Contains(text, url.QueryEscape(secret)) {
				s.t.Errorf("%s is in %s", name, place)
			}
		}
	}
}

// mailed are the mails of this service, as they came and as they are read, once
// all that are not for another day have gone out.
func (s *service) mailed() string {
	s.t.Helper()
	db := s.Admin(s.t)
	s.eventually("mails are sent", func() bool {
		var due int
		err := db.QueryRow(s.t.Context(), `select count(*) from bulkexport.outbox where state = 'due' and due_at < now() + interval '3 hours'`).Scan(&due)
		return err == nil && due == 0
	})
	var b strings.Builder
	mails := testenv.Inbox(s.t, s.url+"/exports/")
	for _, m := range mails {
		decoded, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(m.Raw)))
		if err != nil {
			s.t.Fatal(err)
		}
		b.WriteString(m.Raw + string(decoded) + m.Text)
	}
	if len(mails) == 0 || strings.Contains(b.String(), "X-Amz-") {
		s.t.Errorf("%d mails, or one with a link that opens the data", len(mails))
	}
	return b.String()
}

// canaries are three projects whose names nobody should take for each other.
var canaries = []string{"Canary", "canary", "canary "}

func canary(project, kind string) string {
	return fmt.Sprintf("kanarienvogel-%x-%s", project, kind)
}

// fillCanaries gives each a few rows with its canary. One has JSON of the kind
// that breaks parsers.
func fillCanaries(t *testing.T, w *testenv.World) {
	t.Helper()
	db, hostile := w.Admin(t), strings.Repeat(`[`, 1000)+strings.Repeat(`]`, 1000)
	for i, project := range canaries {
		extra := `null`
		if i == 1 {
			extra = "{\"a\":\"\\u0000\\ud800\",\n\"a\":1e999,\"deep\":" + hostile + "}"
		}
		for range 50 {
			convo := fmt.Sprintf(`{"messages":[{"role":"user","content":%q}],"extra":%s}`, canary(project, "conversations"), extra)
			if _, err := db.Exec(t.Context(), `insert into "llm-convo-monitor" (convo_id, course_name, convo) values (gen_random_uuid(), $1, $2)`, project, convo); err != nil {
				t.Fatal(err)
			}
			contexts := fmt.Sprintf(`[{"text":%q,"embedding":[0.5]}]`, canary(project, "documents"))
			if _, err := db.Exec(t.Context(), `insert into documents (course_name, contexts, created_at) values ($1, $2, now())`, project, contexts); err != nil {
				t.Fatal(err)
			}
		}
		course := fmt.Sprintf(`{"course_owner":"owner-%d@example.edu","course_admins":[]}`, i)
		if err := w.Roles(t).HSet(t.Context(), "course_metadatas", project, course).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// canaryRun is what became of all exports of all canaries: the files by
// project and kind.
func (s *service) canaryRun(tokens []string, atOnce bool) map[string][]byte {
	s.t.Helper()
	ids := map[string]string{}
	files := map[string][]byte{}
	get := func(project int, name string) {
		s.eventually("the export ends", func() bool {
			a := s.call(http.MethodGet, "/v1/exports/"+ids[name], tokens[project], "")
			return s.decode(a).State == "succeeded"
		})
		a := s.call(http.MethodGet, "/v1/exports/"+ids[name]+"/download", tokens[project], "", "Accept", "application/json")
		files[name] = fetch(s.t, a.json(s.t)["url"].(string))
	}
	for i, project := range canaries {
		for _, kind := range []string{"conversations", "documents"} {
			name := project + "/" + kind
			a := s.call(http.MethodPost, exportsOf(project), tokens[i], `{"fresh":true,"kind":"`+kind+`"}`)
			if a.status != http.StatusAccepted {
				s.t.Fatalf("%d %s", a.status, a.body)
			}
			ids[name] = s.decode(a).ID
			if !atOnce {
				get(i, name)
			}
		}
	}
	for i, project := range canaries {
		for _, kind := range []string{"conversations", "documents"} {
			if atOnce {
				get(i, project+"/"+kind)
			}
		}
	}
	return files
}

func fetch(t *testing.T, link string) []byte {
	t.Helper()
	res, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d %v", res.StatusCode, err)
	}
	return b
}

func unzip(t *testing.T, file []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// No artefact, object, log line or answer holds another project's rows: not with
// names that differ by case or a space, not side by side in one worker, not
// after a project whose JSON breaks parsers.
func TestCanaries(t *testing.T) {
	t.Parallel()
	w, issuer := testenv.New(t), testenv.NewIssuer(t)
	fillCanaries(t, w)
	s := start(t, w, 1, "OIDC_ISSUER="+issuer.URL(), "OIDC_CLIENT_ID="+testenv.IssuerClientID, "OIDC_CLIENT_SECRET="+testenv.IssuerClientSecret,
		"WORKER_CONCURRENCY=3", "PROJECT_SLOTS=2", "SMTP_URL="+testenv.Var(t, "SMTP_URL"), "MAIL_FROM=exports@example.edu")
	var tokens []string
	for i := range canaries {
		tokens = append(tokens, issuer.Sign(issuer.AccessToken(fmt.Sprintf("owner-%d@example.edu", i))))
	}
	files := s.canaryRun(tokens, true)
	for name, again := range s.canaryRun(tokens, false) {
		if !bytes.Equal(files[name], again) {
			t.Errorf("%q: another file when it is alone", name)
		}
	}
	s.worker()
	s.ran[1].kill()
	for name, again := range s.canaryRun(tokens, true) {
		if !bytes.Equal(files[name], again) {
			t.Errorf("%q: another file from a fresh worker", name)
		}
	}
	for _, project := range canaries {
		for _, kind := range []string{"conversations", "documents"} {
			text := unzip(t, files[project+"/"+kind])
			for _, other := range canaries {
				for _, otherKind := range []string{"conversations", "documents"} {
					want := 0
					if other == project && otherKind == kind {
						want = 50
					}
					if n := strings.Count(text, canary(other, otherKind)); n != want {
						t.Errorf("%q, %s: %d canaries of %q, %s, want %d", project, kind, n, other, otherKind, want)
					}
				}
			}
		}
	}
	s.canaryObjects()
	places, secrets := s.kept(), map[string]string{}
	places["mails"] = s.mailed()
	for i, project := range canaries {
		for _, path := range []string{exportsOf(project), "/v1/projects/" + url.PathEscape(project) + "/audit"} {
			places[path] = string(s.call(http.MethodGet, path, tokens[i], "").body)
		}
		secrets["a row of "+project] = canary(project, "")
	}
	s.nowhere(places, secrets)
}

// canaryObjects looks into every object: it holds rows of one project at most,
// and its key and metadata none.
func (s *service) canaryObjects() {
	s.t.Helper()
	ctx := s.t.Context()
	n := 0
	for o := range s.S3.ListObjectsIter(ctx, s.Bucket, minio.ListObjectsOptions{Recursive: true, WithMetadata: true}) {
		body, err := s.S3.GetObject(ctx, s.Bucket, o.Key, minio.GetObjectOptions{})
		if err != nil {
			s.t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		if err != nil {
			s.t.Fatal(err)
		}
		text := string(b)
		if strings.HasSuffix(o.Key, ".gz") {
			text = unzip(s.t, b)
			n++
		} else if strings.Contains(text, "kanarienvogel") {
			s.t.Errorf("%s holds rows", o.Key)
		}
		held := slices.DeleteFunc(slices.Clone(canaries), func(p string) bool { return !strings.Contains(text, canary(p, "")) })
		if len(held) > 1 || strings.Contains(fmt.Sprint(o.Key, o.UserMetadata), "anary") {
			s.t.Errorf("%s %v holds rows of %q", o.Key, o.UserMetadata, held)
		}
	}
	if n != 18 {
		s.t.Errorf("%d files were looked into, want 18", n)
	}
}

// Keys, tokens and links are written nowhere, whatever is done with them; nor do
// metrics and traces name people or projects.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	r, worker := newReceiver(t), freeAddr(t)
	m := newMatrix(t, "SMTP_URL="+testenv.Var(t, "SMTP_URL"), "MAIL_FROM=exports@example.edu", "OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL, "OTEL_BSP_SCHEDULE_DELAY=200")
	m.run("worker", "METRICS_ADDR="+worker)
	owner := m.allowed["owner's token"]
	secrets := map[string]string{"the store's secret": testenv.Var(t, "S3_SECRET_ACCESS_KEY")}
	for who, c := range m.refused {
		m.call(http.MethodGet, exportsOf(demodata.DemoProject), c.token, "")
		if c.token != "" {
			secrets["the credential of "+who] = c.token
		}
	}
	for who, token := range m.allowed {
		secrets[who] = token
	}
	for name, r := range routes {
		method, _, _ := strings.Cut(name, " ")
		if r.operators {
			continue
		}
		for _, accept := range []string{"*/*", "application/json"} {
			a := m.call(method, m.at(r, m.fresh(r), demodata.DemoProject), owner, r.body, "Accept", accept)
			link := a.header.Get("Location")
			if link == "" && r.want == http.StatusSeeOther {
				link = a.json(t)["url"].(string)
			}
			if u, err := url.Parse(link); err == nil && u.Query().Get("X-Amz-Signature") != "" {
				secrets["a link of "+name+" for "+accept] = u.Query().Get("X-Amz-Signature")
			}
		}
	}
	if len(secrets) < 20 {
		t.Errorf("only %d secrets were at hand", len(secrets))
	}
	m.succeed(m.create(demodata.DemoProject, conversations).ID)
	streaming := m.run("api", "METRICS_ADDR="+freeAddr(t), "HTTP_ADDR="+freeAddr(t), "DOWNLOADS=stream")
	m.eventually("the other API listens", func() bool { return strings.Contains(streaming.log.String(), "listening") })
	places := m.kept()
	places["mails"] = m.mailed()
	for _, path := range []string{"/readyz", "/healthz", "/openapi.json"} {
		places[path] = string(m.call(http.MethodGet, path, "", "").body)
	}
	m.eventually("an export's spans came", func() bool { return strings.Contains(r.text(), "streaming") })
	observed := map[string]string{
		"traces": r.text(), "the API's metrics": string(fetch(t, "http://"+m.metrics+"/metrics")), "the worker's metrics": string(fetch(t, "http://"+worker+"/metrics")),
	}
	maps.Copy(places, observed)
	m.nowhere(places, secrets)
	m.nowhere(observed, map[string]string{"the owner": demodata.OwnerEmail, "an admin": demodata.AdminEmail, "the project": demodata.DemoProject})
}
