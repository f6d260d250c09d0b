package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/client"
)

// Names and words of others must not steer a terminal.
func TestPlain(t *testing.T) {
	bad := "a\x1b]0;owned\x07\u202e\u009b2J\r\nb"
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs}
	j := client.Job{ID: "j1", Project: bad, RequestedBy: bad, State: client.Failed, Error: &client.Failure{Message: bad}}
	if err := a.show(j); err != nil {
		t.Fatal(err)
	}
	if err := table(&out, []client.Job{j}); err != nil {
		t.Fatal(err)
	}
	a.tell(errors.New(bad))
	text := out.String() + errs.String()
	if strings.ContainsAny(text, "\x1b\x07\u202e\u009b\r") || strings.Contains(text, "\nb") || strings.Count(text, "owned") != 5 {
		t.Errorf("%q", text)
	}
	if got := plain("Курс 2024/25 — 数学 é"); got != "Курс 2024/25 — 数学 é" {
		t.Errorf("%q", got)
	}
}
