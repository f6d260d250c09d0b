package main

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// stage is what the contenders run on.
type stage struct {
	dir   string
	admin *pgx.Conn
	meter *meter
	kinds []jobs.Kind
	data  map[int64]*dataset // by size
}

func openStage(ctx context.Context, dir string, kinds []jobs.Kind) (*stage, error) {
	admin, err := pgx.Connect(ctx, os.Getenv(adminVar))
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, admin: admin, kinds: kinds, data: map[int64]*dataset{}}
	if s.meter, err = newMeter(ctx, admin); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

func (s *stage) close(ctx context.Context) { _ = s.admin.Close(context.WithoutCancel(ctx)) }

// dataset is filled when it is first asked for.
func (s *stage) dataset(ctx context.Context, size int64) (*dataset, error) {
	if d := s.data[size]; d != nil {
		return d, nil
	}
	d, err := fill(ctx, s.admin, s.kinds, size)
	if err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	s.data[size] = d
	return d, nil
}

// result is all rounds of one kind at one size.
type result struct {
	kind      jobs.Kind
	rows, raw int64
	share     float64
	cores     int
	chosen    []contender
	runs      map[string][]usage
	made      map[string]outcome
	sameRows  bool // as psql's; known where both ran
}

// measure runs the contenders in turns, so that whatever changes on the machine
// meets all of them.
func (s *stage) measure(ctx context.Context, kind jobs.Kind, size int64, rounds int, chosen []contender) (r result, err error) {
	data, err := s.dataset(ctx, size)
	if err != nil {
		return r, err
	}
	t := task{kind: kind, data: data, raw: filepath.Join(s.dir, "raw.jsonl")}
	r = result{
		kind: kind, share: data.share[kind], cores: cores(), chosen: chosen,
		runs: map[string][]usage{}, made: map[string]outcome{},
	}
	if r.rows, r.raw, err = s.warmUp(ctx, t); err != nil {
		return r, fmt.Errorf("warm-up: %w", err)
	}
	files := map[string]digest{}
	for round := range rounds {
		for _, c := range chosen {
			u, out, err := s.once(ctx, c, t, func(dir string) error {
				if round < rounds-1 || (c.name != oursLocal && c.name != psqlGzip6) {
					return nil
				}
				var err error
				files[c.name], err = digestOf(dir)
				return err
			})
			if err != nil {
				return r, fmt.Errorf("%s: %w", c.name, err)
			}
			say("%s, %s, round %d of %d, %s: %.2f s, CPU %.2f s, %s", kind, megabytes(size), round+1, rounds, c.name, u.wall, u.cpu, megabytes(out.Bytes))
			r.runs[c.name] = append(r.runs[c.name], u)
			r.made[c.name] = out
		}
	}
	return r, r.compare(files)
}

// warmUp brings the tables into memory by an unmeasured export, and keeps its
// lines for those who only compress.
func (s *stage) warmUp(ctx context.Context, t task) (rows, raw int64, err error) {
	_, out, err := s.once(ctx, contender{name: oursLocal}, t, func(dir string) (err error) {
		lines, err := openLines(dir)
		if err != nil {
			return err
		}
		defer lines.Close()
		file, err := os.Create(t.raw)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		_, err = io.Copy(file, lines)
		return err
	})
	return out.Rows, out.Raw, err
}

// once runs a contender in a folder of its own, lets look at its output and
// removes that.
func (s *stage) once(ctx context.Context, c contender, t task, look func(dir string) error) (u usage, out outcome, err error) {
	if t.dir, err = os.MkdirTemp(s.dir, c.name+"-"); err != nil {
		return u, out, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(t.dir)) }()
	if u, out, err = c.run(ctx, s.meter, t); err != nil {
		return u, out, err
	}
	if c.name == oursS3 {
		b, err := openBucket()
		if err != nil {
			return u, out, err
		}
		return u, out, b.Discard(ctx, *out.Upload)
	}
	return u, out, look(t.dir)
}

// compare holds our file against psql's.
func (r *result) compare(files map[string]digest) error {
	ours, psql := files[oursLocal], files[psqlGzip6]
	if ours.rows > 0 && ours.rows != r.rows {
		return fmt.Errorf("our file has %d lines, the job says %d", ours.rows, r.rows)
	}
	if ours.rows == 0 || psql.rows == 0 {
		return nil
	}
	if ours != psql {
		return fmt.Errorf("our file has %d rows, psql's has %d, or their ids differ", ours.rows, psql.rows)
	}
	r.sameRows = true
	return nil
}

// digest is how many rows a file has and a hash over their ids.
type digest struct {
	rows int64
	ids  uint64
}

// digestOf counts JSON values rather than lines: a column of type json keeps
// line breaks between tokens, and psql writes them.
func digestOf(dir string) (d digest, err error) {
	lines, err := openLines(dir)
	if err != nil {
		return d, err
	}
	defer lines.Close()
	ids := fnv.New64a()
	values := json.NewDecoder(lines)
	for {
		var row struct{ ID int64 }
		switch err := values.Decode(&row); {
		case err == io.EOF:
			d.ids = ids.Sum64()
			return d, nil
		case err != nil:
			return d, fmt.Errorf("row %d: %w", d.rows+1, err)
		}
		d.rows++
		_ = binary.Write(ids, binary.BigEndian, row.ID) // a hash takes everything
	}
}

// lineReader is a contender's file, unpacked.
type lineReader struct {
	io.Reader
	files []io.Closer
}

func openLines(dir string) (*lineReader, error) {
	names, err := filesOf(dir)
	if err != nil {
		return nil, err
	}
	l := &lineReader{}
	var parts []io.Reader
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.files = append(l.files, file)
		parts = append(parts, file)
	}
	if l.Reader, err = gzip.NewReader(io.MultiReader(parts...)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Close closes all parts.
func (l *lineReader) Close() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
