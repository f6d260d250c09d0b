package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	passes = `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"fail"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p"}
{"Action":"skip","Package":"no/tests"}
`
	fails = `{"Action":"fail","Package":"q","Test":"TestC"}
{"Action":"fail","Package":"q"}
`
	breaks = `{"ImportPath":"r [r.test]","Action":"build-fail"}
{"Action":"fail","Package":"r"}
`
	skips = `{"Action":"skip","Package":"q","Test":"TestD/sub"}
`
)

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		files   []string
		minimum int
		out     string
		err     string
	}{
		"passed":          {[]string{passes}, 2, "2 passed, 0 failed\n", ""},
		"several files":   {[]string{passes, passes}, 4, "4 passed, 0 failed\n", ""},
		"too few":         {[]string{passes}, 3, "2 passed, 0 failed\n", "2 tests ran, at least 3"},
		"none":            {[]string{""}, 0, "0 passed, 0 failed\n", "0 tests ran, at least 1"},
		"a failed test":   {[]string{passes, fails}, 0, "failed: q TestC\n2 passed, 1 failed\n", "tests failed"},
		"a broken build":  {[]string{passes, breaks}, 0, "failed: r\n2 passed, 1 failed\n", "tests failed"},
		"a skipped test":  {[]string{passes, skips}, 0, "skipped: q TestD/sub\n2 passed, 0 failed, 1 skipped\n", "tests were skipped"},
		"not from a test": {[]string{"oops"}, 0, "", "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := run(&out, writeFiles(t, c.files), c.minimum)
			if out.String() != c.out {
				t.Errorf("printed %q, want %q", out.String(), c.out)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
}

func writeFiles(t *testing.T, contents []string) (names []string) {
	t.Helper()
	dir := t.TempDir()
	for i, content := range contents {
		name := filepath.Join(dir, string(rune('a'+i)))
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}
