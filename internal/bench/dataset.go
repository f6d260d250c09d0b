package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/deploy"
	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// The stack's variables for the databases.
const (
	adminVar   = "DEVSTACK_ADMIN_DATABASE_URL"
	serviceVar = "DATABASE_URL"
	sourceVar  = "SOURCE_DATABASE_URL"
)

// projectShare is about what the demo data gives to the exported project. The
// rows of the others lie between its own.
const projectShare = 0.55

// dataset is a database of the stack with the platform's tables, filled.
type dataset struct {
	service, source string // URLs
	share           map[jobs.Kind]float64
}

// env names the database to a child.
func (d *dataset) env() []string {
	return []string{serviceVar + "=" + d.service, sourceVar + "=" + d.source}
}

// fill makes a dataset whose exported project has about so many bytes of lines
// in each of the kinds.
func fill(ctx context.Context, admin *pgx.Conn, kinds []jobs.Kind, size int64) (d *dataset, err error) {
	name := fmt.Sprintf("bench_%d", size)
	d = &dataset{share: map[jobs.Kind]float64{}}
	if d.service, err = inDatabase(os.Getenv(serviceVar), name); err != nil {
		return nil, err
	}
	if d.source, err = inDatabase(os.Getenv(sourceVar), name); err != nil {
		return nil, err
	}
	service, err := pgx.ParseConfig(d.service)
	if err != nil {
		return nil, err
	}
	owner := pgx.Identifier{service.User}.Sanitize()
	for _, sql := range []string{`create database ` + name, `grant create on database ` + name + ` to ` + owner} {
		if _, err := admin.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	root, err := inDatabase(os.Getenv(adminVar), name)
	if err != nil {
		return nil, err
	}
	db, err := pgx.Connect(ctx, root)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	if err := fillTables(ctx, db, kinds, size); err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		var share float64
		err := db.QueryRow(ctx, `select avg((course_name = $1)::int) from `+sources[kind].table, demodata.DemoProject).Scan(&share)
		if err != nil {
			return nil, err
		}
		d.share[kind] = share
	}
	return d, migrate(ctx, d.service)
}

func fillTables(ctx context.Context, db *pgx.Conn, kinds []jobs.Kind, size int64) error {
	began := time.Now()
	say("filling a database for %s a kind", megabytes(size))
	if err := demodata.CreateSchema(ctx, db); err != nil {
		return err
	}
	o := demodata.Options{Seed: 1}
	volume := demodata.Volume{Bytes: int64(float64(size) / projectShare)}
	if slices.Contains(kinds, jobs.Conversations) {
		o.Conversations = volume
	}
	if slices.Contains(kinds, jobs.Documents) {
		o.Documents = volume
	}
	sum, err := demodata.Fill(ctx, db, o)
	if err != nil {
		return err
	}
	// What autovacuum and a checkpoint would do later, in the middle of a run.
	for _, sql := range []string{deploy.SourceGrants, `vacuum (analyze)`, `checkpoint`} {
		if _, err := db.Exec(ctx, sql); err != nil {
			return err
		}
	}
	say("%d conversations and %d documents, %s, in %.0f s", sum.Conversations, sum.Documents, megabytes(sum.Bytes), time.Since(began).Seconds())
	return nil
}

func inDatabase(dsn, name string) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.0f MB", float64(n)/1e6) }
