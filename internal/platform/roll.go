package platform

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Roll knows which projects the platform has, from its table and its roles.
type Roll struct {
	Source *Source
	Roles  *Roles
}

// errEmpty: a platform without any project is one that is being restored.
var errEmpty = errors.New("the platform has no project at all: nothing is concluded from that")

// Missing implements jobs.Roll: a project is missing when both the table and the
// role hash answer, and neither has it.
func (r Roll) Missing(ctx context.Context, projects []string) (missing []string, err error) {
	entries, err := r.Roles.rdb.HLen(ctx, rolesKey).Result()
	if err != nil {
		return nil, &jobs.Unavailable{Dependency: "the platform's role store", Err: err}
	}
	var gone []string
	some := false
	err = r.Source.read(ctx, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `select exists (select from projects)`).Scan(&some); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `select p from unnest($1::text[]) p where not exists (select from projects where course_name = p)`, projects)
		if err != nil {
			return err
		}
		gone, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, err
	}
	if entries == 0 || !some {
		return nil, errEmpty
	}
	for _, p := range gone {
		has, err := r.Roles.rdb.HExists(ctx, rolesKey, p).Result()
		if err != nil {
			return nil, &jobs.Unavailable{Dependency: "the platform's role store", Err: err}
		}
		if !has {
			missing = append(missing, p)
		}
	}
	return missing, nil
}
