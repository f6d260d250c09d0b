package main

import (
	"context"
	"slices"

	"github.com/bulkexport/bulkexport/internal/boot"
	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/platform"
	"github.com/bulkexport/bulkexport/internal/queue"
	"github.com/bulkexport/bulkexport/internal/store"
)

// parts are the adapters of a worker. None is connected before it is used.
type parts struct {
	store  *store.Store
	source *platform.Source
	roles  *platform.Roles
	queue  *queue.Queue
	files  *bucket.Bucket
	opened []func()
}

func (p *parts) close() {
	for _, f := range slices.Backward(p.opened) {
		f()
	}
}

// open opens all parts, the source with so many connections, or none.
func open(ctx context.Context, cfg config.Config, sourceConns int) (p *parts, err error) {
	p = &parts{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.store, err = store.Open(ctx, cfg.DatabaseURL, "bulkexport-worker"); err != nil {
		return p, err
	}
	p.opened = append(p.opened, p.store.Close)
	if p.source, err = platform.OpenSource(ctx, cfg.SourceDatabaseURL, "bulkexport-worker", sourceConns); err != nil {
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
	p.files, err = boot.OpenBucket(cfg)
	return p, err
}
