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

// Service is everything that people can do. Each method takes the Principal
// and authorises first; its callers hold no check of their own.
type Service struct {
	records   Records
	roles     Roles
	estimator Estimator
	links     Links
	env       Env
	opts      ServiceOptions
}

// ServiceOptions are the API's settings.
type ServiceOptions struct {
	QueueMax int
	LinkTTL  time.Duration
	// Created is called after a job was queued; it must not wait.
	Created func()
}

// NewService makes a Service.
func NewService(r Records, roles Roles, e Estimator, l Links, env Env, o ServiceOptions) *Service {
	return &Service{records: r, roles: roles, estimator: e, links: l, env: env, opts: o}
}

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

// Create queues an export, or joins the identical one that waits or has only
// begun.
func (s *Service) Create(ctx context.Context, p Principal, r CreateRequest) (Created, error) {
	if err := s.authorise(ctx, p, r.Project); err != nil {
		return Created{}, err
	}
	n, err := s.newJob(ctx, p, r)
	if err != nil {
		return Created{}, err
	}
	// A size that the source cannot tell within a second is large.
	if size, ok := s.estimator.Estimate(ctx, n.Spec); ok && size <= SmallLimit {
		n.Lane = Small
	}
	c, err := s.records.Create(ctx, n)
	if err != nil {
		return Created{}, err
	}
	if c.New {
		s.opts.Created()
	}
	return c, nil
}

// newJob checks a request. All that is wrong with it is told at once.
func (s *Service) newJob(ctx context.Context, p Principal, r CreateRequest) (NewJob, error) {
	var bad []FieldError
	refuse := func(field, message string) { bad = append(bad, FieldError{field, message}) }

	n := NewJob{
		ID: s.env.NewID(), Lane: Large, RequestedBy: p.Email, Remote: p.Remote,
		IdempotencyKey: r.IdempotencyKey, Fresh: r.Fresh, QueueMax: s.opts.QueueMax,
		Spec: Spec{Project: r.Project, Kind: Kind(r.Kind), AllowSkipped: r.AllowSkipped},
	}
	if n.Kind != Conversations && n.Kind != Documents {
		refuse("kind", `must be "conversations" or "documents"`)
	}
	var err error
	if n.From, err = parseBound(r.From, false); err != nil {
		refuse("from", err.Error())
	}
	if n.To, err = parseBound(r.To, true); err != nil {
		refuse("to", err.Error())
	}
	if n.From != nil && n.To != nil && !n.From.Before(*n.To) {
		refuse("to", "must be later than from")
	}
	if len(r.IdempotencyKey) > 200 {
		refuse("Idempotency-Key", "must be at most 200 characters")
	}
	if n.Notify, err = s.recipients(ctx, r, refuse); err != nil {
		return NewJob{}, err
	}
	if len(bad) > 0 {
		return NewJob{}, &Invalid{bad}
	}
	n.RequestHash, err = requestHash(n)
	return n, err
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
		role, err := s.roles.Role(ctx, r.Project, email)
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

// Get returns one job to whoever may export its project.
func (s *Service) Get(ctx context.Context, p Principal, id string) (Job, error) {
	j, err := s.records.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	if err := s.authorise(ctx, p, j.Project); err != nil {
		return Job{}, err
	}
	return j, nil
}

// List returns a page of a project's jobs.
func (s *Service) List(ctx context.Context, p Principal, q ListQuery) ([]Job, error) {
	if err := s.authorise(ctx, p, q.Project); err != nil {
		return nil, err
	}
	return s.records.List(ctx, q)
}

// Cancel stops an export for all who wait for it.
func (s *Service) Cancel(ctx context.Context, p Principal, id string) (Job, error) {
	if _, err := s.Get(ctx, p, id); err != nil {
		return Job{}, err
	}
	j, err := s.records.RequestCancel(ctx, id, p.Email)
	if err != nil {
		return Job{}, err
	}
	return j, s.audit(ctx, p, "cancel", j)
}

// Asset is one of the objects of a finished export.
type Asset string

// The assets, by the word that the audit has for fetching them.
const (
	File      Asset = "download"
	Manifest  Asset = "manifest"
	Checksums Asset = "checksums"
)

// named gives an asset's key and the name that it is offered under.
func (a Asset) named(j Job) (key, filename string) {
	switch a {
	case Manifest:
		return j.Upload.Manifest(), manifestName
	case Checksums:
		return j.Upload.Checksums(), checksumsName
	}
	return j.Upload.Key, j.Result.Filename
}

// Download mints a link to an asset, at this moment and for this person.
func (s *Service) Download(ctx context.Context, p Principal, id string, a Asset) (Link, error) {
	j, err := s.Get(ctx, p, id)
	if err != nil {
		return Link{}, err
	}
	switch {
	case j.State == Expired, j.State == Succeeded && j.ExpiresAt != nil && s.env.Now().After(*j.ExpiresAt):
		return Link{}, ErrGone
	case j.State != Succeeded || j.Result == nil || j.Upload == nil:
		return Link{}, ErrNotReady
	}
	// The audit comes first: no link leaves without a line about it.
	if err := s.audit(ctx, p, string(a), j); err != nil {
		return Link{}, err
	}
	key, filename := a.named(j)
	return s.links.Presign(ctx, key, filename, s.opts.LinkTTL)
}

func (s *Service) audit(ctx context.Context, p Principal, action string, j Job) error {
	return s.records.Audit(ctx, AuditEntry{Actor: p.Email, Action: action, Project: j.Project, Job: j.ID, Remote: p.Remote})
}

// authorise is the one decision about access: the platform's role in exactly
// this project, now. Without a role a project does not exist.
func (s *Service) authorise(ctx context.Context, p Principal, project string) error {
	if p.Email == "" {
		return ErrUnauthenticated
	}
	role, err := s.roles.Role(ctx, project, p.Email)
	if err != nil {
		return err
	}
	if !role.MayExport() {
		return ErrNotFound
	}
	return nil
}
