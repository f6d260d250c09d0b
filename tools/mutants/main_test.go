package main

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// section is one invariant of docs/invariants.md.
type section struct {
	number            string
	in, tests, faults string
}

var code = regexp.MustCompile("`([^`]+)`")

// names are what stands in backticks.
func names(s string) (list []string) {
	for _, m := range code.FindAllStringSubmatch(s, -1) {
		list = append(list, m[1])
	}
	return list
}

// sections reads the page.
func sections(t *testing.T) (list []section) {
	t.Helper()
	page, err := os.ReadFile(root + "/docs/invariants.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range strings.Split(string(page), "\n## ")[1:] {
		s := section{number: text[:strings.Index(text, ".")]}
		for line := range strings.Lines(text) {
			for mark, dst := range map[string]*string{"- **In** ": &s.in, "- **Tests** ": &s.tests, "- **Planted faults** ": &s.faults} {
				if v, ok := strings.CutPrefix(line, mark); ok {
					*dst = v
				}
			}
		}
		list = append(list, s)
	}
	return list
}

// sources are the Go files of the repository, by path.
func sources(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	dir := os.DirFS(root)
	err := fs.WalkDir(dir, "internal", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := fs.ReadFile(dir, path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Each name on the page of invariants exists, and each invariant has a place, a
// test and a planted fault.
func TestInvariantsNameWhatExists(t *testing.T) {
	files := sources(t)
	for _, s := range sections(t) {
		if s.in == "" || s.tests == "" || s.faults == "" {
			t.Errorf("invariant %s lacks a place, a test or a planted fault", s.number)
		}
		file := ""
		for _, name := range names(s.in) {
			if strings.Contains(name, "/") {
				if file = name; files[file] == "" {
					t.Errorf("invariant %s: no file %s", s.number, name)
				}
			} else if !regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|const |var |type |\t)` + name + `\b`).MatchString(files[file]) {
				t.Errorf("invariant %s: no %s in %s", s.number, name, file)
			}
		}
		for _, name := range names(s.tests) {
			if !declared(files, name) {
				t.Errorf("invariant %s: no test %s", s.number, name)
			}
		}
	}
}

func declared(files map[string]string, test string) bool {
	for path, text := range files {
		if strings.HasSuffix(path, "_test.go") && strings.Contains(text, "\nfunc "+test+"(") {
			return true
		}
	}
	return false
}

// Each test and planted fault that docs/security.md names exists.
func TestSecurityNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	files := sources(t)
	tests, faults := 0, 0
	for _, name := range names(string(page)) {
		switch {
		case strings.HasPrefix(name, "Test"), strings.HasPrefix(name, "Fuzz"):
			if tests++; !declared(files, name) {
				t.Errorf("no test %s", name)
			}
		case regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`).MatchString(name) && name != "no-store":
			faults++
			if _, err := os.Stat(name + ".patch"); err != nil {
				t.Errorf("no planted fault %s", name)
			}
		}
	}
	if tests < 40 || faults < 15 {
		t.Errorf("only %d tests and %d planted faults are named", tests, faults)
	}
}

// The page and the patches name each other.
func TestInvariantsAndPlantedFaultsAgree(t *testing.T) {
	mutants, err := load(os.DirFS("."), nil)
	if err != nil {
		t.Fatal(err)
	}
	var patches, page []string
	for _, m := range mutants {
		patches = append(patches, m.invariant+" "+m.name)
	}
	for _, s := range sections(t) {
		for _, name := range names(s.faults) {
			page = append(page, s.number+" "+name)
		}
	}
	slices.Sort(patches)
	slices.Sort(page)
	if a, b := fmt.Sprint(patches), fmt.Sprint(page); a != b {
		t.Errorf("the patches are\n%s\nthe page has\n%s", a, b)
	}
}

func TestParse(t *testing.T) {
	head := "protection: a\ninvariant: 2\ntest: TestX\npackage: ./p\nsays: s\n\n"
	if m, err := parse("n", head+"diff --git a/x b/x\n"); err != nil || m.test != "TestX" || m.pkg != "./p" || m.says != "s" {
		t.Errorf("%+v %v", m, err)
	}
	if _, err := parse("n", "protection: a\ndiff --git a/x b/x\n+test: no\n"); err == nil {
		t.Error("a head without a test was taken")
	}
}

// A change of the code that a patch was made for must not wait for the next
// "make mutants" to be found out.
func TestPatchesApply(t *testing.T) {
	mutants, err := load(os.DirFS("."), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		if err := m.apply(root, "--check"); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
