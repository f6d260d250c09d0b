package stack

import (
	"bytes"
	"fmt"
	"strings"
)

// Var is a variable of the environment.
type Var struct{ Name, Value string }

// Env is a list of variables.
type Env []Var

// Get returns the value of a variable, or nothing.
func (e Env) Get(name string) string {
	for _, v := range e {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

// Over returns the variables of base and these in the form of os.Environ.
// These win over their namesakes, and over the files that base names for them:
// the service refuses a secret that is given twice.
func (e Env) Over(base []string) []string {
	ours := make(map[string]bool, 2*len(e))
	for _, v := range e {
		ours[v.Name], ours[v.Name+"_FILE"] = true, true
	}
	var list []string
	for _, line := range base {
		if name, _, _ := strings.Cut(line, "="); !ours[name] {
			list = append(list, line)
		}
	}
	for _, v := range e {
		list = append(list, v.Name+"="+v.Value)
	}
	return list
}

// WriteFile writes the variables in shell syntax, whole or not at all, for the
// owner alone.
func (e Env) WriteFile(path string) error {
	var b bytes.Buffer
	for _, v := range e {
		fmt.Fprintf(&b, "export %s='%s'\n", v.Name, strings.ReplaceAll(v.Value, "'", `'\''`))
	}
	return writeFile(path, b.Bytes())
}
