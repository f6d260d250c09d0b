package platform

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/redisurl"
)

// rolesKey is the platform's hash: course name to JSON.
const rolesKey = "course_metadatas"

// Roles reads who owns and administers a project.
type Roles struct{ rdb redis.UniversalClient }

// OpenRoles makes Roles over the platform's Redis at url. It does not connect yet.
func OpenRoles(url string) (*Roles, error) {
	rdb, err := redisurl.Open(url)
	if err != nil {
		return nil, fmt.Errorf("PLATFORM_REDIS_URL: %w", err)
	}
	logging.Disable() // the errors reach the callers
	return &Roles{rdb}, nil
}

// Close ends all connections.
func (r *Roles) Close() error { return r.rdb.Close() }

// Ping reports whether the platform's Redis answers.
func (r *Roles) Ping(ctx context.Context) error { return r.rdb.Ping(ctx).Err() }

// Role implements jobs.Roles.
func (r *Roles) Role(ctx context.Context, project, email string) (jobs.Role, error) {
	value, err := r.rdb.HGet(ctx, rolesKey, project).Bytes()
	if errors.Is(err, redis.Nil) {
		return jobs.RoleNone, nil
	}
	if err != nil {
		return jobs.RoleNone, &jobs.Unavailable{Dependency: "the platform's role store", Err: err}
	}
	return roleIn(value, email)
}

// roleIn looks an e-mail up in the JSON of one project. What cannot be read
// gives nobody a role, aloud.
func roleIn(value []byte, email string) (jobs.Role, error) {
	role, frozen, err := standingIn(value, email)
	// The platform closes a frozen project to its own people, too.
	if role != jobs.RoleNone && frozen {
		return jobs.RoleNone, jobs.ErrFrozen
	}
	return role, err
}

func standingIn(value []byte, email string) (role jobs.Role, frozen bool, err error) {
	owner, admins, frozen, err := courseIn(value)
	return roleOf(email, owner, admins), frozen, err
}

// courseIn reads the JSON of one project.
func courseIn(value []byte) (owner string, admins []string, frozen bool, err error) {
	var course map[string]json.RawMessage // a struct would take keys in any case
	err = json.Unmarshal(value, &course)
	for key, into := range map[string]any{"course_owner": &owner, "course_admins": &admins} {
		if v, ok := course[key]; ok && err == nil {
			err = json.Unmarshal(v, into)
		}
	}
	if err != nil {
		return "", nil, false, errors.New("the platform's role entry of a project is not what it should be")
	}
	return owner, admins, string(course["is_frozen"]) == "true", nil
}

// scanCount is how many entries of the hash one step of a scan looks at.
const scanCount = 1000

// Projects implements jobs.OwnProjects by a look at the whole hash, in steps
// that stop nobody else.
func (r *Roles) Projects(ctx context.Context, email string) ([]jobs.OwnProject, error) {
	found := make(map[string]jobs.OwnProject) // a step may tell an entry twice
	for cursor := uint64(0); ; {
		entries, next, err := r.rdb.HScan(ctx, rolesKey, cursor, "", scanCount).Result()
		if err != nil {
			return nil, &jobs.Unavailable{Dependency: "the platform's role store", Err: err}
		}
		for i := 0; i+1 < len(entries); i += 2 {
			role, frozen, err := standingIn([]byte(entries[i+1]), email)
			if err == nil && role.MayExport() {
				found[entries[i]] = jobs.OwnProject{Project: entries[i], Role: role, Frozen: frozen}
			}
		}
		if cursor = next; cursor == 0 {
			return slices.Collect(maps.Values(found)), nil
		}
	}
}

// People implements jobs.People: the owner and the admins, in lower case.
func (r *Roles) People(ctx context.Context, project string) ([]string, error) {
	value, err := r.rdb.HGet(ctx, rolesKey, project).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, &jobs.Unavailable{Dependency: "the platform's role store", Err: err}
	}
	owner, admins, _, err := courseIn(value)
	var people []string
	for _, email := range append([]string{owner}, admins...) {
		if email = strings.ToLower(strings.TrimSpace(email)); email != "" && !slices.Contains(people, email) {
			people = append(people, email)
		}
	}
	return people, err
}

// roleOf compares in lower case, as the platform does: Unicode's folding would
// take other letters for the same.
func roleOf(email, owner string, admins []string) jobs.Role {
	email = strings.ToLower(email)
	is := func(other string) bool { return email != "" && strings.ToLower(strings.TrimSpace(other)) == email }
	switch {
	case is(owner):
		return jobs.RoleOwner
	case slices.ContainsFunc(admins, is):
		return jobs.RoleAdmin
	}
	return jobs.RoleNone
}

// KeyEmail returns the e-mail that an active API key of the platform belongs
// to, or jobs.ErrUnauthenticated.
func (s *Source) KeyEmail(ctx context.Context, key string) (string, error) {
	if !utf8.ValidString(key) || strings.ContainsRune(key, 0) {
		return "", jobs.ErrUnauthenticated // nor would the server take it
	}
	var stored string
	var email *string
	err := s.lookUp(ctx, `select key, email from api_keys where key = $1 and is_active`, []any{key}, &stored, &email)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", jobs.ErrUnauthenticated
	case err != nil:
		return "", err
	case email == nil || *email == "" || subtle.ConstantTimeCompare([]byte(stored), []byte(key)) != 1:
		return "", jobs.ErrUnauthenticated
	}
	return *email, nil
}
