package check

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/config"
)

// settings are all variables that the programs know, and whether a file may
// hold what they are to be.
func settings() map[string]bool {
	known := make(map[string]bool)
	for f := range reflect.TypeFor[config.Config]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		known[name] = f.Tag.Get("secret") != ""
	}
	return known
}

// checkSettings: what is set is known, and what is known is set, or left as it is
// on purpose.
func checkSettings(t *testing.T, who string, set map[string]string, left ...string) {
	t.Helper()
	known := settings()
	for name := range set {
		of, file := strings.CutSuffix(name, "_FILE")
		if secret, ok := known[of]; !ok || file && !secret {
			t.Errorf("%s: no program knows %s", who, name)
		}
	}
	asDefault := make(map[string]bool)
	for _, name := range left {
		asDefault[name] = true
		if _, ok := known[name]; !ok {
			t.Errorf("%s: left as it is, but no program knows %s", who, name)
		}
	}
	for name := range known {
		_, value := set[name]
		_, file := set[name+"_FILE"]
		if (value || file) == asDefault[name] {
			t.Errorf("%s: %s is set: %t; left as it is: %t", who, name, value || file, asDefault[name])
		}
	}
	var environ []string
	for name, value := range set {
		environ = append(environ, name+"="+value)
	}
	if _, err := config.Load(environ); err != nil {
		t.Errorf("%s: %v", who, err)
	}
}
