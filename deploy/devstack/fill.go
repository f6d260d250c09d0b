package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/deploy/devstack/internal/parts"
	"github.com/bulkexport/bulkexport/deploy/devstack/internal/stack"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

func fill(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("fill", flag.ExitOnError)
	url := set.String("database", "", "URL of an empty database, as a superuser")
	var o demodata.Options
	dataFlags(set, &o)
	if err := set.Parse(args); err != nil {
		return err
	}
	db, err := pgx.Connect(ctx, *url)
	if err != nil {
		return fmt.Errorf("-database: %w", err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if err := demodata.CreateSchema(ctx, db); err != nil {
		return err
	}
	began := time.Now()
	sum, err := demodata.Fill(ctx, db, o)
	if err != nil {
		return err
	}
	say("%d conversations, %d documents, %.0f MB of JSON in %.1f s", sum.Conversations, sum.Documents, float64(sum.Bytes)/1e6, time.Since(began).Seconds())
	return nil
}

// initialise sets up a demo platform on components that run already.
func initialise(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("init", flag.ExitOnError)
	var o demodata.Options
	dataFlags(set, &o)
	if err := set.Parse(args); err != nil {
		return err
	}
	client, err := parts.OpenS3(ctx, os.Getenv("S3_ENDPOINT"), os.Getenv("S3_ACCESS_KEY_ID"), os.Getenv("S3_SECRET_ACCESS_KEY"),
		os.Getenv("S3_BUCKET"), os.Getenv("S3_SOURCE_BUCKET"))
	if err != nil {
		return err
	}
	return stack.Fill(ctx, stack.Target{
		AdminURL: os.Getenv("DEVSTACK_ADMIN_DATABASE_URL"), RolePassword: os.Getenv("DEVSTACK_ROLE_PASSWORD"),
		RolesURL: os.Getenv("PLATFORM_REDIS_URL"), S3: client, Originals: os.Getenv("S3_SOURCE_BUCKET"), Data: &o, Say: say,
	})
}
