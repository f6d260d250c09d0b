package jobs

import (
	"context"
	"errors"
	"testing"
	"time"
)

// scans counts the looks at all projects.
type scans struct{ n int }

func (s *scans) Projects(_ context.Context, email string) ([]OwnProject, error) {
	s.n++
	return []OwnProject{{Project: "b of " + email}, {Project: "A of " + email}}, nil
}

// A person's projects are looked for once a minute, and are nobody else's.
func TestProjectsAreKept(t *testing.T) {
	t.Parallel()
	looks, now := &scans{}, time.Unix(0, 0)
	env := quiet()
	env.Now = func() time.Time { return now }
	s := NewService(ServicePorts{OwnProjects: looks}, env, ServiceOptions{})
	for _, c := range []struct {
		email string
		later time.Duration
		looks int
	}{{"x@e", 0, 1}, {"x@e", 59 * time.Second, 1}, {"y@e", 0, 2}, {"x@e", time.Second, 3}} {
		now = now.Add(c.later)
		list, err := s.Projects(t.Context(), Principal{Email: c.email})
		if err != nil || len(list) != 2 || list[0].Project != "A of "+c.email {
			t.Fatalf("%v, %v", list, err)
		}
		if looks.n != c.looks {
			t.Errorf("%d looks, not %d", looks.n, c.looks)
		}
	}
	if _, err := s.Projects(t.Context(), Principal{}); !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("nobody's projects: %v", err)
	}
}
