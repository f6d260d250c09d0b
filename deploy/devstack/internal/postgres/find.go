package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// oldest is the first version that has all that the service's SQL asks for.
const oldest = 15

// ErrMissing says what to install.
var ErrMissing = errors.New(`the server programs of PostgreSQL 15 or newer are not installed
(looked for in PATH and in /usr/lib/postgresql). On Debian and Ubuntu:

    sudo apt-get update && sudo apt-get install -y postgresql`)

// folders are where distributions put the server programs, outside of PATH.
var folders = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"}

// Find returns the folder of the newest server programs.
func Find(ctx context.Context) (string, error) {
	return find(ctx, os.Getenv("PATH"), folders)
}

func find(ctx context.Context, path string, globs []string) (string, error) {
	dirs := filepath.SplitList(path)
	for _, glob := range globs {
		more, err := filepath.Glob(glob)
		if err != nil {
			return "", fmt.Errorf("look for postgres in %s: %w", glob, err)
		}
		dirs = append(dirs, more...)
	}
	best, newest := "", oldest-1
	for _, dir := range dirs {
		if v := version(ctx, dir); v > newest {
			best, newest = dir, v
		}
	}
	if best == "" {
		return "", ErrMissing
	}
	return best, nil
}

var versionNumber = regexp.MustCompile(`\) (\d+)`)

// version is the major version of the server programs in dir; 0 if there are
// none, or not all that are needed.
func version(ctx context.Context, dir string) int {
	if !strings.HasPrefix(dir, "/") {
		return 0
	}
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return 0
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return 0
	}
	m := versionNumber.FindSubmatch(out) // postgres (PostgreSQL) 17.5 (Debian …)
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return n
}
