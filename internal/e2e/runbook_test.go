package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// headings are a page's, as anchors name them.
func headings(t *testing.T, page string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../docs", page))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for line := range strings.SplitSeq(string(b), "\n") {
		if text, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			found[strings.ReplaceAll(strings.ToLower(strings.Trim(text, "`")), " ", "-")] = true
		}
	}
	return found
}

// Each code that an export can fail with says in the runbook what to do.
func TestRunbookHasEveryCode(t *testing.T) {
	t.Parallel()
	sections := headings(t, "runbook.md")
	for _, code := range jobs.Codes {
		if !sections[code] {
			t.Errorf("docs/runbook.md has no section %s", code)
		}
	}
}
