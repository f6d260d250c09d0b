package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// route is how the matrix calls one address, and what those get who may.
type route struct {
	// on is the job it is called on: ready, queued, or "" for a project's route.
	on     string
	path   string // below the job or the project
	body   string
	header []string
	want   int
	// operators alone may.
	operators bool
	// page: it is one for people, and no operation of the API.
	page bool
}

// form is what browsers send.
var form = []string{"Content-Type", "application/x-www-form-urlencoded"}

// pageRoutes are the pages and what their forms do.
var pageRoutes = map[string]route{
	"GET /p/{project}":                  {page: true, want: 200},
	"POST /p/{project}":                 {page: true, body: "kind=documents&fresh=1", header: form, want: 303},
	"GET /p/{project}/preview":          {page: true, path: "/preview?kind=conversations", want: 200},
	"GET /p/{project}/audit":            {page: true, path: "/audit", want: 200},
	"GET /exports/{id}":                 {page: true, on: "ready", want: 200},
	"GET /exports/{id}/fetch/download":  {page: true, on: "ready", path: "/fetch/download", want: 303},
	"GET /exports/{id}/fetch/manifest":  {page: true, on: "ready", path: "/fetch/manifest", want: 303},
	"GET /exports/{id}/delete":          {page: true, on: "ready", path: "/delete", want: 200},
	"POST /exports/{id}/delete":         {page: true, on: "ready", path: "/delete", header: form, want: 303},
	"POST /exports/{id}/extend":         {page: true, on: "ready", path: "/extend", header: form, want: 303},
	"POST /exports/{id}/again":          {page: true, on: "ready", path: "/again", header: form, want: 303},
	"GET /exports/{id}/cancel":          {page: true, on: "queued", path: "/cancel", want: 200},
	"POST /exports/{id}/cancel":         {page: true, on: "queued", path: "/cancel", header: form, want: 303},
	"GET /ops/":                         {page: true, operators: true, path: "/ops/", want: 200},
	"GET /ops/jobs":                     {page: true, operators: true, path: "/ops/jobs?q=a", want: 200},
	"GET /ops/jobs/{id}":                {page: true, operators: true, on: "ready", path: "/ops/jobs/{id}", want: 200},
	"GET /ops/jobs/{id}/cancel":         {page: true, operators: true, on: "queued", path: "/ops/jobs/{id}/cancel", want: 200},
	"GET /ops/jobs/{id}/retry":          {page: true, operators: true, on: "ready", path: "/ops/jobs/{id}/retry", want: 200},
	"POST /ops/jobs/{id}/cancel":        {page: true, operators: true, on: "queued", path: "/ops/jobs/{id}/cancel", header: form, want: 303},
	"POST /ops/jobs/{id}/retry":         {page: true, operators: true, on: "ready", path: "/ops/jobs/{id}/retry", header: form, want: 303},
	"POST /ops/jobs/{id}/ahead":         {page: true, operators: true, on: "queued", path: "/ops/jobs/{id}/ahead", header: form, want: 303},
	"GET /ops/pauses/pause":             {page: true, operators: true, path: "/ops/pauses/pause", want: 200},
	"POST /ops/pauses/pause":            {page: true, operators: true, path: "/ops/pauses/pause", body: "project=x", header: form, want: 303},
	"POST /ops/pauses/resume":           {page: true, operators: true, path: "/ops/pauses/resume", body: "project=x", header: form, want: 303},
	"GET /ops/queue/":                   {page: true, operators: true, path: "/ops/queue/", want: 200},
	"GET /ops/queue/{queue}":            {page: true, operators: true, path: "/ops/queue/exports-small", want: 200},
	"GET /ops/queue/{queue}/delete":     {page: true, operators: true, path: "/ops/queue/exports-small/delete?state=archived", want: 200},
	"POST /ops/queue/{queue}/delete":    {page: true, operators: true, path: "/ops/queue/exports-small/delete", body: "state=archived", header: form, want: 303},
	"POST /ops/queue/{queue}/pause":     {page: true, operators: true, path: "/ops/queue/exports-small/pause", header: form, want: 303},
	"POST /exports/{id}/mails/{letter}": {page: true, on: "ready", path: "/mails/{letter}", header: form, want: 303},
}

// routes must name every operation of the API: a new one without a row fails.
var routes = map[string]route{
	"POST /v1/projects/{project}/exports":                      {path: "/exports", body: `{"kind":"documents","fresh":true}`, want: 202},
	"GET /v1/projects/{project}/exports":                       {path: "/exports", want: 200},
	"GET /v1/projects/{project}/exports/preview":               {path: "/exports/preview?kind=conversations", want: 200},
	"DELETE /v1/projects/{project}/exports":                    {path: "/exports", want: 200, operators: true},
	"GET /v1/projects/{project}/audit":                         {path: "/audit", want: 200},
	"GET /v1/projects/{project}/documents/{document}/original": {path: "/documents/{document}/original", want: 303},
	"GET /v1/exports/{id}":                                     {on: "ready", want: 200},
	"GET /v1/exports/{id}/events":                              {on: "ready", path: "/events", want: 200},
	"GET /v1/exports/{id}/download":                            {on: "ready", path: "/download", want: 303},
	"GET /v1/exports/{id}/manifest":                            {on: "ready", path: "/manifest", want: 303},
	"GET /v1/exports/{id}/checksums":                           {on: "ready", path: "/checksums", header: []string{"Accept", "application/json"}, want: 200},
	"POST /v1/exports/{id}/extend":                             {on: "ready", path: "/extend", want: 200},
	"DELETE /v1/exports/{id}":                                  {on: "ready", want: 204},
	"POST /v1/exports/{id}/cancel":                             {on: "queued", path: "/cancel", want: 202},
}

// matrix is a world with a job that is over, a document with a file, people
// with tokens of every kind, and no worker that would change anything.
type matrix struct {
	*service
	db       *pgx.Conn
	queue    redis.UniversalClient
	ready    string
	document int64
	letter   int64 // about ready
	// refused are credentials by what is wrong with them, and what that gives.
	refused map[string]credential
	allowed map[string]string
	oper    string
}

type credential struct {
	token string
	want  int
}

func newMatrix(t *testing.T, extra ...string) *matrix {
	w := testenv.New(t)
	issuer := testenv.NewIssuer(t)
	fill(t, w, demodata.Options{Seed: 3, Conversations: demodata.Volume{Rows: 60}, Documents: demodata.Volume{Rows: 60}})
	if err := demodata.FillOriginals(t.Context(), w.S3, w.Bucket); err != nil {
		t.Fatal(err)
	}
	m := &matrix{service: start(t, w, 0, append(extra, "OIDC_ISSUER="+issuer.URL(), "OIDC_CLIENT_ID="+testenv.IssuerClientID,
		"OIDC_CLIENT_SECRET="+testenv.IssuerClientSecret, "OPERATOR_EMAILS="+demodata.OperatorEmail, "S3_SOURCE_BUCKET="+w.Bucket)...)}
	m.db, m.queue = w.Admin(t), w.QueueRedis(t)
	worker := m.worker()
	m.ready = m.succeed(m.create(demodata.DemoProject, conversations).ID).ID
	worker.signal(syscall.SIGTERM)
	<-worker.exited
	err := m.db.QueryRow(t.Context(), `select id from documents where course_name = $1 and s3_path like 'courses/%' order by id limit 1`,
		demodata.DemoProject).Scan(&m.document)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.db.QueryRow(t.Context(), `update bulkexport.outbox set state = 'refused' where job_id = $1 and recipient <> '' returning id`, m.ready).Scan(&m.letter); err != nil {
		t.Fatal(err)
	}
	m.people(issuer)
	return m
}

func (m *matrix) people(i *testenv.Issuer) {
	owner := func(change func(*testenv.Token)) string {
		token := i.AccessToken(demodata.OwnerEmail)
		change(&token)
		return i.Sign(token)
	}
	rotated := owner(func(*testenv.Token) {})
	i.Rotate()
	m.refused = map[string]credential{
		"no key":                {"", 401},
		"wrong key":             {"uc_ffffffffffffffffffffffffffffffff", 401},
		"inactive key":          {demodata.InactiveKey, 401},
		"expired token":         {owner(func(t *testenv.Token) { t.Claims["exp"] = 1700000000 }), 401},
		"wrong audience":        {owner(func(t *testenv.Token) { t.Claims["aud"], t.Claims["azp"] = "another", "another" }), 401},
		"wrong issuer":          {owner(func(t *testenv.Token) { t.Claims["iss"] = "https://evil.example.org/" }), 401},
		"unsigned token":        {owner(func(t *testenv.Token) { t.Alg = "none" }), 401},
		"signed by public key":  {owner(func(t *testenv.Token) { t.Alg = "HS256" }), 401},
		"forged token":          {owner(func(t *testenv.Token) { t.Forged = true }), 401},
		"unverified e-mail":     {owner(func(t *testenv.Token) { t.Claims["email_verified"] = false }), 401},
		"rotated key":           {rotated, 401},
		"no role":               {demodata.OtherKey, 404},
		"other project's admin": {i.Sign(i.AccessToken("lab.assistant@example.org")), 404},
		"approved student":      {i.Sign(i.AccessToken("student-0001@example.edu")), 404},
		"operator":              {i.Sign(i.AccessToken(demodata.OperatorEmail)), 404},
	}
	m.allowed = map[string]string{
		"owner's key":   demodata.OwnerKey,
		"admin's key":   demodata.AdminKey,
		"owner's token": owner(func(*testenv.Token) {}),
		"admin's token": i.Sign(i.AccessToken("ADMIN@example.EDU")),
	}
	m.oper = m.refused["operator"].token
}

// at is a route's address on a job, or in a project.
func (m *matrix) at(r route, job, project string) string {
	if strings.HasPrefix(r.path, "/ops/") {
		return strings.ReplaceAll(r.path, "{id}", job)
	}
	api, projects := "/v1", "/projects/"
	if r.page {
		api, projects = "", "/p/"
	}
	if r.on != "" {
		return api + "/exports/" + job + strings.ReplaceAll(r.path, "{letter}", fmt.Sprint(m.letter))
	}
	return api + projects + url.PathEscape(project) + strings.ReplaceAll(r.path, "{document}", fmt.Sprint(m.document))
}

// fresh is a job of its own for a call that may change it.
func (m *matrix) fresh(r route) string {
	m.t.Helper()
	id := uuid.NewString()
	state := map[string]string{"queued": `, "state": "queued", "sha256": null`}[r.on]
	_, err := m.db.Exec(m.t.Context(), `insert into bulkexport.jobs
		select (jsonb_populate_record(j, $2::jsonb)).* from bulkexport.jobs j where id = $1`, m.ready, `{"id": "`+id+`"`+state+`}`)
	if err != nil {
		m.t.Fatal(err)
	}
	return id
}

// operations are all that the router has, by its own document.
func (m *matrix) operations() (all []string) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(m.call("GET", "/openapi.json", "", "").body, &doc); err != nil {
		m.t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			all = append(all, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// Every route × everybody: who may not changes nothing, and stands in the audit
// if it is known who it was.
func TestWhoMay(t *testing.T) {
	t.Parallel()
	m := newMatrix(t)
	if got, want := m.operations(), slices.Sorted(maps.Keys(routes)); !slices.Equal(got, want) {
		t.Fatalf("the router has\n%s\nbut the matrix\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	queued := m.fresh(route{on: "queued"})
	jobs := map[string]string{"ready": m.ready, "queued": queued}
	all := maps.Clone(routes)
	maps.Copy(all, pageRoutes)
	for name, r := range all {
		method, _, _ := strings.Cut(name, " ")
		for who, c := range m.refused {
			if r.operators && who == "operator" {
				continue
			}
			before, lines := m.everything(), m.lines()
			var a answer
			// Tokens that name unknown keys are asked about once a second, by all.
			m.eventually("the provider's keys are looked at", func() bool {
				a = m.call(method, m.at(r, jobs[r.on], demodata.DemoProject), c.token, r.body, r.header...)
				return a.status != http.StatusServiceUnavailable || who != "rotated key"
			})
			if a.status != c.want {
				t.Errorf("%s, %s: %d %s, want %d", name, who, a.status, a.body, c.want)
				continue
			}
			if r.page {
				m.page(t, a)
			} else {
				m.problem(t, a)
			}
			if after := m.everything(); after != before {
				t.Errorf("%s, %s: a refused call left something behind:\n%s\n%s", name, who, before, after)
			}
			want := 0
			if c.want == http.StatusNotFound {
				want = 1
				m.sameAsNone(name, r, method, jobs[r.on], c.token, a)
				lines += m.sameLines(r)
			}
			if got := m.lines() - lines; got != want {
				t.Errorf("%s, %s: %d lines in the audit, want %d", name, who, got, want)
			}
		}
		m.allow(name, method, r)
	}
}

// allow calls a route as everybody who may.
func (m *matrix) allow(name, method string, r route) {
	if r.operators {
		for who, token := range m.allowed {
			if a := m.call(method, m.at(r, m.fresh(r), demodata.DemoProject), token, r.body, r.header...); a.status != 404 {
				m.t.Errorf("%s, %s: %d, though only operators may", name, who, a.status)
			}
		}
		job := m.fresh(r)
		// On a project of its own: the others' calls need what is in this one.
		if a := m.call(method, m.at(r, job, demodata.EmptyProject), m.oper, r.body, r.header...); a.status != r.want {
			m.t.Errorf("%s, operator: %d %s", name, a.status, a.body)
		}
		return
	}
	for who, token := range m.allowed {
		job := m.fresh(r)
		if strings.Contains(r.path, "{letter}") {
			job = m.ready
		}
		a := m.call(method, m.at(r, job, demodata.DemoProject), token, r.body, r.header...)
		if a.status != r.want {
			m.t.Errorf("%s, %s: %d %s, want %d", name, who, a.status, a.body, r.want)
		}
	}
}

// page holds a refused page to say nothing about what there is.
func (m *matrix) page(t *testing.T, a answer) {
	t.Helper()
	body := string(a.body)
	if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || strings.Contains(body, demodata.OwnerEmail) || strings.Contains(body, "Download") {
		t.Errorf("a refused page: %v\n%s", a.header, body)
	}
}

// sameAsNone holds a refusal against the answer for what does not exist: nobody
// may learn from the difference that it does.
func (m *matrix) sameAsNone(name string, r route, method, job, token string, a answer) {
	none := uuid.NewString()
	b := m.call(method, m.at(r, none, "nowhere"), token, r.body, r.header...)
	got := strings.NewReplacer(job, none, url.PathEscape(demodata.DemoProject), "nowhere").Replace(string(a.body))
	if job == "" {
		got = strings.ReplaceAll(string(a.body), url.PathEscape(demodata.DemoProject), "nowhere")
	}
	if b.status != a.status || got != string(b.body) {
		m.t.Errorf("%s: can be told apart:\n%s\n%s", name, got, b.body)
	}
	for _, h := range []map[string][]string{a.header, b.header} {
		delete(h, "Date")
		delete(h, "Content-Length")
	}
	if fmt.Sprint(a.header) != fmt.Sprint(b.header) {
		m.t.Errorf("%s: headers can be told apart:\n%v\n%v", name, a.header, b.header)
	}
}

// sameLines is what sameAsNone leaves in the audit: a line in a project that
// may not exist, none about a job that does not, unless nobody looked for it.
func (m *matrix) sameLines(r route) int {
	if r.on == "" || r.operators {
		return 1
	}
	return 0
}

func (m *matrix) lines() (n int) {
	m.t.Helper()
	if err := m.db.QueryRow(m.t.Context(), `select count(*) from bulkexport.audit`).Scan(&n); err != nil {
		m.t.Fatal(err)
	}
	return n
}

// everything is all that a call could change, but for the audit: rows, queue
// and bucket.
func (m *matrix) everything() string {
	m.t.Helper()
	var rows string
	err := m.db.QueryRow(m.t.Context(), `select concat_ws(' ',
		(select md5(coalesce(string_agg(j::text, '' order by id), '')) from bulkexport.jobs j), (select count(*) from bulkexport.jobs),
		(select count(*) from bulkexport.outbox), (select count(*) from bulkexport.idempotency_keys),
		(select count(*) from bulkexport.attempts), (select count(*) from bulkexport.pauses), (select count(*) from bulkexport.checkpoints))`).Scan(&rows)
	if err != nil {
		m.t.Fatal(err)
	}
	keys, err := m.queue.Keys(m.t.Context(), "asynq:*").Result()
	if err != nil {
		m.t.Fatal(err)
	}
	slices.Sort(keys)
	var objects []string
	for o := range m.S3.ListObjectsIter(m.t.Context(), m.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		objects = append(objects, o.Key+" "+o.ETag)
	}
	return fmt.Sprint(rows, keys, objects)
}
