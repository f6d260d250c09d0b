package stack

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

const (
	database    = "platform"
	serviceRole = "bulkexport"
	sourceRole  = "bulkexport_source"
)

// Target is where a demo platform is set up.
type Target struct {
	AdminURL     string // superuser, database postgres
	RolePassword string // of both roles
	RolesURL     string
	S3           *minio.Client
	Originals    string // bucket; empty leaves the files out
	// Data fills the tables when they are empty; nil leaves them empty.
	Data *demodata.Options
	Say  func(format string, args ...any)
}

// Fill makes databases, roles and demo people, and the data if asked for.
// Repeating it changes nothing.
func Fill(ctx context.Context, t Target) error {
	if err := t.createDatabase(ctx); err != nil {
		return err
	}
	u, err := url.Parse(t.AdminURL)
	if err != nil {
		return fmt.Errorf("admin URL: %w", err)
	}
	u.Path = "/" + database
	db, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return fmt.Errorf("platform database: %w", err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if err := t.fillTables(ctx, db); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, deploy.SourceGrants); err != nil {
		return fmt.Errorf("source grants: %w", err)
	}
	for _, role := range []string{serviceRole, sourceRole} {
		if _, err := db.Exec(ctx, "alter role "+role+" password "+quote(t.RolePassword)); err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
	}
	return t.fillRoles(ctx)
}

func (t Target) fillRoles(ctx context.Context) error {
	opts, err := redis.ParseURL(t.RolesURL)
	if err != nil {
		return fmt.Errorf("roles: %w", err)
	}
	rdb := redis.NewClient(opts)
	defer func() { _ = rdb.Close() }()
	return demodata.FillRoles(ctx, rdb)
}

// quote makes a literal for statements that take no parameters.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (t Target) createDatabase(ctx context.Context) error {
	root, err := pgx.Connect(ctx, t.AdminURL)
	if err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	defer func() { _ = root.Close(context.WithoutCancel(ctx)) }()
	var there bool
	err = root.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, database).Scan(&there)
	if err != nil || there {
		return err
	}
	for _, sql := range []string{
		`create role ` + serviceRole + ` login createdb`,
		`create database ` + database,
		`grant create on database ` + database + ` to ` + serviceRole,
	} {
		if _, err := root.Exec(ctx, sql); err != nil {
			return fmt.Errorf("set up databases: %w", err)
		}
	}
	return nil
}

// fillTables makes the platform's tables and fills them, with people or with
// all data. Each is whole or not at all, and is made up for at the next start.
func (t Target) fillTables(ctx context.Context, db *pgx.Conn) error {
	var there bool
	if err := db.QueryRow(ctx, `select to_regclass('projects') is not null`).Scan(&there); err != nil {
		return fmt.Errorf("platform database: %w", err)
	}
	if !there {
		if err := demodata.CreateSchema(ctx, db); err != nil {
			return err
		}
	}
	if err := db.QueryRow(ctx, `select exists (select from projects)`).Scan(&there); err != nil || there {
		return err
	}
	if t.Data == nil {
		return demodata.FillPeople(ctx, db)
	}
	began := time.Now()
	t.Say("Filling the platform's tables with invented data …")
	sum, err := demodata.Fill(ctx, db, *t.Data)
	if err != nil {
		return err
	}
	t.Say("%d conversations and %d documents, %.0f MB of JSON, in %.1f s.",
		sum.Conversations, sum.Documents, float64(sum.Bytes)/1e6, time.Since(began).Seconds())
	if t.Originals == "" {
		return nil
	}
	return demodata.FillOriginals(ctx, t.S3, t.Originals)
}
