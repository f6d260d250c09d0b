// Command tally adds up the events of "go test -json" from several files. It
// refuses failed and skipped tests, and fewer tests than a minimum: a suite
// that quietly stopped running looks like one that passes.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	minimum := flag.Int("min", 0, "refuse fewer passed tests than this")
	flag.Parse()
	if err := run(os.Stdout, flag.Args(), *minimum); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
}

// run prints the names of what did not pass and, last, the line with the sums.
func run(out io.Writer, files []string, minimum int) error {
	var sum tally
	for _, name := range files {
		if err := sum.addFile(name); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(out, &sum); err != nil {
		return err
	}
	return sum.verdict(minimum)
}

// event is the part of a test2json event that counts. Test is empty where the
// event is about the package.
type event struct {
	Action, Package, Test string
}

type tally struct {
	passed          int
	failed, skipped []string
}

func (s *tally) addFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := s.add(file); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (s *tally) add(events io.Reader) error {
	failing := map[string]bool{}
	for decoder := json.NewDecoder(events); ; {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch {
		case e.Action == "pass" && e.Test != "":
			s.passed++
		case e.Action == "skip" && e.Test != "":
			s.skipped = append(s.skipped, e.Package+" "+e.Test)
		case e.Action == "fail" && e.Test != "":
			s.failed = append(s.failed, e.Package+" "+e.Test)
			failing[e.Package] = true
		case e.Action == "fail" && !failing[e.Package]:
			// It did not build, or ended outside of any test.
			s.failed = append(s.failed, e.Package)
		}
	}
}

func (s *tally) String() string {
	var text strings.Builder
	for _, group := range []struct {
		word  string
		names []string
	}{{"failed", s.failed}, {"skipped", s.skipped}} {
		for _, name := range group.names {
			fmt.Fprintf(&text, "%s: %s\n", group.word, name)
		}
	}
	fmt.Fprintf(&text, "%d passed, %d failed", s.passed, len(s.failed))
	if len(s.skipped) > 0 {
		fmt.Fprintf(&text, ", %d skipped", len(s.skipped))
	}
	return text.String()
}

func (s *tally) verdict(minimum int) error {
	switch {
	case len(s.failed) > 0:
		return errors.New("tests failed")
	case len(s.skipped) > 0:
		return errors.New("tests were skipped; every test runs, or fails and says what it needs")
	case s.passed < max(minimum, 1):
		return fmt.Errorf("%d tests ran, at least %d are expected", s.passed, max(minimum, 1))
	}
	return nil
}
