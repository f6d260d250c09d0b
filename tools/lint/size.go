package main

import (
	"go/ast"
	"go/token"

	"golang.org/x/tools/go/analysis"
)

// What a reader can still hold in mind. Tests are read as often as the rest.
const (
	maxFuncLines = 60
	maxFileLines = 450
)

var size = &analysis.Analyzer{
	Name: "size",
	Doc:  "report functions over 60 lines and files over 450, tests included, generated files excluded",
	Run:  runSize,
}

func runSize(pass *analysis.Pass) (any, error) {
	for _, file := range pass.Files {
		if ast.IsGenerated(file) {
			continue
		}
		if lines := pass.Fset.File(file.Pos()).LineCount(); lines > maxFileLines {
			pass.Reportf(file.Name.Pos(), "file has %d lines, over the %d allowed: split it by subject", lines, maxFileLines)
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := line(pass, fn.End()) - line(pass, fn.Pos()) + 1; lines > maxFuncLines {
				pass.Reportf(fn.Name.Pos(), "%s has %d lines, over the %d allowed: split it by what it does",
					fn.Name.Name, lines, maxFuncLines)
			}
		}
	}
	return nil, nil
}

// line is the line in the file as it is stored, whatever //line comments claim.
func line(pass *analysis.Pass, pos token.Pos) int {
	return pass.Fset.PositionFor(pos, false).Line
}
