package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/inspect"
	"golang.org/x/tools/go/ast/inspector"
	"golang.org/x/tools/go/types/typeutil"
)

// refused maps what makes a test slow, flaky or silent to what to do instead.
var refused = map[string]string{
	"time.Sleep":                "wait for a signal, poll with a deadline, or use testing/synctest",
	"testing.Short":             "every test always runs",
	"(*testing.common).Skip":    "a test that cannot run fails and says what it needs",
	"(*testing.common).Skipf":   "a test that cannot run fails and says what it needs",
	"(*testing.common).SkipNow": "a test that cannot run fails and says what it needs",
	"(testing.TB).Skip":         "a test that cannot run fails and says what it needs",
	"(testing.TB).Skipf":        "a test that cannot run fails and says what it needs",
	"(testing.TB).SkipNow":      "a test that cannot run fails and says what it needs",
}

var noTestSleep = &analysis.Analyzer{
	Name:     "notestsleep",
	Doc:      "refuse time.Sleep, testing.Short and skipping in test files and in helpers that import testing",
	Requires: []*analysis.Analyzer{inspect.Analyzer},
	Run:      runNoTestSleep,
}

func runNoTestSleep(pass *analysis.Pass) (any, error) {
	for file := range inspectorOf(pass).Root().Preorder((*ast.File)(nil)) {
		if !isTestCode(pass, file.Node().(*ast.File)) {
			continue
		}
		for ident := range file.Preorder((*ast.Ident)(nil)) {
			fn, ok := pass.TypesInfo.Uses[ident.Node().(*ast.Ident)].(*types.Func)
			if !ok || (fn.FullName() == "time.Sleep" && inBubble(pass, ident)) {
				continue
			}
			if instead, ok := refused[fn.FullName()]; ok {
				pass.Reportf(ident.Node().Pos(), "%s in a test: %s", fn.FullName(), instead)
			}
		}
	}
	return nil, nil
}

// isTestCode counts helpers in, or a skip would only have to move into one.
func isTestCode(pass *analysis.Pass, file *ast.File) bool {
	if isTestFile(pass, file.Pos()) {
		return true
	}
	for _, spec := range file.Imports {
		if spec.Path.Value == `"testing"` {
			return true
		}
	}
	return false
}

func isTestFile(pass *analysis.Pass, pos token.Pos) bool {
	return strings.HasSuffix(pass.Fset.PositionFor(pos, false).Filename, "_test.go")
}

// inBubble tells whether cur stands in an argument of synctest.Test, where
// Sleep only turns a fake clock.
func inBubble(pass *analysis.Pass, cur inspector.Cursor) bool {
	for call := range cur.Enclosing((*ast.CallExpr)(nil)) {
		fn := typeutil.StaticCallee(pass.TypesInfo, call.Node().(*ast.CallExpr))
		if fn != nil && fn.FullName() == "testing/synctest.Test" {
			return true
		}
	}
	return false
}

func inspectorOf(pass *analysis.Pass) *inspector.Inspector {
	return pass.ResultOf[inspect.Analyzer].(*inspector.Inspector)
}
