package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestVettool runs the program as make check does, over a module that breaks
// the rules, and compares what it reports with the "// want name" comments.
func TestVettool(t *testing.T) {
	program := filepath.Join(t.TempDir(), "lint")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	module := filepath.Join("testdata", "module")
	vet := exec.Command("go", "vet", "-vettool="+program, "./...")
	vet.Dir = module
	out, err := vet.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		t.Fatalf("go vet passed: %v\n%s", err, out)
	}
	got, want := reported(string(out)), wanted(t, module)
	if !slices.Equal(got, want) {
		t.Errorf("reported\n\t%s\nwant\n\t%s\nall of it\n%s",
			strings.Join(got, "\n\t"), strings.Join(want, "\n\t"), out)
	}
}

var finding = regexp.MustCompile(`(?m)^(\S+\.go:\d+):\d+: .* \((\w+)\)$`)

func reported(out string) (findings []string) {
	for _, match := range finding.FindAllStringSubmatch(out, -1) {
		findings = append(findings, match[1]+" "+match[2])
	}
	slices.Sort(findings)
	return findings
}

func wanted(t *testing.T, root string) (findings []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "internal", "*", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		relative := strings.TrimPrefix(name, root+string(filepath.Separator))
		for i, line := range strings.Split(string(source), "\n") {
			_, names, _ := strings.Cut(line, "// want ")
			for _, analyzer := range strings.Fields(names) {
				findings = append(findings, fmt.Sprintf("%s:%d %s", relative, i+1, analyzer))
			}
		}
	}
	slices.Sort(findings)
	return findings
}
