package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func TestAccess(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 1)
	demo := exportsOf(demodata.DemoProject)
	j := s.succeed(s.create(demodata.DemoProject, conversations).ID)
	one := "/v1/exports/" + j.ID

	for name, c := range map[string]struct {
		method, path, key, body string
		want                    int
	}{
		"create without a key":           {"POST", demo, "", conversations, 401},
		"create with a wrong key":        {"POST", demo, "uc_ffffffffffffffffffffffffffffffff", conversations, 401},
		"create with an inactive key":    {"POST", demo, demodata.InactiveKey, conversations, 401},
		"create without a role":          {"POST", demo, demodata.OtherKey, conversations, 404},
		"create in no project":           {"POST", exportsOf("no such project"), demodata.OwnerKey, conversations, 404},
		"create in another case":         {"POST", exportsOf(strings.ToUpper(demodata.DemoProject)), demodata.OwnerKey, conversations, 404},
		"create as an admin":             {"POST", demo, demodata.AdminKey, conversations, 202},
		"list without a key":             {"GET", demo, "", "", 401},
		"list without a role":            {"GET", demo, demodata.OtherKey, "", 404},
		"list":                           {"GET", demo, demodata.AdminKey, "", 200},
		"get without a key":              {"GET", one, "", "", 401},
		"get without a role":             {"GET", one, demodata.OtherKey, "", 404},
		"get no job":                     {"GET", "/v1/exports/00000000-0000-7000-8000-000000000000", demodata.OwnerKey, "", 404},
		"get no id":                      {"GET", "/v1/exports/x'--", demodata.OwnerKey, "", 404},
		"get":                            {"GET", one, demodata.AdminKey, "", 200},
		"download without a key":         {"GET", one + "/download", "", "", 401},
		"download without a role":        {"GET", one + "/download", demodata.OtherKey, "", 404},
		"download":                       {"GET", one + "/download", demodata.AdminKey, "", 303},
		"manifest without a key":         {"GET", one + "/manifest", "", "", 401},
		"manifest without a role":        {"GET", one + "/manifest", demodata.OtherKey, "", 404},
		"checksums without a role":       {"GET", one + "/checksums", demodata.OtherKey, "", 404},
		"checksums":                      {"GET", one + "/checksums", demodata.OwnerKey, "", 303},
		"cancel without a key":           {"POST", one + "/cancel", "", "", 401},
		"cancel without a role":          {"POST", one + "/cancel", demodata.OtherKey, "", 404},
		"cancel what is over":            {"POST", one + "/cancel", demodata.OwnerKey, "", 409},
		"no such address":                {"GET", "/v1/nothing", demodata.OwnerKey, "", 404},
		"no such method":                 {"PUT", demo, demodata.OwnerKey, "", 405},
		"a cursor of one's own making":   {"GET", demo + "?cursor=abc", demodata.OwnerKey, "", 400},
		"a limit out of range":           {"GET", demo + "?limit=0", demodata.OwnerKey, "", 400},
		"a state that is none":           {"GET", demo + "?state=done", demodata.OwnerKey, "", 400},
		"a scheme that is not supported": {"GET", demo, "", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call(c.method, c.path, c.key, c.body)
			if a.status != c.want {
				t.Fatalf("%s %s: %d %s, want %d", c.method, c.path, a.status, a.body, c.want)
			}
			if a.status >= 400 {
				s.problem(t, a)
			}
		})
	}
	// Without a role a project that exists looks like one that does not.
	there := s.call("POST", demo, demodata.OtherKey, conversations)
	nowhere := s.call("POST", exportsOf("nowhere"), demodata.OtherKey, conversations)
	if got, want := strings.ReplaceAll(string(there.body), url.PathEscape(demodata.DemoProject), "nowhere"), string(nowhere.body); got != want {
		t.Errorf("can be told apart:\n%s\n%s", got, want)
	}
}

// problem checks that an error is a problem document.
func (s *service) problem(t *testing.T, a answer) map[string]any {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("content type %q", got)
	}
	p := a.json(t)
	for _, field := range []string{"type", "title", "status", "detail", "instance", "retryable"} {
		if p[field] == nil {
			t.Errorf("a problem without %s: %s", field, a.body)
		}
	}
	return p
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 0)
	for name, c := range map[string]struct{ body, field string }{
		"no JSON":             {`{"kind":`, "body"},
		"no kind":             {`{}`, "kind"},
		"unknown kind":        {`{"kind":"secret-value"}`, "kind"},
		"kind of wrong type":  {`{"kind":7}`, "kind"},
		"unknown field":       {`{"kind":"conversations","secret-value":1}`, "secret-value"},
		"bad date":            {`{"kind":"conversations","from":"secret-value"}`, "from"},
		"impossible date":     {`{"kind":"conversations","to":"2024-02-30"}`, "to"},
		"no offset":           {`{"kind":"conversations","to":"2024-02-20T10:00:00"}`, "to"},
		"empty range":         {`{"kind":"conversations","from":"2024-02-20","to":"2024-02-19"}`, "to"},
		"a stranger to tell":  {`{"kind":"conversations","notify":["stranger@example.org"]}`, "notify[0]"},
		"too many to tell":    {`{"kind":"conversations","notify":[` + strings.Repeat(`"a",`, 20) + `"a"]}`, "notify"},
		"fresh of wrong type": {`{"kind":"conversations","fresh":"yes"}`, "fresh"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.call("POST", exportsOf(demodata.DemoProject), demodata.OwnerKey, c.body)
			if a.status != 400 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			p := s.problem(t, a)
			errs, _ := p["errors"].([]any)
			if len(errs) == 0 || errs[0].(map[string]any)["field"] != c.field {
				t.Errorf("does not name %q: %s", c.field, a.body)
			}
			if c.field != "secret-value" && strings.Contains(string(a.body), "secret-value") {
				t.Errorf("echoes what was sent: %s", a.body)
			}
		})
	}
	if a := s.call("POST", exportsOf(demodata.DemoProject), demodata.OwnerKey, strings.Repeat(" ", 70<<10)+conversations); a.status != 413 {
		t.Errorf("a body of 70 KiB: %d %s", a.status, a.body)
	}
	if a := s.call("GET", exportsOf(demodata.DemoProject), demodata.OwnerKey, ""); len(a.json(t)["exports"].([]any)) != 0 {
		t.Errorf("a refused request left a job behind: %s", a.body)
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 0)
	var ids []string
	for range 5 {
		ids = append(ids, s.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID)
	}
	var got []string
	for path := exportsOf(demodata.DemoProject) + "?limit=2"; path != ""; {
		a := s.call(http.MethodGet, path, demodata.AdminKey, "")
		for _, e := range a.json(t)["exports"].([]any) {
			got = append([]string{e.(map[string]any)["id"].(string)}, got...)
		}
		next, _, more := strings.Cut(strings.TrimPrefix(a.header.Get("Link"), "<"+s.url), ">")
		if path = ""; more {
			path = next
		}
	}
	if strings.Join(got, " ") != strings.Join(ids, " ") {
		t.Errorf("pages hold %v, want %v", got, ids)
	}
}

// A name in another script, with a space and a slash, travels through paths,
// keys, headers and SQL.
func TestOddProjectName(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	if err := w.Roles(t).HSet(t.Context(), "course_metadatas", demodata.OddProject, `{"course_owner":"`+demodata.OwnerEmail+`"}`).Err(); err != nil {
		t.Fatal(err)
	}
	fill(t, w, demodata.Options{Seed: 7, Conversations: demodata.Volume{Rows: 100}})
	s := start(t, w, 1)
	j := s.succeed(s.create(demodata.OddProject, conversations).ID)
	s.check(j, s.table(demodata.OddProject))
}
