package parts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindPostgres(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	installed := t.TempDir()
	_, err := findPostgres(installed)
	if !errors.Is(err, ErrNoPostgres) || !strings.Contains(err.Error(), "apt-get install -y postgresql") {
		t.Errorf("nothing installed: %v", err)
	}
	for _, v := range []string{"9", "14", "15", "17"} {
		bin := filepath.Join(installed, v, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "initdb"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if dir, err := findPostgres(installed); err != nil || dir != filepath.Join(installed, "17", "bin") {
		t.Errorf("chose %q, %v", dir, err)
	}
}
