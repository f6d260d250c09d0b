package main

import (
	"context"
	"slices"
	"time"

	"github.com/bulkexport/bulkexport/internal/boot"
	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/notify"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/store"
	"github.com/bulkexport/bulkexport/internal/telemetry"
)

// sourceConns are for looking up API keys, and for previews.
const sourceConns = 4

// parts are the adapters of an API. None is connected before it is used.
type parts struct {
	store     *store.Store
	source    *platform.Source
	roles     *platform.Roles
	queue     *queue.Queue
	files     *bucket.Bucket
	originals jobs.Files      // nil: none are handed out
	mailer    jobs.Mailer     // nil: no mails are sent
	ping      telemetry.Check // of the mail server; nil if there is none
	opened    []func()
}

func (p *parts) close() {
	for _, f := range slices.Backward(p.opened) {
		f()
	}
}

func open(ctx context.Context, cfg config.Config) (p *parts, err error) {
	p = &parts{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.store, err = store.Open(ctx, cfg.DatabaseURL, "bulkexport-api"); err != nil {
		return p, err
	}
	p.opened = append(p.opened, p.store.Close)
	if p.source, err = platform.OpenSource(ctx, cfg.SourceDatabaseURL, "bulkexport-api", sourceConns); err != nil {
		return p, err
	}
	p.opened = append(p.opened, p.source.Close)
	if p.roles, err = platform.OpenRoles(cfg.PlatformRedisURL); err != nil {
		return p, err
	}
	p.opened = append(p.opened, func() { _ = p.roles.Close() })
	if p.queue, err = queue.Open(cfg.RedisURL); err != nil {
		return p, err
	}
	p.opened = append(p.opened, func() { _ = p.queue.Close() })
	if p.files, err = boot.OpenBucket(cfg); err != nil {
		return p, err
	}
	if p.originals, err = boot.OpenOriginals(cfg); err != nil {
		return p, err
	}
	return p, p.openMail(cfg)
}

func (p *parts) openMail(cfg config.Config) error {
	if cfg.SMTPURL == "" {
		return nil
	}
	m, err := notify.Open(notify.Config{URL: cfg.SMTPURL, From: cfg.MailFrom, PublicURL: cfg.PublicURL, Zone: cfg.Zone(), Now: time.Now})
	if err != nil {
		return err
	}
	p.mailer, p.ping = m, m.Ping
	return nil
}
