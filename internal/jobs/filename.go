package jobs

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName bounds what CleanName leaves of a name: most file systems take 255
// bytes for all of it.
const maxName = 150

// Filename is the name that an export's file is offered under. Project names
// may hold anything.
func Filename(s Spec) string {
	name := CleanName(s.Project, "project")
	if s.Kind == Documents {
		return name + "-documents.jsonl.gz"
	}
	return name + "-convo_history.jsonl.gz"
}

// CleanName makes a part of a file name: what a file system, a header or a
// reader's eye could take for something else becomes an underscore, what lies
// beyond 150 bytes goes, and so do dots and spaces at both ends. If nothing is
// left, it is otherwise.
func CleanName(name, otherwise string) string {
	clean := make([]rune, 0, maxName)
	size := 0
	for _, r := range strings.TrimLeft(name, ". ") {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || strings.ContainsRune(`/\:*?"<>|;%`, r) || r == unicode.ReplacementChar {
			r = '_'
		}
		if size += utf8.RuneLen(r); size > maxName {
			break
		}
		clean = append(clean, r)
	}
	if name = strings.TrimRight(string(clean), ". "); name == "" {
		return otherwise
	}
	return name
}
