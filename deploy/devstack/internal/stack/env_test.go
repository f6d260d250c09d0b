package stack

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stack.env")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	want := `it's "$HOME" \ ` + "`id`\n!"
	if err := (Env{{"A", want}, {"B", ""}}).WriteFile(path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Error(info.Mode())
	}
	out, err := exec.Command("sh", "-c", `. "$1"; sh -c 'printf %s "$A"'`, "sh", path).Output()
	if err != nil || string(out) != want {
		t.Errorf("%q %v", out, err)
	}
}

func TestOver(t *testing.T) {
	got := Env{{"A", "1"}, {"B", "2"}}.Over([]string{"HOME=/root", "A=0", "B_FILE=/secret", "AB=kept"})
	if want := []string{"HOME=/root", "AB=kept", "A=1", "B=2"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
