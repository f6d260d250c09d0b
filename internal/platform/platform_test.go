package platform_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

func openSource(t *testing.T) (*platform.Source, *testenv.World) {
	t.Helper()
	w := testenv.New(t)
	s, err := platform.OpenSource(t.Context(), w.SourceURL, "test", 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, w
}

// each takes rows by a function, large or not.
type each func(jobs.Row) error

func (each) Skip(context.Context, jobs.Skipped) error { return nil }

func (f each) Row(_ context.Context, r jobs.Row) error { return f(r) }
func (each) Begin()                                    {}
func (each) Large(context.Context) error               { return nil }

func exec(t *testing.T, w *testenv.World, sql string, args ...any) {
	t.Helper()
	if _, err := w.Admin(t).Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// ids reads all windows of a plan.
func ids(t *testing.T, s *platform.Source, spec jobs.Spec, p jobs.Plan) (list []int64) {
	t.Helper()
	for _, w := range p.Windows {
		n := 0
		got, err := s.Read(t.Context(), spec, w, each(func(r jobs.Row) error {
			if len(r) != len(spec.Kind.Columns()) {
				return fmt.Errorf("%d columns", len(r))
			}
			list = append(list, int64(binary.BigEndian.Uint64(r[0])))
			n++
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		if int64(n) != w.Rows || got.Counted != w.Rows {
			t.Errorf("window %+v has %d rows: %+v", w, n, got)
		}
	}
	return list
}

// Windows lie side by side and hold every row of the project, and no other's.
func TestPlanAndRead(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into "llm-convo-monitor" (id, course_name, convo, convo_id)
		select i, case when i % 3 = 0 then 'mine' else 'other' end, case when i % 5 > 0 then '{}'::json end, i::text
		from generate_series(7, 36000) i where i % 100 < 90`)
	spec := jobs.Spec{Project: "mine", Kind: jobs.Conversations}
	p, err := s.Plan(t.Context(), spec, jobs.All)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Windows) < 2 {
		t.Fatalf("%d windows show nothing", len(p.Windows))
	}
	for i, win := range p.Windows[1:] {
		if win.After != p.Windows[i].To {
			t.Errorf("a gap behind %+v", p.Windows[i])
		}
	}
	got := ids(t, s, spec, p)
	if int64(len(got)) != p.Rows {
		t.Errorf("%d rows read, %d planned", len(got), p.Rows)
	}
	next := 0
	for i := int64(7); i <= 36000; i++ {
		if i%3 == 0 && i%100 < 90 {
			if next >= len(got) || got[next] != i {
				t.Fatalf("row %d is missing or out of order", i)
			}
			next++
		}
	}
	if next != len(got) {
		t.Errorf("%d rows too many", len(got)-next)
	}
}

// Large values are counted as they are stored, and cut into windows by that.
func TestWindowsByStoredSize(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into documents (course_name, contexts)
		select 'mine', jsonb_build_array(string_agg(md5(random()::text), '')) from generate_series(1, 20) d, generate_series(1, 10000) group by d`)
	p, err := s.Plan(t.Context(), jobs.Spec{Project: "mine", Kind: jobs.Documents}, jobs.All)
	if err != nil {
		t.Fatal(err)
	}
	if p.Rows != 20 || len(p.Windows) < 3 || p.Stored < 3<<20 {
		t.Errorf("%d rows, %d windows, %d bytes", p.Rows, len(p.Windows), p.Stored)
	}
}

func TestDatesLeaveNullOut(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into "llm-convo-monitor" (id, course_name, created_at, convo)
		values (1, 'mine', null, '1'), (2, 'mine', '2024-01-01', '2'), (3, 'mine', '2024-01-02', '3')`)
	from, to := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2024, 1, 2, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		from, to *time.Time
		want     string
	}{{nil, nil, "[1 2 3]"}, {&from, nil, "[2 3]"}, {nil, &to, "[2]"}, {&from, &to, "[2]"}, {&to, nil, "[3]"}} {
		spec := jobs.Spec{Project: "mine", Kind: jobs.Conversations, From: c.from, To: c.to}
		p, err := s.Plan(t.Context(), spec, jobs.All)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(ids(t, s, spec, p)); got != c.want {
			t.Errorf("%v to %v: %s, want %s", c.from, c.to, got, c.want)
		}
	}
}

func TestNothingToRead(t *testing.T) {
	s, _ := openSource(t)
	p, err := s.Plan(t.Context(), jobs.Spec{Project: "nobody's", Kind: jobs.Documents}, jobs.All)
	if err != nil || len(p.Windows) != 0 || p.Rows != 0 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestEstimate(t *testing.T) {
	s, w := openSource(t)
	spec := jobs.Spec{Project: demodata.DemoProject, Kind: jobs.Conversations}
	if size, ok := s.Estimate(t.Context(), spec); ok {
		t.Errorf("an estimate of %+v without statistics", size)
	}
	if _, err := demodata.Fill(t.Context(), w.Admin(t), demodata.Options{Seed: 1, Conversations: demodata.Volume{Rows: 2000}}); err != nil {
		t.Fatal(err)
	}
	p, err := s.Plan(t.Context(), spec, jobs.All)
	if err != nil {
		t.Fatal(err)
	}
	size, ok := s.Estimate(t.Context(), spec)
	stored, rows := float64(size.Stored)/float64(p.Stored), float64(size.Rows)/float64(p.Rows)
	if !ok || stored < 0.5 || stored > 2 || rows < 0.8 || rows > 1.25 {
		t.Errorf("estimated %+v (%v); %d rows, %d bytes", size, ok, p.Rows, p.Stored)
	}
}

func TestErrorsAreClassified(t *testing.T) {
	s, w := openSource(t)
	spec := jobs.Spec{Project: "secret-name", Kind: jobs.Conversations}
	exec(t, w, `revoke select on "llm-convo-monitor" from bulkexport_source`)
	if _, err := s.Plan(t.Context(), spec, jobs.All); err == nil || errors.As(err, new(*jobs.Unavailable)) {
		t.Errorf("no right to read: %v", err)
	}
	down, err := platform.OpenSource(t.Context(), "postgres://u:secret-word@127.0.0.1:1/d", "test", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	if err := down.Ping(t.Context()); !errors.As(err, new(*jobs.Unavailable)) {
		t.Errorf("no server: %v", err)
	}
}

func TestKeyEmail(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into api_keys (user_id, key, is_active, email) values ('nomail', 'uc_nomail', true, null)`)
	for key, want := range map[string]string{
		demodata.OwnerKey: demodata.OwnerEmail, demodata.AdminKey: demodata.AdminEmail,
		demodata.InactiveKey: "", "uc_nomail": "", "uc_": "", "' or true --": "", "": "", "uc_\xff": "", "uc_\x00": "",
	} {
		got, err := s.KeyEmail(t.Context(), key)
		if got != want || (err == nil) != (want != "") || (err != nil && !errors.Is(err, jobs.ErrUnauthenticated)) {
			t.Errorf("%s: %q, %v; want %q", key, got, err, want)
		}
	}
}

func openRoles(t *testing.T, entries map[string]string) *platform.Roles {
	t.Helper()
	w := testenv.New(t)
	r, err := platform.OpenRoles(w.PlatformRedisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	for field, value := range entries {
		if err := w.Roles(t).HSet(t.Context(), "course_metadatas", field, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestRoles(t *testing.T) {
	r := openRoles(t, map[string]string{
		"mixed":    `{"course_owner":" Owner@Example.EDU ","course_admins":["A@b.c",""," second@B.c\t"]}`,
		"nobody":   `{"course_owner":"","course_admins":null}`,
		"null":     `{"course_owner":null,"course_admins":[null]}`,
		"alone":    `{"course_owner":"owner@example.edu"}`,
		"no owner": `{"course_admins":["owner@example.edu"]}`,
		"nothing":  `null`,
		"shouted":  `{"COURSE_OWNER":"owner@example.edu","Course_Admins":["a@b.c"]}`,
		"folded":   `{"course_owner":"o\u017fter@example.edu"}`, // a long s
	})
	for _, c := range []struct {
		project, email string
		want           jobs.Role
	}{
		{"mixed", "owner@example.edu", jobs.RoleOwner}, {"mixed", "a@B.C", jobs.RoleAdmin}, {"mixed", "x@b.c", jobs.RoleNone},
		{"mixed", "second@b.c", jobs.RoleAdmin}, {"mixed", "", jobs.RoleNone}, {"nobody", "", jobs.RoleNone}, {"null", "", jobs.RoleNone},
		{"alone", "owner@example.edu", jobs.RoleOwner}, {"no owner", "owner@example.edu", jobs.RoleAdmin},
		{"nothing", "owner@example.edu", jobs.RoleNone}, {"Mixed", "owner@example.edu", jobs.RoleNone},
		{"shouted", "owner@example.edu", jobs.RoleNone}, {"shouted", "a@b.c", jobs.RoleNone}, {"folded", "oster@example.edu", jobs.RoleNone},
		{"no such project", "owner@example.edu", jobs.RoleNone}, {demodata.DemoProject, demodata.AdminEmail, jobs.RoleAdmin},
	} {
		if got, err := r.Role(t.Context(), c.project, c.email); got != c.want || err != nil {
			t.Errorf("%q in %q: %v, %v; want %v", c.email, c.project, got, err, c.want)
		}
	}
}

// The people of a project are each one who has a role in it, once.
func TestPeople(t *testing.T) {
	r := openRoles(t, map[string]string{
		"mixed":  `{"course_owner":" Owner@Example.EDU ","course_admins":["A@b.c",""," second@B.c\t","OWNER@example.edu"]}`,
		"nobody": `{"course_owner":"","course_admins":null}`,
		"frozen": `{"course_owner":"o@b.c","is_frozen":true}`,
		"broken": `{"course_owner":7}`,
	})
	for project, want := range map[string][]string{
		"mixed": {"owner@example.edu", "a@b.c", "second@b.c"}, "nobody": nil, "no such project": nil, "frozen": {"o@b.c"},
	} {
		if got, err := r.People(t.Context(), project); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", project, got, err, want)
		}
	}
	if got, err := r.People(t.Context(), "broken"); err == nil || len(got) > 0 {
		t.Errorf("an entry that cannot be read: %q, %v", got, err)
	}
}

// Nobody has a role in an entry that cannot be read, and that is no "not found".
// Somebody's projects are found among thousands, in whatever role, frozen ones
// too, and nobody else's.
func TestProjects(t *testing.T) {
	t.Parallel()
	entries := map[string]string{
		"mine":   `{"course_owner":"Me@example.edu"}`,
		"shared": `{"course_owner":"x@example.edu","course_admins":["me@example.edu"]}`,
		"closed": `{"course_owner":"me@example.edu","is_frozen":true}`,
		"broken": `{"course_owner":7}`,
	}
	for i := range 3000 {
		entries[fmt.Sprint("other-", i)] = `{"course_owner":"x@example.edu","course_admins":["y@example.edu"]}`
	}
	list, err := openRoles(t, entries).Projects(t.Context(), "me@example.edu")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list, func(a, b jobs.OwnProject) int { return strings.Compare(a.Project, b.Project) })
	want := []jobs.OwnProject{{Project: "closed", Role: jobs.RoleOwner, Frozen: true}, {Project: "mine", Role: jobs.RoleOwner}, {Project: "shared", Role: jobs.RoleAdmin}}
	if !slices.Equal(list, want) {
		t.Errorf("found %v", list)
	}
}

func TestUnreadableRoles(t *testing.T) {
	broken := map[string]string{
		"broken": `{"course_owner":`, "a number": `{"course_owner":7,"course_admins":["owner@example.edu"]}`,
		"a list": `{"course_owner":["owner@example.edu"]}`, "text for a list": `{"course_owner":"owner@example.edu","course_admins":"owner@example.edu"}`,
		"a number in the list": `{"course_owner":"owner@example.edu","course_admins":[1]}`, "an array": `["owner@example.edu"]`, "empty": ``,
	}
	r := openRoles(t, broken)
	for project := range broken {
		role, err := r.Role(t.Context(), project, "owner@example.edu")
		if err == nil || errors.Is(err, jobs.ErrNotFound) || role.MayExport() {
			t.Errorf("%s gives %v, %v", project, role, err)
		}
	}
}

// A frozen project is closed to its own people; to others it still does not exist.
func TestFrozen(t *testing.T) {
	const people = `"course_owner":"Owner@example.edu","course_admins":["admin@example.edu"]`
	r := openRoles(t, map[string]string{
		"true": `{` + people + `,"is_frozen": true }`, "false": `{` + people + `,"is_frozen":false}`, "null": `{` + people + `,"is_frozen":null}`,
		"text": `{` + people + `,"is_frozen":"true"}`, "one": `{` + people + `,"is_frozen":1}`, "object": `{` + people + `,"is_frozen":{"true":true}}`,
		"absent": `{` + people + `}`, "shouted": `{` + people + `,"is_frozen":true,"IS_FROZEN":false}`,
	})
	frozen := map[string]bool{"true": true, "shouted": true}
	for _, project := range []string{"true", "false", "null", "text", "one", "object", "absent", "shouted"} {
		for _, email := range []string{"owner@example.edu", "admin@example.edu"} {
			role, err := r.Role(t.Context(), project, email)
			if frozen[project] != errors.Is(err, jobs.ErrFrozen) || role.MayExport() == frozen[project] {
				t.Errorf("is_frozen is %s: %s has %v, %v", project, email, role, err)
			}
		}
		if role, err := r.Role(t.Context(), project, "stranger@example.edu"); role != jobs.RoleNone || err != nil {
			t.Errorf("is_frozen is %s: a stranger has %v, %v", project, role, err)
		}
	}
	if _, err := r.Role(t.Context(), demodata.LibraryProject, "librarian@example.org"); !errors.Is(err, jobs.ErrFrozen) {
		t.Errorf("the frozen project of the demo data: %v", err)
	}
}

// story writes down what it is handed, in order.
type story []string

func (s *story) Row(_ context.Context, r jobs.Row) error {
	*s = append(*s, fmt.Sprint(binary.BigEndian.Uint64(r[0])))
	return nil
}

func (s *story) Skip(_ context.Context, k jobs.Skipped) error {
	*s = append(*s, fmt.Sprint(k.ID, " ", k.Reason))
	return nil
}

func (*story) Begin()                      {}
func (*story) Large(context.Context) error { return nil }

// A damaged row is named; its neighbours, before and behind, come out.
func TestDamagedRow(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into "llm-convo-monitor" (id, course_name, convo) select i, 'mine', '{"small":true}' from generate_series(1, 9) i`)
	w.Damage(t, 5, 7)
	spec := jobs.Spec{Project: "mine", Kind: jobs.Conversations}
	p, err := s.Plan(t.Context(), spec, jobs.All)
	if err != nil || p.Rows != 9 {
		t.Fatalf("%+v, %v", p, err)
	}
	var list story
	got, err := s.Read(t.Context(), spec, p.Windows[0], &list)
	if err != nil || fmt.Sprint(list) != "[1 2 3 4 5 damaged 6 7 damaged 8 9]" || got.Counted != 9 {
		t.Errorf("%v %+v %v", list, got, err)
	}
}

// What the pipeline says comes back as it is, and is no bad row.
func TestReadReturnsTheCallersError(t *testing.T) {
	s, w := openSource(t)
	exec(t, w, `insert into "llm-convo-monitor" (course_name, convo) values ('mine', '1'), ('mine', '2')`)
	own := errors.New("own")
	_, err := s.Read(t.Context(), jobs.Spec{Project: "mine", Kind: jobs.Conversations}, jobs.Window{To: 100}, each(func(jobs.Row) error { return own }))
	if err != own {
		t.Errorf("%v", err)
	}
}
