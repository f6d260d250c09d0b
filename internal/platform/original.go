package platform

import (
	"context"
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Original implements jobs.Catalogue. Web pages have no path.
func (s *Source) Original(ctx context.Context, project string, document int64) (key, filename string, err error) {
	var readable string
	err = s.lookUp(ctx, `select coalesce(s3_path, ''), coalesce(readable_filename, '') from documents
		where id = $1 and course_name = $2`, []any{document, project}, &key, &readable)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return "", "", jobs.ErrNotFound
	case err != nil:
		return "", "", err
	case !isOriginal(key):
		return "", "", jobs.ErrNoOriginal
	}
	return key, originalName(key, readable), nil
}

// maxKey is the longest key that S3 has, in bytes.
const maxKey = 1024

// isOriginal reports whether a path is one under which the platform keeps a
// document's file: courses/{course}/{file}. The course need not be the
// document's own: when the platform copies documents into another project, the
// copies keep their path.
func isOriginal(key string) bool {
	parts := strings.Split(key, "/")
	odd := func(part string) bool { return part == "" || part == "." || part == ".." }
	return len(parts) >= 3 && parts[0] == "courses" && len(key) <= maxKey &&
		!slices.ContainsFunc(parts, odd) && !strings.ContainsFunc(key, unicode.IsControl)
}

// uuidPrefix stands before the name that a file had when it was uploaded.
var uuidPrefix = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}-`)

// maxExtension is the longest end of a name, in bytes, that is taken for its type.
const maxExtension = 16

// originalName is what a file is offered as: its readable name if that tells
// the same type, else the name that it was uploaded under.
func originalName(key, readable string) string {
	name := uuidPrefix.ReplaceAllString(path.Base(key), "")
	if ext := path.Ext(name); ext != "" && strings.EqualFold(path.Ext(readable), ext) {
		name = readable
	}
	ext := path.Ext(name)
	if len(ext) > maxExtension {
		ext = ""
	}
	stem := jobs.CleanName(name[:len(name)-len(ext)], "document")
	if ext = jobs.CleanName(ext, ""); ext != "" {
		ext = "." + ext
	}
	return stem + ext
}
