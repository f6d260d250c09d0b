package jobs

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// CreateRequest is what a person asks for, as they wrote it.
type CreateRequest struct {
	Project        string
	Kind           string
	From, To       string // RFC 3339 or a date; empty is unbounded
	Notify         []string
	Fresh          bool
	AllowSkipped   bool
	IdempotencyKey string
}

// maxNotify bounds the people one request may have told.
const maxNotify = 20

// resolve reads what is to be exported, and tells all that is wrong with it.
func resolve(r CreateRequest) (s Spec, bad []FieldError) {
	refuse := func(field, message string) { bad = append(bad, FieldError{field, message}) }
	s = Spec{Project: r.Project, Kind: Kind(r.Kind), AllowSkipped: r.AllowSkipped}
	if s.Kind != Conversations && s.Kind != Documents {
		refuse("kind", `must be "conversations" or "documents"`)
	}
	var err error
	if s.From, err = parseBound(r.From, false); err != nil {
		refuse("from", err.Error())
	}
	if s.To, err = parseBound(r.To, true); err != nil {
		refuse("to", err.Error())
	}
	if s.From != nil && s.To != nil && !s.From.Before(*s.To) {
		refuse("to", "must be later than from")
	}
	return s, bad
}

// newJob checks a request. All that is wrong with it is told at once.
func (s *Service) newJob(ctx context.Context, p Principal, r CreateRequest) (NewJob, error) {
	spec, bad := resolve(r)
	refuse := func(field, message string) { bad = append(bad, FieldError{field, message}) }
	n := NewJob{
		ID: s.env.NewID(), Spec: spec, Lane: Large, RequestedBy: p.Email, Remote: p.Remote,
		IdempotencyKey: r.IdempotencyKey, Fresh: r.Fresh, QueueMax: s.opts.QueueMax,
	}
	if !isKey(r.IdempotencyKey) {
		refuse("Idempotency-Key", "must be at most 200 printable ASCII characters")
	}
	var err error
	if n.Notify, err = s.recipients(ctx, r, refuse); err != nil {
		return NewJob{}, err
	}
	if len(bad) > 0 {
		return NewJob{}, &Invalid{bad}
	}
	n.RequestHash, err = requestHash(n)
	return n, err
}

func isKey(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return len(s) <= 200
}

// recipients checks that everyone who is to be told has a role in the project.
func (s *Service) recipients(ctx context.Context, r CreateRequest, refuse func(field, message string)) ([]string, error) {
	if len(r.Notify) > maxNotify {
		refuse("notify", fmt.Sprintf("must name at most %d people", maxNotify))
		return nil, nil
	}
	people := []string{}
	for i, email := range r.Notify {
		email = strings.ToLower(strings.TrimSpace(email))
		role, err := s.Roles.Role(ctx, r.Project, email)
		if err != nil {
			return nil, err
		}
		if !role.MayExport() {
			refuse(fmt.Sprintf("notify[%d]", i), "must be the owner or an admin of this project")
			continue
		}
		people = append(people, email)
	}
	slices.Sort(people)
	return slices.Compact(people), nil
}

// requestHash tells a repeated request from another one under the same key.
func requestHash(n NewJob) ([]byte, error) {
	b, err := json.Marshal(struct {
		Spec   Spec
		Notify []string
		Fresh  bool
	}{n.Spec, n.Notify, n.Fresh})
	if err != nil {
		return nil, fmt.Errorf("hash the request: %w", err)
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// parseBound reads an instant or a date. A date as the upper bound includes
// that whole day. Instants are rounded up to the microseconds of the source,
// which moves no row over either bound.
func parseBound(s string, upper bool) (*time.Time, error) {
	if s == "" {
		return nil, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		if t, err = time.Parse(time.DateOnly, s); err != nil {
			return nil, errors.New("must be a date (2024-05-31) or a time with offset (2024-05-31T08:00:00Z)")
		}
		if upper {
			t = t.AddDate(0, 0, 1)
		}
	}
	t = t.UTC().Add(999 * time.Nanosecond).Truncate(time.Microsecond)
	return &t, nil
}
