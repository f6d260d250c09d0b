// Package platform reads the chat platform that this service runs beside: its
// conversations and documents in Postgres, its roles in Redis, its API keys.
// It never writes there, and works with the least privileges that
// deploy/source-grants.sql gives.
package platform

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/pgfault"
)

// Source reads the platform's tables.
type Source struct {
	pool    *pgxpool.Pool
	wait    time.Duration // how long one window may keep a reader waiting
	surveys chan struct{} // one for each that may run
}

var (
	_ jobs.Surveyor  = (*Source)(nil)
	_ jobs.Catalogue = (*Source)(nil)
)

// windowWait is the limit of a window. A server that needs longer for a few
// megabytes is better asked again later.
const windowWait = 2 * time.Minute

// OpenSource makes a Source for the database at url, with at most conns
// connections. It does not connect yet.
//
// Statements are unnamed and run in explicit transactions with SET LOCAL only,
// so that a pooler in transaction mode may stand in between.
func OpenSource(ctx context.Context, url, application string, conns int) (*Source, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("SOURCE_DATABASE_URL: %w", err)
	}
	cfg.MaxConns = int32(conns)
	cfg.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	cfg.ConnConfig.RuntimeParams["application_name"] = application
	cfg.ConnConfig.BuildContextWatcherHandler = cancelAtServer
	cfg.BeforeConnect = installGate
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("SOURCE_DATABASE_URL: %w", err)
	}
	return &Source{pool, windowWait, make(chan struct{}, max(1, conns/2))}, nil
}

// cancelAtServer stops a statement where it runs when its context ends: a
// connection that is merely closed leaves the server at work until it notices.
func cancelAtServer(c *pgconn.PgConn) ctxwatch.Handler {
	return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 2 * time.Second}
}

// Close ends all connections.
func (s *Source) Close() { s.pool.Close() }

// Ping reports whether the source answers.
func (s *Source) Ping(ctx context.Context) error { return classify(s.pool.Ping(ctx)) }

// read runs f in one read-only snapshot.
func (s *Source) read(ctx context.Context, f func(pgx.Tx) error) error {
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	return classify(pgx.BeginTxFunc(ctx, s.pool, snapshot, func(tx pgx.Tx) error {
		// Long, because a reader also waits for free buffers while its statement runs.
		if _, err := tx.Exec(ctx, `set local statement_timeout = '5min'`); err != nil {
			return err
		}
		return f(tx)
	}))
}

// lookUpLimit is how long a request waits for one small row.
const lookUpLimit = 5 * time.Second

// lookUp reads one row of small values in one round trip, because every request
// waits for it. The statement is unnamed and a transaction by itself, so that a
// pooler may pass it to any connection.
func (s *Source) lookUp(ctx context.Context, sql string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, lookUpLimit)
	defer cancel()
	args = append([]any{pgx.QueryExecModeExec}, args...)
	return classify(s.pool.QueryRow(ctx, sql, args...).Scan(into...))
}

// classify sorts the source's errors. What it returns names no value of a row.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case pgfault.Transient(err):
		return jobs.Transient(jobs.CodeSource, "The platform's database did not answer.",
			&jobs.Unavailable{Dependency: "the platform's database", Err: pgfault.Bare(err)})
	}
	return jobs.Permanent(jobs.CodeRefused, "The platform's database refused to be read.", true, pgfault.Bare(err))
}
