package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaSQL makes the schema that even the table of versions lives in. The
// lock is for two processes that start at once: IF NOT EXISTS alone can fail.
const schemaSQL = `do $$ begin
	perform pg_advisory_xact_lock(hashtextextended('bulkexport/schema', 0));
	create schema if not exists bulkexport;
end $$`

// Migrate brings the schema bulkexport up to date. Any number of processes may
// call it at once. Nothing outside that schema is touched.
func (s *Store) Migrate(ctx context.Context) error {
	if _, err := s.pool.Exec(ctx, schemaSQL); err != nil {
		return fmt.Errorf("create schema: %w", classify(err))
	}
	p, closeDB, err := s.provider()
	if err != nil {
		return err
	}
	defer closeDB()
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", classify(err))
	}
	return nil
}

// Ready reports whether the database answers and has at least the schema that
// this program was built for. A newer one is fine: migrations expand first.
func (s *Store) Ready(ctx context.Context) error {
	var exists bool
	if err := s.pool.QueryRow(ctx, `select to_regclass('bulkexport.goose_db_version') is not null`).Scan(&exists); err != nil {
		return classify(err)
	}
	if !exists {
		return fmt.Errorf("the schema bulkexport is missing: run `api migrate`")
	}
	var version int64
	if err := s.pool.QueryRow(ctx, `select max(version_id) from bulkexport.goose_db_version where is_applied`).Scan(&version); err != nil {
		return classify(err)
	}
	if want := newestMigration(); version < want {
		return fmt.Errorf("the schema bulkexport is at version %d, this program needs %d: run `api migrate`", version, want)
	}
	return nil
}

func (s *Store) provider() (*goose.Provider, func(), error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, nil, fmt.Errorf("migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, nil, fmt.Errorf("migrations: %w", err)
	}
	db := stdlib.OpenDBFromPool(s.pool)
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName("bulkexport.goose_db_version"), goose.WithSessionLocker(locker))
	if err != nil {
		return nil, nil, fmt.Errorf("migrations: %w", err)
	}
	return p, func() { _ = db.Close() }, nil
}

// newestMigration is the highest number among the embedded files.
func newestMigration() int64 {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(names) == 0 {
		panic("store: no embedded migrations")
	}
	v, err := goose.NumericComponent(names[len(names)-1])
	if err != nil {
		panic("store: migration without a number: " + err.Error())
	}
	return v
}
