package jobs

import (
	"strings"
	"testing"
	"time"
)

func TestParseBound(t *testing.T) {
	for _, c := range []struct {
		in    string
		upper bool
		want  string // empty: refused
	}{
		{"2024-02-29", false, "2024-02-29T00:00:00Z"},
		{"2024-02-29", true, "2024-03-01T00:00:00Z"},
		{"2024-12-31", true, "2025-01-01T00:00:00Z"},
		{"2024-02-29T10:00:00+02:00", true, "2024-02-29T08:00:00Z"},
		{"2024-02-29T10:00:00.123456789Z", false, "2024-02-29T10:00:00.123457Z"},
		{"2024-02-29T10:00:00.123456Z", true, "2024-02-29T10:00:00.123456Z"},
		{"2023-02-29", false, ""}, {"2024-02-29T10:00:00", false, ""}, {"yesterday", false, ""},
		{" 2024-02-29", false, ""}, {"2024-02-29T24:00:01Z", false, ""}, {"99999-01-01", false, ""},
	} {
		got, err := parseBound(c.in, c.upper)
		if (err != nil) != (c.want == "") {
			t.Errorf("%q: %v", c.in, err)
		} else if err == nil && got.Format(time.RFC3339Nano) != c.want {
			t.Errorf("%q: %v, want %s", c.in, got, c.want)
		}
	}
	if got, err := parseBound("", true); got != nil || err != nil {
		t.Errorf("empty: %v %v", got, err)
	}
}

func FuzzParseBound(f *testing.F) {
	f.Add("2024-02-29", true)
	f.Add("2024-02-29T10:00:00.9999999+14:00", false)
	f.Fuzz(func(t *testing.T, s string, upper bool) {
		got, err := parseBound(s, upper)
		if err == nil && got != nil && (got.Nanosecond()%1000 != 0 || got.Location() != time.UTC) {
			t.Errorf("%q became %v", s, got)
		}
	})
}

func TestFilename(t *testing.T) {
	for project, want := range map[string]string{
		"myProject":            "myProject-convo_history.jsonl.gz",
		"Курс 2024/25":         "Курс 2024_25-convo_history.jsonl.gz",
		"../../etc/passwd":     "_.._etc_passwd-convo_history.jsonl.gz",
		"a\"\r\nSet-Cookie: x": "a___Set-Cookie_ x-convo_history.jsonl.gz",
		"evil\u202egpj":        "evil_gpj-convo_history.jsonl.gz",
		"...":                  "project-convo_history.jsonl.gz",
		"\xff":                 "_-convo_history.jsonl.gz",
	} {
		if got := Filename(Spec{Project: project, Kind: Conversations}); got != want {
			t.Errorf("%q: %q, want %q", project, got, want)
		}
	}
	long := Filename(Spec{Project: strings.Repeat("é", 500), Kind: Documents})
	if len(long) > 255 || !strings.HasSuffix(long, "é-documents.jsonl.gz") {
		t.Errorf("a long name has %d bytes: %s", len(long), long)
	}
}
