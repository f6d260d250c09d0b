package config

import (
	"os"
	"strings"
	"testing"
)

// docs/configuration.md must hold the table that the struct makes. Running the
// tests with UPDATE_DOCS=1 writes it.
func TestDocsAreInStep(t *testing.T) {
	const path = "../../docs/configuration.md"
	const head = "# Settings\n\nAll from the environment. `api config` and `worker config` show what is in force, without secrets.\n\n"
	want := head + Markdown()
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not in step with the struct: run UPDATE_DOCS=1 go test ./internal/config", strings.TrimPrefix(path, "../../"))
	}
}
