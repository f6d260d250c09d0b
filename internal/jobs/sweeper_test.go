package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// attic is a store, a table and a platform in which everything can be swept.
type attic struct {
	steps   []string // what was done, in order
	swept   []Swept  // as it was noted
	overdue []string
	doomed  []Doomed
	strays  []Stray
	named   map[UploadName]bool
	owner   string
	taken   bool  // another sweeper is at work
	broken  error // of the object store's deletions
}

const us = "us"

var noon = time.Date(2024, 5, 31, 12, 0, 0, 0, time.UTC)

func (a *attic) did(format string, args ...any) {
	a.steps = append(a.steps, fmt.Sprintf(format, args...))
}

func (a *attic) Turn(ctx context.Context, f func(context.Context) error) (bool, error) {
	if a.taken {
		return false, nil
	}
	return true, f(ctx)
}
func (a *attic) Overdue(context.Context, int) ([]string, error) { return a.overdue, nil }
func (a *attic) Expire(_ context.Context, ids []string) ([]Move, error) {
	a.did("expire %v", ids)
	return nil, nil
}
func (a *attic) Looked(_ context.Context, found, left int) error {
	a.did("looked %d %d", found, left)
	return nil
}
func (a *attic) Doomed(context.Context, int) ([]Doomed, error) { return a.doomed, nil }
func (a *attic) Deleted(_ context.Context, id string) error {
	a.did("deleted %s", id)
	return nil
}
func (a *attic) Prune(context.Context, Keep, bool) (Pruned, error) {
	return Pruned{Jobs: 1}, nil
}
func (a *attic) Installation(_ context.Context, every time.Duration) (string, bool, error) {
	return us, true, nil
}
func (a *attic) Named(context.Context, []UploadName) (map[UploadName]bool, error) {
	return a.named, nil
}
func (a *attic) Projects(context.Context) ([]string, error) { return []string{"p", "q"}, nil }
func (a *attic) Absent(_ context.Context, projects []string, _ time.Duration) ([]string, error) {
	a.did("absent %v", projects)
	return projects, nil
}
func (a *attic) Swept(_ context.Context, s Swept) error {
	a.swept = append(a.swept, s)
	return nil
}
func (a *attic) Owner(context.Context) (string, error) { return a.owner, nil }
func (a *attic) Claim(_ context.Context, id string) error {
	a.did("claim %s", id)
	return nil
}
func (a *attic) List(_ context.Context, each func(Stray)) error {
	for _, s := range a.strays {
		each(s)
	}
	return nil
}
func (a *attic) Discard(_ context.Context, u Upload) error {
	a.did("discard %s", u.Key)
	return a.broken
}
func (a *attic) Remove(_ context.Context, s Stray) error {
	a.did("remove %s", s.Key)
	return nil
}
func (a *attic) Missing(context.Context, []string) ([]string, error) { return []string{"q"}, nil }

type archive struct{}

func (archive) Prune(context.Context, bool) (int, error) { return 2, nil }

func (a *attic) sweep(t *testing.T, o SweepOptions) Report {
	t.Helper()
	env := Env{Now: func() time.Time { return noon }, Log: slog.New(slog.DiscardHandler)}
	r, err := NewSweeper(a, a, a, a, archive{}, Keep{}, env).Pass(t.Context(), o)
	if (err != nil) != (a.broken != nil) {
		t.Fatal(err)
	}
	return r
}

func (a *attic) removed() (n int) {
	for _, s := range a.steps {
		if strings.HasPrefix(s, "remove") {
			n++
		}
	}
	return n
}

// strays are n objects of a job each, some hours old.
func strays(n int, hours int) (list []Stray) {
	for i := range n {
		key := fmt.Sprintf("k%d", i)
		list = append(list, Stray{UploadName: UploadName{key, "n"}, Key: key, At: noon.Add(-time.Duration(hours) * time.Hour)})
	}
	return list
}

func TestSweepInOrder(t *testing.T) {
	a := &attic{overdue: []string{"a"}, doomed: []Doomed{{"b", Upload{Key: "kb"}, 7}}, owner: us}
	r := a.sweep(t, SweepOptions{})
	want := []string{"expire [a]", "discard kb", "deleted b", "looked 0 0", "absent [q]"}
	if !slices.Equal(a.steps, want) {
		t.Errorf("did %v, want %v", a.steps, want)
	}
	if r.Expired != 1 || r.Deleted != 1 || r.Freed != 7 || r.Jobs != 1 || r.Archived != 2 || !slices.Equal(r.Absent, []string{"q"}) {
		t.Errorf("%+v", r)
	}
	if len(a.swept) != 1 || a.swept[0] != (Swept{Expired: 1, Deleted: 1, Freed: 7}) {
		t.Errorf("noted %+v", a.swept)
	}
}

func TestDrySweepDoesNothing(t *testing.T) {
	a := &attic{overdue: []string{"a"}, doomed: []Doomed{{"b", Upload{Key: "kb"}, 7}}, owner: us, strays: strays(3, 30)}
	r := a.sweep(t, SweepOptions{Dry: true, All: true})
	if len(a.steps)+len(a.swept) > 0 || r.Expired != 1 || r.Deleted != 1 || len(r.Orphans) != 3 {
		t.Errorf("did %v, says %+v", a.steps, r)
	}
	var out strings.Builder
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "orphans removed           3, 0 left") {
		t.Error(err, out.String())
	}
}

// A deletion that fails is not noted, and keeps no other step.
func TestSweepWithoutTheStore(t *testing.T) {
	a := &attic{doomed: []Doomed{{"b", Upload{Key: "kb"}, 7}, {"c", Upload{Key: "kc"}, 7}}, owner: us, broken: errors.New("down")}
	r := a.sweep(t, SweepOptions{})
	if want := []string{"discard kb", "discard kc", "looked 0 0", "absent [q]"}; !slices.Equal(a.steps, want) || r.Deleted != 0 || r.Jobs != 1 {
		t.Errorf("did %v, says %+v", a.steps, r)
	}
}

func TestSweepTakesTurns(t *testing.T) {
	a := &attic{overdue: []string{"a"}, taken: true}
	if r := a.sweep(t, SweepOptions{}); !r.Busy || len(a.steps) > 0 {
		t.Errorf("%+v, did %v", r, a.steps)
	}
}

func TestOrphans(t *testing.T) {
	for name, c := range map[string]struct {
		strays       []Stray
		named        map[UploadName]bool
		owner        string
		all          bool
		removed, let int
	}{
		"none":           {nil, nil, us, false, 0, 0},
		"one of few":     {strays(3, 30), nil, us, false, 1, 2},
		"a tenth":        {strays(200, 30), nil, us, false, 20, 180},
		"a hundred":      {strays(2000, 30), nil, us, false, 100, 1900},
		"all, told so":   {strays(2000, 30), nil, us, true, 2000, 0},
		"young":          {strays(30, 23), nil, us, true, 0, 0},
		"named":          {strays(1, 30), map[UploadName]bool{{"k0", "n"}: true}, us, true, 0, 0},
		"another upload": {strays(1, 30), map[UploadName]bool{{"k0", "m"}: true}, us, true, 1, 0},
		"foreign":        {strays(30, 30), nil, "them", true, 0, 0},
		"nobody's":       {strays(30, 30), nil, "", true, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := &attic{strays: c.strays, named: c.named, owner: c.owner}
			r := a.sweep(t, SweepOptions{All: c.all})
			if a.removed() != c.removed || len(r.Orphans) != c.removed || r.OrphansLeft != c.let {
				t.Errorf("removed %d, says %d and %d left, want %d and %d", a.removed(), len(r.Orphans), r.OrphansLeft, c.removed, c.let)
			}
			if claimed := slices.Contains(a.steps, "claim us"); claimed != (c.owner == "") {
				t.Errorf("claimed: %t", claimed)
			}
			if foreign := r.Foreign != ""; foreign != (c.owner == "them") {
				t.Errorf("foreign: %t", foreign)
			}
		})
	}
}
