package stack

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

const (
	database    = "platform"
	serviceRole = "bulkexport"
	sourceRole  = "bulkexport_source"
)

// fill makes databases, roles and demo people, and the data if asked for.
func (s *Stack) fill(ctx context.Context) error {
	if err := s.createDatabase(ctx); err != nil {
		return err
	}
	db, err := pgx.Connect(ctx, s.postgres.URL("postgres", s.remember.PostgresPassword, database))
	if err != nil {
		return fmt.Errorf("platform database: %w", err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if err := s.fillTables(ctx, db); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, deploy.SourceGrants); err != nil {
		return fmt.Errorf("source grants: %w", err)
	}
	opts, err := redis.ParseURL(s.roles.URL())
	if err != nil {
		return fmt.Errorf("roles: %w", err)
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	if err := demodata.FillRoles(ctx, rdb); err != nil {
		return err
	}
	for _, role := range []string{serviceRole, sourceRole} {
		if _, err := db.Exec(ctx, "alter role "+role+" password "+quote(s.remember.PostgresPassword)); err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
	}
	return nil
}

// quote makes a literal for statements that take no parameters.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func (s *Stack) createDatabase(ctx context.Context) error {
	root, err := pgx.Connect(ctx, s.postgres.URL("postgres", s.remember.PostgresPassword, "postgres"))
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
func (s *Stack) fillTables(ctx context.Context, db *pgx.Conn) error {
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
	if s.opts.Data == nil {
		return demodata.FillPeople(ctx, db)
	}
	began := time.Now()
	s.opts.Say("Filling the platform's tables with invented data …")
	sum, err := demodata.Fill(ctx, db, *s.opts.Data)
	if err != nil {
		return err
	}
	s.opts.Say("%d conversations and %d documents, %.0f MB of JSON, in %.1f s.",
		sum.Conversations, sum.Documents, float64(sum.Bytes)/1e6, time.Since(began).Seconds())
	return demodata.FillOriginals(ctx, s.s3.Client, originalsBucket)
}
