package demodata

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed schema.sql
var schema string

// CreateSchema creates the platform's tables, empty, as older installations
// have them: conversations lie in a column of type json.
func CreateSchema(ctx context.Context, db *pgx.Conn) error {
	return createSchema(ctx, db, schema)
}

// CreateSchemaJSONB creates the tables of newer installations, whose
// conversations are jsonb: white space, duplicate keys and the order of keys
// are gone there, and some escapes cannot be stored.
func CreateSchemaJSONB(ctx context.Context, db *pgx.Conn) error {
	return createSchema(ctx, db, strings.Replace(schema, "convo json,", "convo jsonb,", 1))
}

func createSchema(ctx context.Context, db *pgx.Conn, sql string) error {
	if _, err := db.Exec(ctx, sql); err != nil {
		return fmt.Errorf("create the platform's tables: %w", err)
	}
	return nil
}
