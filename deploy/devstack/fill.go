package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/seed"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// fill fills any database, for benchmarks.
func fill(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("fill", flag.ContinueOnError)
	database := set.String("database", "", "URL of an empty database, as its owner (required)")
	var o demodata.Options
	dataFlags(set, &o)
	if err := parse(set, args); err != nil {
		return err
	}
	if *database == "" {
		return errors.New("fill needs -database URL")
	}
	db, err := pgx.Connect(ctx, *database)
	if err != nil {
		return fmt.Errorf("-database: %w", err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	return seed.Fill(ctx, db, o, say)
}

// initialise sets up components that it has not started, as docker-compose.yml
// asks for. They are named by the service's variables, so that no secret stands
// in a command line, and by DEVSTACK_ADMIN_DATABASE_URL; all also as *_FILE.
func initialise(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("init", flag.ContinueOnError)
	var o demodata.Options
	dataFlags(set, &o)
	if err := parse(set, args); err != nil {
		return err
	}
	roles, err := redis.ParseURL(setting("PLATFORM_REDIS_URL"))
	if err != nil {
		return fmt.Errorf("PLATFORM_REDIS_URL: %w", err)
	}
	rdb := redis.NewClient(roles)
	defer rdb.Close()
	store, err := storeFromEnv()
	if err != nil {
		return err
	}
	return seed.Run(ctx, seed.Target{
		AdminURL: setting("DEVSTACK_ADMIN_DATABASE_URL"), ServiceURL: setting("DATABASE_URL"),
		SourceURL: setting("SOURCE_DATABASE_URL"), Roles: rdb, Store: store, Region: setting("S3_REGION"),
		Exports: setting("S3_BUCKET"), Originals: setting("S3_SOURCE_BUCKET"), Data: &o, Say: say,
	})
}

func storeFromEnv() (*minio.Client, error) {
	u, err := url.Parse(setting("S3_ENDPOINT"))
	if err != nil || u.Host == "" {
		return nil, errors.Join(errors.New("S3_ENDPOINT is no URL"), err)
	}
	c, err := minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(setting("S3_ACCESS_KEY_ID"), setting("S3_SECRET_ACCESS_KEY"), ""),
		Secure: u.Scheme == "https", Region: setting("S3_REGION"), BucketLookup: minio.BucketLookupPath,
	})
	return c, err
}

// setting is a variable, or what the file holds that it names with _FILE. A file
// that cannot be read leaves it empty, and whoever needs it says so.
func setting(name string) string {
	b, err := os.ReadFile(os.Getenv(name + "_FILE"))
	if err != nil {
		return os.Getenv(name)
	}
	return strings.TrimSpace(string(b))
}
