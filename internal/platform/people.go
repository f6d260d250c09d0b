package platform

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

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

// Role implements jobs.Roles. E-mails compare without regard to case.
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

// roleIn looks an e-mail up in the JSON of one project.
func roleIn(value []byte, email string) (jobs.Role, error) {
	var course struct {
		Owner  string   `json:"course_owner"`
		Admins []string `json:"course_admins"`
	}
	if err := json.Unmarshal(value, &course); err != nil {
		// Fails closed, and aloud: nobody's role can be read from this.
		return jobs.RoleNone, errors.New("the platform's role entry of a project is not valid JSON")
	}
	is := func(other string) bool { return email != "" && strings.EqualFold(strings.TrimSpace(other), email) }
	switch {
	case is(course.Owner):
		return jobs.RoleOwner, nil
	case slices.ContainsFunc(course.Admins, is):
		return jobs.RoleAdmin, nil
	}
	return jobs.RoleNone, nil
}

// KeyEmail returns the e-mail that an active API key of the platform belongs
// to, or jobs.ErrUnauthenticated.
func (s *Source) KeyEmail(ctx context.Context, key string) (string, error) {
	var stored string
	var email *string
	err := s.read(ctx, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `select key, email from api_keys where key = $1 and is_active`, key).Scan(&stored, &email)
	})
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
