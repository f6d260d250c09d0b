package apt

import (
	"os"
	"path/filepath"
	"testing"
)

// A machine's own guard is neither replaced nor removed afterwards.
func TestPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sbin", "policy-rc.d")
	for i, want := range []bool{true, false} {
		if placed, err := place(path, "#!/bin/sh\n", 0o755); err != nil || placed != want {
			t.Errorf("time %d: %v %v", i+1, placed, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v %v", info, err)
	}
}
