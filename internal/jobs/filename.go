package jobs

import (
	"strings"
	"unicode"
)

// maxName bounds a project's share of a file name: most file systems take 255
// bytes for all of it.
const maxName = 150

// Filename is the name that a download is offered under. Project names may
// hold anything; what a file system, a header or a reader's eye could take
// for something else becomes an underscore.
func Filename(s Spec) string {
	name := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || strings.ContainsRune(`/\:*?"<>|;%`, r) || r == unicode.ReplacementChar {
			return '_'
		}
		return r
	}, s.Project)
	name = strings.Trim(name, ". ")
	for len(name) > maxName {
		r := []rune(name)
		name = string(r[:len(r)-1])
	}
	if name == "" {
		name = "project"
	}
	if s.Kind == Documents {
		return name + "-documents.jsonl.gz"
	}
	return name + "-convo_history.jsonl.gz"
}
