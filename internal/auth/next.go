package auth

import (
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// maxNext bounds what is carried through a sign-in.
const maxNext = 2000

// localPath is where to go after the sign-in: next, if it is a path of this
// service and nothing that a browser could read otherwise, else the first page.
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil {
		return "/"
	}
	if !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") ||
		strings.ContainsFunc(next, misread) || strings.ContainsFunc(u.Path, misread) {
		return "/"
	}
	// A browser resolves these, written with per cent or not, and would leave
	// the service's own part of the host.
	if s := strings.Split(u.Path, "/"); slices.Contains(s, ".") || slices.Contains(s, "..") {
		return "/"
	}
	u.RawQuery = strings.ReplaceAll(u.RawQuery, " ", "%20") // as the path is
	// Where next is not properly escaped this escapes it anew, and forgets which
	// slashes were.
	to := u.RequestURI()
	if len(to) > maxNext || strings.HasPrefix(to, "//") {
		return "/"
	}
	return to
}

// misread is what browsers drop, or take for a slash.
func misread(r rune) bool { return r == '\\' || unicode.IsControl(r) || r == unicode.ReplacementChar }
