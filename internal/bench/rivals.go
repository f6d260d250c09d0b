package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// source is where a kind lies, and the fields of our file, so that all
// contenders write the same rows.
type source struct{ table, items string }

var sources = map[jobs.Kind]source{
	jobs.Conversations: {`"llm-convo-monitor"`, `t.id, t.created_at, t.convo_id, t.course_name, t.user_email, t.convo`},
	jobs.Documents: {`documents`, `t.id, t.created_at, t.course_name, t.s3_path, t.readable_filename, t.url, t.base_url,
		(select coalesce(json_agg(g.name order by g.name collate "C"), '[]') from documents_doc_groups m
		 join doc_groups g on g.id = m.doc_group_id where m.document_id = t.id) as doc_groups, t.contexts`},
}

// linesSQL selects rows as lines.
func (s source) linesSQL(condition string) string {
	return `select row_to_json(l) from (select ` + s.items + ` from ` + s.table + ` t where ` + condition + ` order by t.id) l`
}

// projectSQL is for psql, which takes no parameters with -c; the name needs no
// escaping.
func projectSQL(kind jobs.Kind) string {
	return sources[kind].linesSQL(`t.course_name = '` + demodata.DemoProject + `'`)
}

// oldPage is how many rows the platform's exporter asks for at once.
const oldPage = 100

// exportOldWay does what the platform's exporter does: all ids, then their rows
// by the hundred, each decoded and encoded again, into a file that is zipped
// when it is complete.
func exportOldWay(ctx context.Context, kind jobs.Kind, dir string) (out outcome, err error) {
	db, err := pgx.Connect(ctx, os.Getenv(sourceVar))
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, db.Close(context.WithoutCancel(ctx))) }()
	rows, err := db.Query(ctx, `select id from `+sources[kind].table+` where course_name = $1 order by id`, demodata.DemoProject)
	if err != nil {
		return out, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return out, err
	}
	lines, err := os.Create(filepath.Join(dir, "data.jsonl"))
	if err != nil {
		return out, err
	}
	defer lines.Close()
	for page := range slices.Chunk(ids, oldPage) {
		if err := oldWayPage(ctx, db, kind, page, lines); err != nil {
			return out, err
		}
	}
	size, err := zipped(lines, filepath.Join(dir, "data.zip"))
	return outcome{Rows: int64(len(ids)), Bytes: size}, err
}

func oldWayPage(ctx context.Context, db *pgx.Conn, kind jobs.Kind, ids []int64, w io.Writer) error {
	rows, err := db.Query(ctx, sources[kind].linesSQL(`t.id = any($1)`), ids)
	if err != nil {
		return err
	}
	page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (map[string]any, error) {
		return decoded(row.RawValues()[0])
	})
	if err != nil {
		return err
	}
	for _, row := range page {
		line, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// decoded keeps the numbers as written where one of them is too large for a
// float, which the platform's exporter survives.
func decoded(line []byte) (row map[string]any, err error) {
	if err := json.Unmarshal(line, &row); err == nil {
		return row, nil
	}
	row = nil
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	return row, d.Decode(&row)
}

func zipped(lines *os.File, name string) (size int64, err error) {
	if _, err := lines.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	file, err := os.Create(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	z := zip.NewWriter(file)
	w, err := z.Create(filepath.Base(lines.Name()))
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(w, lines); err != nil {
		return 0, err
	}
	if err := z.Close(); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// memberSize is that of the exporter.
const memberSize = 768 << 10

// compressAll is the floor's other half: nothing but compressing the lines, in
// members like ours, one after the other.
func compressAll(raw string) (out outcome, err error) {
	lines, err := os.Open(raw)
	if err != nil {
		return out, err
	}
	defer lines.Close()
	z, err := export.NewCompressor(gzipLevel)
	if err != nil {
		return out, err
	}
	piece, member := make([]byte, memberSize), []byte(nil)
	for {
		n, err := io.ReadFull(lines, piece)
		switch {
		case err == io.EOF:
			return out, nil
		case err != nil && err != io.ErrUnexpectedEOF:
			return out, err
		}
		if member, err = z.Member(member[:0], piece[:n]); err != nil {
			return out, err
		}
		out.Raw += int64(n)
		out.Bytes += int64(len(member))
	}
}
