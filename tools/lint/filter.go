package main

import (
	"go/ast"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// filter drops the findings of a that unwanted names. It changes a in place,
// as other analyzers may require it by its address.
func filter(a *analysis.Analyzer, unwanted func(*analysis.Pass) func(analysis.Diagnostic) bool) {
	run := a.Run
	a.Run = func(pass *analysis.Pass) (any, error) {
		drop, filtered := unwanted(pass), *pass
		filtered.Report = func(d analysis.Diagnostic) {
			if !drop(d) {
				pass.Report(d)
			}
		}
		return run(&filtered)
	}
}

// named ends the findings of a with its name, which a //lint:ignore needs and
// go vet does not print.
func named(a *analysis.Analyzer) {
	run := a.Run
	a.Run = func(pass *analysis.Pass) (any, error) {
		signed := *pass
		signed.Report = func(d analysis.Diagnostic) {
			d.Message += " (" + a.Name + ")"
			pass.Report(d)
		}
		return run(&signed)
	}
}

// ignored names the findings of a that a comment on their line, or on the line
// above, silences: "//lint:ignore name reason". Without a reason it does not.
func ignored(a *analysis.Analyzer) func(*analysis.Pass) func(analysis.Diagnostic) bool {
	return func(pass *analysis.Pass) func(analysis.Diagnostic) bool {
		type place struct {
			file string
			line int
		}
		silenced := map[place]bool{}
		for _, file := range pass.Files {
			for _, group := range file.Comments {
				for _, comment := range group.List {
					if silences(comment.Text, a.Name) {
						at := pass.Fset.PositionFor(comment.Pos(), false)
						silenced[place{at.Filename, at.Line}] = true
						silenced[place{at.Filename, at.Line + 1}] = true
					}
				}
			}
		}
		return func(d analysis.Diagnostic) bool {
			at := pass.Fset.PositionFor(d.Pos, false)
			return silenced[place{at.Filename, at.Line}]
		}
	}
}

func silences(comment, name string) bool {
	fields := strings.Fields(comment)
	return len(fields) > 2 && fields[0] == "//lint:ignore" && slices.Contains(strings.Split(fields[1], ","), name)
}

// deferredClose names findings in "defer x.Close()", "defer tx.Rollback()" and
// "defer os.Remove(file)". They release what is over by then: whoever needs
// the error, as after a write, closes in the open, and the deferred call is the
// second.
func deferredClose(pass *analysis.Pass) func(analysis.Diagnostic) bool {
	var deferred []*ast.DeferStmt
	for _, file := range pass.Files {
		ast.Inspect(file, func(n ast.Node) bool {
			if stmt, ok := n.(*ast.DeferStmt); ok && releases(stmt.Call) {
				deferred = append(deferred, stmt)
			}
			return true
		})
	}
	return func(d analysis.Diagnostic) bool {
		return slices.ContainsFunc(deferred, func(stmt *ast.DeferStmt) bool {
			return stmt.Pos() <= d.Pos && d.Pos < stmt.End()
		})
	}
}

// inTests names findings in test files, where a leak ends with the test and a
// recorder's answers need no closing.
func inTests(pass *analysis.Pass) func(analysis.Diagnostic) bool {
	return func(d analysis.Diagnostic) bool { return isTestFile(pass, d.Pos) }
}

func releases(call *ast.CallExpr) bool {
	fn, ok := call.Fun.(*ast.SelectorExpr)
	return ok && slices.Contains([]string{"Close", "Rollback", "Remove", "RemoveAll"}, fn.Sel.Name)
}
