package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Service is everything that people can do. Each method takes the Principal
// and authorises first; its callers hold no check of their own.
type Service struct {
	ServicePorts
	env      Env
	opts     ServiceOptions
	previews *previews
	projects keptProjects
}

// ServicePorts are what a Service works with.
type ServicePorts struct {
	Records     Records
	Eraser      Eraser
	Journal     Journal
	Roles       Roles
	Surveyor    Surveyor
	Overview    Overview
	Files       Files
	Catalogue   Catalogue
	OwnProjects OwnProjects
	Letters     Letters
	// Originals holds the documents' own files; nil: they are not handed out.
	Originals Files
	Watcher   *Watcher
	Desk      Desk
	Control   Control
	Bells     Bells
}

// ServiceOptions are the API's settings.
type ServiceOptions struct {
	QueueMax  int
	LinkTTL   time.Duration
	Retention time.Duration // what one extension gives a file
	// Operators are e-mails. They may do what is an operator's, and nothing else.
	Operators []string
	// Rules are those of the dispatch, for telling what a job waits for.
	Rules DispatchRules
	// Created is called after a job was queued; it must not wait.
	Created func()
}

// NewService makes a Service.
func NewService(p ServicePorts, env Env, o ServiceOptions) *Service {
	operators := make([]string, len(o.Operators))
	for i, e := range o.Operators {
		operators[i] = strings.ToLower(strings.TrimSpace(e))
	}
	o.Operators = operators
	return &Service{ServicePorts: p, env: env, opts: o, previews: newPreviews(env.Now)}
}

// maxProject is the length of the longest project name, in characters.
const maxProject = 200

// authorise is the one decision about access: the platform's role in exactly
// this project, now. Without a role a project does not exist. What was refused
// is noted under the name of the action, and job if it has one.
func (s *Service) authorise(ctx context.Context, p Principal, project, action, job string) error {
	if p.Email == "" {
		return ErrUnauthenticated
	}
	if utf8.RuneCountInString(project) > maxProject || !utf8.ValidString(project) || strings.ContainsRune(project, 0) {
		return ErrNotFound // no project has such a name, and no table takes it
	}
	role, err := s.Roles.Role(ctx, project, p.Email)
	if err == nil && !role.MayExport() {
		err = ErrNotFound
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrFrozen) {
		s.refused(ctx, p, project, action, job)
	}
	return err
}

// operate lets operators alone pass.
func (s *Service) operate(ctx context.Context, p Principal, project, action string) error {
	switch {
	case p.Email == "":
		return ErrUnauthenticated
	case slices.Contains(s.opts.Operators, p.Email):
		return nil
	}
	s.refused(ctx, p, project, action, "")
	return ErrNotFound
}

// noteLimit is how long the answer to somebody who is refused waits for the note.
const noteLimit = 3 * time.Second

// refused notes a refusal, also of somebody who does not wait for it. That it
// could not be noted changes nothing about it.
func (s *Service) refused(ctx context.Context, p Principal, project, action, job string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteLimit)
	defer cancel()
	e := AuditEntry{Actor: p.Email, Action: Refused, Detail: action, Project: project, Job: job, Remote: p.Remote}
	if err := s.Journal.Record(ctx, e); err != nil {
		s.env.Log.Error("refusal not recorded", "action", action, "error", err)
	}
}

// Create queues an export, or joins the identical one that waits or has only
// begun.
func (s *Service) Create(ctx context.Context, p Principal, r CreateRequest) (Created, error) {
	if err := s.authorise(ctx, p, r.Project, ActionCreate, ""); err != nil {
		return Created{}, err
	}
	n, err := s.newJob(ctx, p, r)
	if err != nil {
		return Created{}, err
	}
	// A size that the source cannot tell within a second is large.
	if size, ok := s.Surveyor.Estimate(ctx, n.Spec); ok && size.Stored <= SmallLimit {
		n.Lane = Small
	}
	n.Trace = TraceOf(ctx)
	c, err := s.Records.Create(ctx, n)
	if err != nil {
		return Created{}, err
	}
	if c.New {
		s.env.Moved(c.Job.move("", Queued))
		s.opts.Created()
	}
	return c, nil
}

// Parts are those that a finished export's file was put together from; none
// where it was small enough to be put whole, or is not there any more.
func (s *Service) Parts(ctx context.Context, p Principal, id string) ([]Part, error) {
	j, err := s.job(ctx, p, id, ActionGet)
	if err != nil || j.State != Succeeded || j.Upload == nil {
		return nil, err
	}
	return s.Overview.Parts(ctx, id, j.Upload.Nonce)
}

// Get returns one job to whoever may export its project.
func (s *Service) Get(ctx context.Context, p Principal, id string) (Job, error) {
	return s.job(ctx, p, id, ActionGet)
}

// job is the only way from an id to a job: whose it is decides who may see it.
func (s *Service) job(ctx context.Context, p Principal, id, action string) (Job, error) {
	j, err := s.Records.Get(ctx, id)
	if err != nil {
		return Job{}, err
	}
	if err := s.authorise(ctx, p, j.Project, action, j.ID); err != nil {
		return Job{}, err
	}
	return j, nil
}

// List returns a page of a project's jobs.
func (s *Service) List(ctx context.Context, p Principal, q ListQuery) ([]Job, error) {
	if err := s.authorise(ctx, p, q.Project, ActionList, ""); err != nil {
		return nil, err
	}
	return s.Records.List(ctx, q)
}

// Cancel stops an export for all who wait for it; ErrFinal if it is over.
func (s *Service) Cancel(ctx context.Context, p Principal, id string) (Job, error) {
	if _, err := s.job(ctx, p, id, ActionCancel); err != nil {
		return Job{}, err
	}
	return s.cancel(ctx, p, id)
}

func (s *Service) cancel(ctx context.Context, p Principal, id string) (Job, error) {
	j, err := s.Records.RequestCancel(ctx, id, p)
	if err == nil && j.State == Canceled { // a running one is canceled by its worker
		s.env.Moved(j.move(Queued, Canceled))
	}
	return j, err
}

// maxExtensions is how often a file may be given another retention.
const maxExtensions = 4

// Extend keeps a file for one retention from now. ErrNotReady if there is none,
// ErrExtended after the fourth time.
func (s *Service) Extend(ctx context.Context, p Principal, id string) (Job, error) {
	if _, err := s.job(ctx, p, id, ActionExtend); err != nil {
		return Job{}, err
	}
	return s.Records.Extend(ctx, id, p, s.opts.Retention, maxExtensions)
}

// Purge gives an export's data up; its record stays. Repeating it changes
// nothing. ErrNotOver if it waits or runs.
func (s *Service) Purge(ctx context.Context, p Principal, id string) error {
	j, err := s.job(ctx, p, id, ActionPurge)
	if err != nil {
		return err
	}
	moved, err := s.Eraser.Purge(ctx, id, p)
	if moved && err == nil {
		s.env.Moved(j.move(Succeeded, Expired))
	}
	return err
}

// PurgeProject ends all exports of a project and gives their data up, at an
// operator's word. It returns the jobs that it changed.
func (s *Service) PurgeProject(ctx context.Context, p Principal, project string) ([]string, error) {
	if err := s.operate(ctx, p, project, ActionPurgeProject); err != nil {
		return nil, err
	}
	ids, moves, err := s.Eraser.PurgeProject(ctx, project, p, false)
	for _, m := range moves {
		s.env.Moved(m)
	}
	return ids, err
}

// Audit returns a page of who did what in a project, or with one of its jobs,
// newest first.
func (s *Service) Audit(ctx context.Context, p Principal, q AuditQuery) ([]AuditEntry, error) {
	if err := s.authorise(ctx, p, q.Project, ActionAudit, q.Job); err != nil {
		return nil, err
	}
	return s.Journal.Entries(ctx, q)
}

// watchRole is how often somebody who watches a job must still have a role.
const watchRole = 30 * time.Second

// Watch sends a job, and then each change of it, until it is over, the role is
// lost or ctx is done; then the channel is closed. Who is slow gets the newest.
func (s *Service) Watch(ctx context.Context, p Principal, id string) (<-chan Job, error) {
	first, err := s.job(ctx, p, id, ActionWatch)
	if err != nil {
		return nil, err
	}
	out := make(chan Job)
	go func() {
		defer close(out)
		changes, leave := s.Watcher.follow(first)
		defer leave()
		role := time.NewTicker(watchRole)
		defer role.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-role.C:
				if s.authorise(ctx, p, first.Project, ActionWatch, id) != nil {
					return
				}
			case j, ok := <-changes:
				if !ok {
					return
				}
				select {
				case out <- j:
				case <-ctx.Done():
					return
				}
				if j.State.Final() {
					return
				}
			}
		}
	}()
	return out, nil
}
