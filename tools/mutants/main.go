// Command mutants tests the tests: it takes one protection at a time out of
// a scratch copy of the repository, by the patches beside this file, and shows
// that the test which watches it fails, and says so. A patch that does not apply
// or compile any more counts as a failure.
//
//	make mutants ARGS='fence-end'
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(only []string) error {
	mutants, err := load(os.DirFS("tools/mutants"), only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := scratch(dir); err != nil {
		return err
	}
	if err := healthy(dir, mutants); err != nil {
		return err
	}
	escaped := 0
	for _, m := range mutants {
		began := time.Now()
		verdict := "caught"
		if err := m.try(dir); err != nil {
			verdict = "ESCAPED: " + err.Error()
			escaped++
		}
		fmt.Printf("%-28s %-44s %5.1f s  %s\n", m.name, m.test, time.Since(began).Seconds(), verdict)
	}
	fmt.Printf("%d planted faults, %d caught\n", len(mutants), len(mutants)-escaped)
	if escaped > 0 {
		return fmt.Errorf("%d planted faults were not caught", escaped)
	}
	return nil
}

// mutant is a patch: its head says what it takes out and what must notice.
type mutant struct {
	name string
	patch,
	protection, // what it takes out
	invariant, // number in docs/invariants.md
	test, // that must fail
	pkg, // its directory
	says string // what the test must say
}

// load reads all patches, or those that are named.
func load(dir fs.FS, only []string) ([]mutant, error) {
	files, err := fs.Glob(dir, "*.patch")
	if err != nil {
		return nil, err
	}
	var list []mutant
	for _, file := range files {
		name := strings.TrimSuffix(file, ".patch")
		if len(only) > 0 && !slices.Contains(only, name) {
			continue
		}
		text, err := fs.ReadFile(dir, file)
		if err != nil {
			return nil, err
		}
		m, err := parse(name, string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil, errors.New("no such patch")
	}
	return list, nil
}

// parse reads the head of a patch.
func parse(name, text string) (mutant, error) {
	m := mutant{name: name, patch: text}
	for field, dst := range map[string]*string{
		"protection": &m.protection, "invariant": &m.invariant, "test": &m.test, "package": &m.pkg, "says": &m.says,
	} {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "diff ") {
				break
			}
			if v, ok := strings.CutPrefix(line, field+": "); ok {
				*dst = strings.TrimSpace(v)
			}
		}
		if *dst == "" {
			return m, fmt.Errorf("its head has no line %q", field+": …")
		}
	}
	return m, nil
}

// scratch copies what git tracks, as it is in the work tree.
func scratch(dir string) error {
	list, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	for path := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted and not yet committed
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// healthy shows that the tests pass as long as nothing is taken out: one that
// fails anyway would seem to catch everything.
func healthy(dir string, mutants []mutant) error {
	tests := map[string][]string{}
	for _, m := range mutants {
		if !slices.Contains(tests[m.pkg], m.test) {
			tests[m.pkg] = append(tests[m.pkg], m.test)
		}
	}
	for pkg, names := range tests {
		if out, err := goTest(dir, pkg, strings.Join(names, "|")); err != nil {
			return fmt.Errorf("without any fault, in %s:\n%s", pkg, out)
		}
	}
	return nil
}

// try plants the fault, runs the test and takes the fault back.
func (m mutant) try(dir string) (err error) {
	if err := m.apply(dir); err != nil {
		return fmt.Errorf("the patch does not apply: %w", err)
	}
	defer func() { err = errors.Join(err, m.apply(dir, "--reverse")) }()
	build := exec.Command("go", "vet", m.pkg)
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("does not compile: %s", out)
	}
	out, err := goTest(dir, m.pkg, m.test)
	switch {
	case err == nil:
		return fmt.Errorf("%s passes", m.test)
	case !strings.Contains(out, "--- FAIL: "+m.test) || !strings.Contains(out, m.says):
		return fmt.Errorf("the test does not say %q:\n%s", m.says, out)
	}
	return nil
}

func (m mutant) apply(dir string, flags ...string) error {
	cmd := exec.Command("git", append([]string{"apply", "--whitespace=nowarn"}, flags...)...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(m.patch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func goTest(dir, pkg, test string) (string, error) {
	cmd := exec.Command("go", "test", "-count=1", "-timeout=3m", "-run", "^("+test+")$", pkg)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}
