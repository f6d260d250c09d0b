package platform

import (
	"path"
	"strings"
	"testing"
	"unicode"
)

// Whatever path the platform has stored: what is handed out lies where the
// originals are, under a name that is one.
func FuzzOriginal(f *testing.F) {
	f.Add("courses/mine/de300000-0000-4000-8000-000000000001-a.pdf", "a.PDF")
	f.Add("courses/mine/../x", "")
	f.Add("courses/a/b/.\u202e. ", "ſ.ſ")
	f.Fuzz(func(t *testing.T, key, readable string) {
		if isOriginal(key) && (path.Clean(key) != key || !strings.HasPrefix(key, "courses/")) {
			t.Errorf("%q", key)
		}
		name := originalName(key, readable)
		odd := func(r rune) bool {
			return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(`/\:"`, r)
		}
		if name == "" || len(name) > 255 || strings.ContainsFunc(name, odd) || name != strings.Trim(name, ". ") {
			t.Errorf("%q, %q: %q", key, readable, name)
		}
	})
}
