package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// root is the repository's.
const root = "../.."

// stages reads deploy/Dockerfile as BuildKit does.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "deploy/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// commands are those of one kind.
func commands[C any](s instructions.Stage) (list []C) {
	for _, c := range s.Commands {
		if c, ok := c.(C); ok {
			list = append(list, c)
		}
	}
	return list
}

// What is shipped is the last stage: nothing but the programs, run by nobody.
func TestDockerfile(t *testing.T) {
	all := stages(t)
	image := all[len(all)-1]
	if image.BaseName != "scratch" {
		t.Errorf("the image is made from %s", image.BaseName)
	}
	if users := commands[*instructions.UserCommand](image); len(users) != 1 || users[0].User != "65532:65532" {
		t.Errorf("the image's user is not 65532:65532: %v", users)
	}
	if checks := commands[*instructions.HealthCheckCommand](image); len(checks) != 1 || !slices.Equal(checks[0].Health.Test, []string{"CMD", "/usr/local/bin/api", "healthcheck"}) {
		t.Error("the image does not check its health by a program of its own")
	}
	if n := len(commands[*instructions.LabelCommand](image)); n != 1 {
		t.Errorf("%d lists of labels", n)
	}
	for _, s := range all {
		if s.BaseName != "scratch" && !strings.Contains(s.BaseName, ":") && !slices.ContainsFunc(all, func(o instructions.Stage) bool { return o.Name == s.BaseName }) {
			t.Errorf("%s has no tag", s.BaseName)
		}
		for _, run := range commands[*instructions.RunCommand](s) {
			line := strings.Join(run.CmdLine, " ")
			if strings.Contains(line, "go build") && (!strings.HasPrefix(line, "CGO_ENABLED=0 ") || !strings.Contains(line, " -trimpath ")) {
				t.Errorf("not static, or not the same everywhere: %s", line)
			}
		}
	}
}
