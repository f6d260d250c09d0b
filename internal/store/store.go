// Package store keeps the service's own state in Postgres, in the schema
// bulkexport: jobs, attempts, checkpoints, workers, outbox, audit. It
// implements the ports of package jobs; SQL stands beside the method it is for.
//
// Every time that decides anything is the database's own.
package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/pgfault"
)

// Store implements the ports of package jobs that are about its rows.
type Store struct{ pool *pgxpool.Pool }

var (
	_ jobs.Records  = (*Store)(nil)
	_ jobs.Eraser   = (*Store)(nil)
	_ jobs.Journal  = (*Store)(nil)
	_ jobs.Overview = (*Store)(nil)
	_ jobs.Attempts = (*Store)(nil)
	_ jobs.Board    = (*Store)(nil)
	_ jobs.Ledger   = (*Store)(nil)
	_ jobs.Holdings = (*Store)(nil)
	_ jobs.Letters  = (*Store)(nil)
	_ jobs.Outbox   = (*Store)(nil)
	_ jobs.Desk     = (*Store)(nil)
	_ jobs.Control  = (*Store)(nil)
	_ jobs.Census   = (*Store)(nil)
)

// Open makes a Store for the database at url. It does not connect yet: a
// database that is down at start is waited for, not crashed on.
func Open(ctx context.Context, url, application string) (*Store, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = application
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	return &Store{pool}, nil
}

// Close ends all connections.
func (s *Store) Close() { s.pool.Close() }

// in runs f in one transaction and classifies its error.
func (s *Store) in(ctx context.Context, f func(pgx.Tx) error) error {
	return classify(pgx.BeginFunc(ctx, s.pool, f))
}

// classify tells an unreachable database, which is worth trying again, from
// everything else. Errors of the domain pass as they are.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case pgfault.Transient(err):
		return jobs.Transient(jobs.CodeDatabase, "The service's own database did not answer.",
			&jobs.Unavailable{Dependency: "the service's database", Err: pgfault.Bare(err)})
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42703" || pg.Code == "3F000") {
		// The schema is not there yet, or not up to date: MigrateSoon is at it.
		return jobs.Transient(jobs.CodeDatabase, "The service's own database is being prepared.",
			&jobs.Unavailable{Dependency: "the service's database", Err: pgfault.Bare(err)})
	}
	return pgfault.Bare(err)
}
