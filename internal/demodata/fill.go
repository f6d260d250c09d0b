package demodata

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
)

// Fill fills the platform's tables, which CreateSchema or CreateSchemaJSONB
// has made and nobody has filled yet. It is all or nothing.
func Fill(ctx context.Context, db *pgx.Conn, o Options) (Summary, error) {
	f := filler{db: db, o: o, sum: Summary{Projects: map[string]int64{}}}
	err := pgx.BeginFunc(ctx, db, func(pgx.Tx) error {
		for _, step := range []func(context.Context) error{f.people, f.conversations, f.documents, f.groups, f.sequences} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Summary{}, fmt.Errorf("fill the platform's tables: %w", err)
	}
	if _, err := db.Exec(ctx, `analyze projects, api_keys, "llm-convo-monitor", documents, doc_groups, documents_doc_groups`); err != nil {
		return Summary{}, fmt.Errorf("analyze the platform's tables: %w", err)
	}
	return f.sum, nil
}

type filler struct {
	db      *pgx.Conn
	o       Options
	sum     Summary
	members []membership
}

// membership puts a document into a group.
type membership struct{ document, group, at int64 }

func (f *filler) people(ctx context.Context) error { return FillPeople(ctx, f.db) }

// quota hands out rows until a volume is reached.
type quota struct{ rows, bytes int64 }

// quota returns it, and how many rows it will be, exactly or by their mean.
func (v Volume) quota(mean int64) (quota, int64) {
	if v.Bytes > 0 {
		return quota{math.MaxInt64, v.Bytes}, max(1, v.Bytes/mean)
	}
	return quota{v.Rows, math.MaxInt64}, v.Rows
}

func (q *quota) more() bool { return q.rows > 0 && q.bytes > 0 }

func (q *quota) took(bytes int) {
	q.rows--
	q.bytes -= int64(bytes)
}

func (f *filler) conversations(ctx context.Context) error {
	jsonb, err := f.jsonb(ctx)
	if err != nil {
		return err
	}
	q, n := f.o.Conversations.quota(conversationBytes)
	g := conversations{seed: f.o.Seed, n: n, jsonb: jsonb}
	return copyRows(ctx, f.db.PgConn(), `"llm-convo-monitor" (id, created_at, convo, convo_id, course_name, user_email)`,
		func(b []byte) []byte {
			if !q.more() {
				return nil
			}
			c := g.row(f.sum.Conversations)
			q.took(len(c.convo))
			f.sum.Conversations++
			f.sum.Bytes += int64(len(c.convo))
			f.sum.Projects[c.project.name]++
			return c.appendCopy(b, jsonb)
		})
}

// jsonb tells which of the two schemas it is.
func (f *filler) jsonb(ctx context.Context) (is bool, err error) {
	err = f.db.QueryRow(ctx, `select atttypid = 'jsonb'::regtype from pg_attribute
		where attrelid = '"llm-convo-monitor"'::regclass and attname = 'convo'`).Scan(&is)
	return is, err
}

func (c *conversationRow) appendCopy(b []byte, jsonb bool) []byte {
	b = appendInt(appendFields(b, 6), c.id)
	if c.dated {
		b = appendTime(b, c.at)
	} else {
		b = appendNull(b)
	}
	switch {
	case !c.convoIsSet:
		b = appendNull(b)
	case jsonb:
		b = appendJSONB(b, c.convo)
	default:
		b = appendText(b, c.convo)
	}
	b = appendText(b, c.convoID)
	b = appendText(b, c.project.name)
	return appendTextOrNull(b, c.email)
}

func (f *filler) documents(ctx context.Context) error {
	q, n := f.o.Documents.quota(documentBytes)
	g := documents{seed: f.o.Seed, n: n}
	return copyRows(ctx, f.db.PgConn(), `documents (id, created_at, s3_path, readable_filename, course_name, url, contexts, base_url)`,
		func(b []byte) []byte {
			if !q.more() {
				return nil
			}
			// The last document must not overshoot the volume by its long tail.
			d := g.row(f.sum.Documents, int(min(1+q.bytes/chunkBytes, mostChunks)))
			q.took(len(d.contexts))
			f.sum.Documents++
			f.sum.Bytes += int64(len(d.contexts))
			for _, group := range d.groups {
				f.members = append(f.members, membership{d.id, group, d.at})
			}
			return d.appendCopy(b)
		})
}

func (d *documentRow) appendCopy(b []byte) []byte {
	b = appendTime(appendInt(appendFields(b, 8), d.id), d.at)
	b = appendText(b, d.path)
	b = appendText(b, d.filename)
	b = appendText(b, d.project.name)
	b = appendTextOrNull(b, d.url)
	b = appendJSONB(b, d.contexts)
	return appendTextOrNull(b, d.base)
}

// groups fills doc_groups with the right counts, then the memberships.
func (f *filler) groups(ctx context.Context) error {
	count := map[int64]int64{}
	for _, m := range f.members {
		count[m.group]++
	}
	var groups [][]any
	for p := range projects {
		for g, name := range groupNames {
			id := groupID(&projects[p], g)
			groups = append(groups, []any{id, name, projects[p].name, earliest, count[id]})
		}
	}
	_, err := f.db.CopyFrom(ctx, pgx.Identifier{"doc_groups"},
		[]string{"id", "name", "course_name", "created_at", "doc_count"}, pgx.CopyFromRows(groups))
	if err != nil {
		return err
	}
	i := 0
	return copyRows(ctx, f.db.PgConn(), `documents_doc_groups (document_id, doc_group_id, created_at)`, func(b []byte) []byte {
		if i == len(f.members) {
			return nil
		}
		m := f.members[i]
		i++
		return appendTime(appendInt(appendInt(appendFields(b, 3), m.document), m.group), m.at)
	})
}

// sequences go on behind the rows, as if the platform had written them.
func (f *filler) sequences(ctx context.Context) error {
	for _, table := range []string{`"llm-convo-monitor"`, `documents`, `doc_groups`} {
		_, err := f.db.Exec(ctx, fmt.Sprintf(`select setval(pg_get_serial_sequence('%s', 'id'), max(id)) from %s having max(id) > 0`, table, table))
		if err != nil {
			return err
		}
	}
	return nil
}
