package client

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName leaves room for .part.json in the 255 bytes that most file systems take.
const maxName = 200

// FileName is the name that a job's file is saved under. The API's own cleaning
// is not relied on: what could lead to another folder, or be taken for something
// else on a screen, becomes an underscore.
func FileName(j Job) string {
	if j.Result != nil {
		if name := cleanName(j.Result.Filename); name != "" {
			return name
		}
	}
	return "export.jsonl.gz"
}

// cleanName is empty where nothing is left of a name.
func cleanName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) || strings.ContainsRune(`:*?"<>|`, r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	if over := len(name) - maxName; over > 0 { // the ending says what it is
		head, tail, _ := strings.Cut(name, ".")
		head = head[:max(0, len(head)-over)]
		for !utf8.ValidString(head) {
			head = head[:len(head)-1]
		}
		name = head + "." + tail
	}
	name = strings.Trim(name, ". ")
	if len(name) > maxName || device(name) {
		return ""
	}
	return name
}

// device reports the names that Windows has given away, whatever follows them.
func device(name string) bool {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch stem = strings.TrimRight(stem, " "); stem {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return utf8.RuneCountInString(stem) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT"))
}
