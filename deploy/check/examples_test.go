package check

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/config"
	"github.com/bulkexport/bulkexport/internal/redisurl"
)

// read reads a file of NAME=value lines.
func read(t *testing.T, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := make(map[string]string)
	for line := range strings.SplitSeq(strings.TrimSpace(string(b)), "\n") {
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			set[name] = value
		}
	}
	return set
}

// Each file of examples makes settings that the programs take.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(root + "/deploy/examples/*.env")
	if err != nil || len(files) != 3 {
		t.Fatalf("%v %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			set := map[string]string{
				"DATABASE_URL": "postgres://h/d", "REDIS_URL": "redis://h", "PLATFORM_REDIS_URL": "redis://h",
				"S3_ENDPOINT": "https://h", "S3_BUCKET": "b",
			}
			example := read(t, file)
			maps.Copy(set, example)
			for name := range example {
				if _, known := settings()[name]; !known {
					t.Errorf("no program knows %s", name)
				}
			}
			var environ []string
			for _, name := range slices.Sorted(maps.Keys(set)) {
				environ = append(environ, name+"="+set[name])
			}
			c, err := config.Load(environ)
			if err != nil {
				t.Fatal(err)
			}
			for _, url := range []string{c.RedisURL, c.PlatformRedisURL} {
				if client, err := redisurl.Open(url); err != nil {
					t.Error(err)
				} else if err := client.Close(); err != nil {
					t.Error(err)
				}
			}
			for _, url := range []string{c.DatabaseURL, c.SourceDatabaseURL} {
				if _, err := pgx.ParseConfig(url); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
