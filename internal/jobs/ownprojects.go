package jobs

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// OwnProject is what a person is in one project.
type OwnProject struct {
	Project string
	Role    Role
	// Frozen: the platform's administrator has closed the project to everybody.
	Frozen bool
}

// OwnProjects finds a person's projects, which takes a look at all of them. One
// that cannot be read is left out.
type OwnProjects interface {
	Projects(ctx context.Context, email string) ([]OwnProject, error)
}

// How long a list of projects is kept, and for how many people.
const (
	projectsKept   = time.Minute
	projectsKeptOf = 10_000
)

// Projects are those that a person may export, by name, as of a minute ago at
// most. Nothing is opened by this list: each project decides anew.
func (s *Service) Projects(ctx context.Context, p Principal) ([]OwnProject, error) {
	if p.Email == "" {
		return nil, ErrUnauthenticated
	}
	if list, ok := s.projects.get(p.Email, s.env.Now()); ok {
		return list, nil
	}
	list, err := s.OwnProjects.Projects(ctx, p.Email)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b OwnProject) int {
		return strings.Compare(strings.ToLower(a.Project), strings.ToLower(b.Project))
	})
	s.projects.put(p.Email, list, s.env.Now())
	return list, nil
}

// keptProjects are lists of projects by e-mail.
type keptProjects struct {
	mu   sync.Mutex
	kept map[string]keptList
}

type keptList struct {
	list []OwnProject
	at   time.Time
}

func (k *keptProjects) get(email string, now time.Time) ([]OwnProject, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	m, ok := k.kept[email]
	return m.list, ok && now.Sub(m.at) < projectsKept
}

func (k *keptProjects) put(email string, list []OwnProject, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == nil || len(k.kept) >= projectsKeptOf {
		k.kept = make(map[string]keptList)
	}
	k.kept[email] = keptList{list, now}
}
