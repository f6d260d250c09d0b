package auth_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/auth"
)

func TestLocalPath(t *testing.T) {
	for next, want := range map[string]string{
		"":                               "/",
		"/":                              "/",
		"/p/CS 101?kind=documents&a=%2F": "/p/CS%20101?kind=documents&a=%2F",
		"/p/x?from=1 May ":               "/p/x?from=1%20May%20",
		"/exports/1#top":                 "/exports/1",
		"/p/a%2Fb":                       "/p/a%2Fb",
		"exports":                        "/",
		"//evil.example":                 "/",
		"///evil.example":                "/",
		"/\\evil.example":                "/",
		"\\\\evil.example":               "/",
		"/%5cevil.example":               "/",
		"/\t/evil.example":               "/",
		"\t//evil.example":               "/",
		" //evil.example":                "/",
		"/a\r\nLocation: //evil":         "/",
		"/%0d%0aLocation: //evil":        "/",
		"https://evil.example":           "/",
		"https:evil.example":             "/",
		"javascript:alert(1)":            "/",
		"/../elsewhere":                  "/",
		"/a/%2e%2E/b":                    "/",
		"/a/./b":                         "/",
		"/%2F x":                         "/",
		"/%":                             "/",
		"/" + strings.Repeat("a", 2000):  "/",
	} {
		if got := auth.LocalPath(next); got != want {
			t.Errorf("%q: %q, want %q", next, got, want)
		}
	}
}

// Whatever is asked for, and however a browser reads it, it stays on this host
// and below this service's own path.
func FuzzLocalPath(f *testing.F) {
	for _, s := range []string{"/", "/p/x?y=z#f", "//e", "/\\e", "/%5ce", "/\t/e", "/a/../b", "/%2e%2e/b", "http://e", "/?//e", "/a;b", "/é", "/%ff", "/%2F "} {
		f.Add(s)
	}
	const base = "https://export.example.org/bulk"
	read := strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/")
	f.Fuzz(func(t *testing.T, next string) {
		got := auth.LocalPath(next)
		if again := auth.LocalPath(got); again != got {
			t.Errorf("%q became %q, and that %q", next, got, again)
		}
		for _, text := range []string{got, read.Replace(got)} {
			if !strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") || strings.Contains(text, " ") {
				t.Fatalf("%q became %q", next, got)
			}
			u, err := url.Parse(base + text)
			if err != nil {
				t.Fatal(err)
			}
			if u = u.JoinPath(); u.Host != "export.example.org" || u.User != nil || !strings.HasPrefix(u.Path, "/bulk/") {
				t.Errorf("%q leads to %s", next, u)
			}
		}
	})
}
