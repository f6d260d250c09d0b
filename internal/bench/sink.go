package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/bulkexport/bulkexport/internal/export"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// fileName is what a contender's file is called in its folder; the parts of an
// upload have their numbers behind it.
const fileName = "data.jsonl.gz"

// sink is a bucket that keeps objects as files of one folder, and the parts of
// an upload as they come, for they come side by side.
type sink struct{ dir string }

var _ export.Bucket = (*sink)(nil)

// Create implements export.Bucket.
func (s *sink) Create(context.Context, string) (string, error) { return "upload", nil }

// PutPart implements export.Bucket.
func (s *sink) PutPart(_ context.Context, _ jobs.Upload, p jobs.Part, data []byte) (string, error) {
	return p.CRC32C, s.write(fmt.Sprintf("%s.%05d", fileName, p.Number), data)
}

// Complete implements export.Bucket.
func (s *sink) Complete(context.Context, jobs.Upload, []jobs.Part) error { return nil }

// Put implements export.Bucket.
func (s *sink) Put(_ context.Context, key, _ string, p jobs.Part, data []byte) (string, error) {
	return p.CRC32C, s.write(path.Base(key), data)
}

func (s *sink) write(name string, data []byte) error {
	return os.WriteFile(filepath.Join(s.dir, name), data, 0o600)
}

// Verify implements export.Bucket.
func (s *sink) Verify(_ context.Context, _ string, parts []jobs.Part) (jobs.Proof, error) {
	var want, got int64
	for _, p := range parts {
		want += p.Bytes
	}
	files, err := filesOf(s.dir)
	if err != nil {
		return "", err
	}
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			return "", err
		}
		got += info.Size()
	}
	if got != want {
		return "", fmt.Errorf("the file has %d bytes, %d were sent", got, want)
	}
	return jobs.BySize, nil
}

// Discard implements export.Bucket; the bench removes the folder.
func (s *sink) Discard(context.Context, jobs.Upload) error { return nil }

// filesOf lists what makes up a contender's file, in order.
func filesOf(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, fileName+"*"))
	slices.Sort(files)
	return files, err
}
