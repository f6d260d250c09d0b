// Package seed gives components what they need to be a chat platform with Bulk
// Export beside it: databases and roles in Postgres, owners and admins in
// Redis, buckets and original files in the object store. What is there stays.
package seed

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/internal/demodata"
)

// Target names the components.
type Target struct {
	AdminURL   string // superuser, any database of the server but the platform's
	ServiceURL string // role, password and database that the service is to have
	SourceURL  string // role, password and database that it is to read with
	Roles      redis.UniversalClient
	Store      *minio.Client
	Region     string
	Exports    string // bucket
	Originals  string // bucket
	// Data fills the tables when they are made; nil leaves them empty but for
	// the demo people.
	Data *demodata.Options
	Say  func(format string, args ...any)
}

// Run seeds all of them.
func Run(ctx context.Context, t Target) error {
	if err := t.buckets(ctx); err != nil {
		return err
	}
	if err := demodata.FillRoles(ctx, t.Roles); err != nil {
		return err
	}
	if t.Data != nil {
		if err := demodata.FillOriginals(ctx, t.Store, t.Originals); err != nil {
			return err
		}
	}
	admin, err := pgx.Connect(ctx, t.AdminURL)
	if err != nil {
		return fmt.Errorf("connect as the superuser: %w", err)
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	return t.database(ctx, admin)
}

func (t Target) buckets(ctx context.Context) error {
	for _, name := range []string{t.Exports, t.Originals} {
		there, err := t.Store.BucketExists(ctx, name)
		if err == nil && !there {
			err = t.Store.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: t.Region})
		}
		if err != nil {
			return fmt.Errorf("bucket %s: %w", name, err)
		}
	}
	return nil
}
