package main

import (
	"context"
	"slices"

	"github.com/bulkexport/bulkexport/internal/boot"
	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/store"
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
	originals jobs.Files // nil: none are handed out
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
	p.originals, err = boot.OpenOriginals(cfg)
	return p, err
}
