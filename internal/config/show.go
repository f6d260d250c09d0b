package config

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
)

// Show prints every setting as it is in force, secrets only as set or not.
func (c Config) Show(w io.Writer) error {
	for f, v := range reflect.ValueOf(c).Fields() {
		value := fmt.Sprint(v.Interface())
		if f.Tag.Get("secret") == "yes" && value != "" {
			value = "(set)"
		}
		if _, err := fmt.Fprintf(w, "%s=%s\n", variable(f), value); err != nil {
			return fmt.Errorf("show settings: %w", err)
		}
	}
	return nil
}

// Markdown is the table of settings for the docs.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| variable | default | what |\n| --- | --- | --- |\n")
	for f := range reflect.TypeFor[Config]().Fields() {
		def := "`" + f.Tag.Get("envDefault") + "`"
		switch {
		case strings.HasSuffix(f.Tag.Get("env"), ",required"):
			def = "required"
		case def == "``":
			def = ""
		}
		name := "`" + variable(f) + "`"
		if slices.Contains(secrets, variable(f)) {
			name += " (or `" + variable(f) + "_FILE`)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, def, f.Tag.Get("doc"))
	}
	return b.String()
}

func variable(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
	return name
}
