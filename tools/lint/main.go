// Command lint is the project's linter: what go vet checks, staticcheck, and
// rules of the project's own. It speaks the protocol of go vet, so that
// "go vet -vettool=lint ./..." checks anew only what has changed.
//
// A finding that is wrong is silenced where it stands, with the reason:
//
//	//lint:ignore SA1019 the successor cannot abort an upload
package main

import (
	"slices"

	"github.com/kisielk/errcheck/errcheck"
	"github.com/timakin/bodyclose/passes/bodyclose"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/nilness"
	"golang.org/x/tools/go/analysis/passes/unusedwrite"
	"golang.org/x/tools/go/analysis/suite/vet"
	"golang.org/x/tools/go/analysis/unitchecker"
	"honnef.co/go/tools/analysis/lint"
	"honnef.co/go/tools/simple"
	"honnef.co/go/tools/staticcheck"
	"honnef.co/go/tools/stylecheck"
)

// tasteless are the checks of style that are left out: ST1013 wants a constant
// for every HTTP status, where the number is what the API's page shows; ST1023
// wants the type of a declaration gone even where it helps the reader.
var tasteless = []string{"ST1013", "ST1023"}

func main() { unitchecker.Main(analyzers()...) }

func analyzers() []*analysis.Analyzer {
	filter(errcheck.Analyzer, deferredClose)
	filter(bodyclose.Analyzer, inTests)
	all := slices.Concat(vet.Suite, []*analysis.Analyzer{
		importOrder, size, noTestSleep, unused,
		nilness.Analyzer, unusedwrite.Analyzer,
		errcheck.Analyzer, bodyclose.Analyzer,
	})
	for _, group := range [][]*lint.Analyzer{staticcheck.Analyzers, simple.Analyzers, stylecheck.Analyzers} {
		for _, check := range group {
			if !slices.Contains(tasteless, check.Analyzer.Name) {
				all = append(all, check.Analyzer)
			}
		}
	}
	for _, a := range all {
		filter(a, ignored(a))
		named(a)
	}
	return all
}
