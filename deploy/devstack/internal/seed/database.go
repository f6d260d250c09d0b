package seed

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/demodata"
)

// database makes the platform's database with all that is in it.
func (t Target) database(ctx context.Context, admin *pgx.Conn) error {
	service, err := pgx.ParseConfig(t.ServiceURL)
	if err != nil {
		return fmt.Errorf("the service's database URL: %w", err)
	}
	source, err := pgx.ParseConfig(t.SourceURL)
	if err != nil {
		return fmt.Errorf("the source's database URL: %w", err)
	}
	if err := createRole(ctx, admin, service.User); err != nil {
		return err
	}
	if err := t.build(ctx, admin, source.Database); err != nil {
		return err
	}
	name := identifier(service.Database)
	if _, err := admin.Exec(ctx, `grant create on database `+name+` to `+identifier(service.User)); err != nil {
		return fmt.Errorf("let the service make its schema: %w", err)
	}
	for _, c := range []*pgx.ConnConfig{service, source} {
		if _, err := admin.Exec(ctx, `alter role `+identifier(c.User)+` password `+literal(c.Password)); err != nil {
			return fmt.Errorf("password of %s: %w", c.User, err)
		}
	}
	return nil
}

// createRole makes the service's role. It may make databases, as tests give
// one to each.
func createRole(ctx context.Context, admin *pgx.Conn, role string) error {
	var there bool
	err := admin.QueryRow(ctx, `select exists (select from pg_roles where rolname = $1)`, role).Scan(&there)
	if err == nil && !there {
		_, err = admin.Exec(ctx, `create role `+identifier(role)+` login createdb`)
	}
	if err != nil {
		return fmt.Errorf("role %s: %w", role, err)
	}
	return nil
}

// build makes the database under another name and renames it when it is whole:
// a start that was broken off leaves nothing that passes for it.
func (t Target) build(ctx context.Context, admin *pgx.Conn, name string) error {
	var there bool
	err := admin.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, name).Scan(&there)
	if err != nil || there {
		return err
	}
	building := identifier(name + "_building")
	for _, sql := range []string{`drop database if exists ` + building + ` with (force)`, `create database ` + building} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			return fmt.Errorf("create the platform's database: %w", err)
		}
	}
	if err := t.fill(ctx, name+"_building"); err != nil {
		return err
	}
	if _, err := admin.Exec(ctx, `alter database `+building+` rename to `+identifier(name)); err != nil {
		return fmt.Errorf("finish the platform's database: %w", err)
	}
	return nil
}

func (t Target) fill(ctx context.Context, name string) error {
	config, err := pgx.ParseConfig(t.AdminURL)
	if err != nil {
		return fmt.Errorf("the superuser's database URL: %w", err)
	}
	config.Database = name
	db, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to the platform's database: %w", err)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	if t.Data == nil {
		if err := demodata.CreateSchema(ctx, db); err != nil {
			return err
		}
		if err := demodata.FillPeople(ctx, db); err != nil {
			return err
		}
	} else if err := Fill(ctx, db, *t.Data, t.Say); err != nil {
		return err
	}
	if _, err := db.Exec(ctx, deploy.SourceGrants); err != nil {
		return fmt.Errorf("source-grants.sql: %w", err)
	}
	return nil
}

// Fill fills the platform's tables, and makes them first where there are none.
func Fill(ctx context.Context, db *pgx.Conn, o demodata.Options, say func(format string, args ...any)) error {
	var there bool
	if err := db.QueryRow(ctx, `select to_regclass('public.api_keys') is not null`).Scan(&there); err != nil {
		return fmt.Errorf("look for the platform's tables: %w", err)
	}
	if !there {
		if err := demodata.CreateSchema(ctx, db); err != nil {
			return err
		}
	}
	began := time.Now()
	say("Filling the platform's tables with invented data …")
	sum, err := demodata.Fill(ctx, db, o)
	if err != nil {
		return err
	}
	say("%d conversations and %d documents, %.0f MB of JSON, in %.1f s.",
		sum.Conversations, sum.Documents, float64(sum.Bytes)/1e6, time.Since(began).Seconds())
	return nil
}

func identifier(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal is for statements that take no parameters.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
