package jobs

import (
	"context"
	"io"
	"time"
)

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

// Wanted names what somebody wants to have: an asset of a job or, where no job
// is named, the original file of a project's document.
type Wanted struct {
	Job      string
	Asset    Asset
	Project  string
	Document int64
}

// Object is something in the store, open for reading. Its ETag is as HTTP has
// it, in quotes.
type Object struct {
	io.ReadSeekCloser
	Filename string
	Type     string
	ETag     string
	Modified time.Time
}

// located is what is wanted, after every question about it was answered.
type located struct {
	files         Files
	key, filename string
	entry         AuditEntry
}

// Link mints a link to what is wanted, at this moment and for this person.
func (s *Service) Link(ctx context.Context, p Principal, w Wanted) (Link, error) {
	l, err := s.locate(ctx, p, w)
	if err != nil {
		return Link{}, err
	}
	// The audit comes first: no link leaves without a line about it.
	if err := s.Journal.Record(ctx, l.entry); err != nil {
		return Link{}, err
	}
	return l.files.Presign(ctx, l.key, l.filename, s.opts.LinkTTL)
}

// Open opens what is wanted, to be sent through this service.
func (s *Service) Open(ctx context.Context, p Principal, w Wanted) (Object, error) {
	l, err := s.locate(ctx, p, w)
	if err != nil {
		return Object{}, err
	}
	if err := s.Journal.Record(ctx, l.entry); err != nil {
		return Object{}, err
	}
	o, err := l.files.Open(ctx, l.key)
	o.Filename = l.filename
	return o, err
}

// Check reports whether what is wanted could be had, and hands nothing out. It
// asks the store, too.
func (s *Service) Check(ctx context.Context, p Principal, w Wanted) error {
	l, err := s.locate(ctx, p, w)
	if err != nil {
		return err
	}
	o, err := l.files.Open(ctx, l.key)
	if err != nil {
		return err
	}
	return o.Close()
}

func (s *Service) locate(ctx context.Context, p Principal, w Wanted) (located, error) {
	if w.Job == "" {
		return s.original(ctx, p, w)
	}
	j, err := s.job(ctx, p, w.Job, string(w.Asset))
	if err != nil {
		return located{}, err
	}
	switch {
	case j.State == Expired, j.State == Succeeded && j.ExpiresAt != nil && s.env.Now().After(*j.ExpiresAt):
		return located{}, ErrGone
	case j.State != Succeeded || j.Result == nil || j.Upload == nil:
		return located{}, ErrNotReady
	}
	key, filename := w.Asset.named(j)
	e := AuditEntry{Actor: p.Email, Action: string(w.Asset), Project: j.Project, Job: j.ID, Remote: p.Remote}
	return located{s.Files, key, filename, e}, nil
}

// original finds a document's own file by the path that the platform stored
// with it; nothing that the caller sent becomes part of a key.
func (s *Service) original(ctx context.Context, p Principal, w Wanted) (located, error) {
	if err := s.authorise(ctx, p, w.Project, ActionOriginal, ""); err != nil {
		return located{}, err
	}
	if s.Originals == nil {
		return located{}, ErrNoOriginal
	}
	key, filename, err := s.Catalogue.Original(ctx, w.Project, w.Document)
	if err != nil {
		return located{}, err
	}
	e := AuditEntry{Actor: p.Email, Action: ActionOriginal, Project: w.Project, Detail: filename, Remote: p.Remote}
	return located{s.Originals, key, filename, e}, nil
}
