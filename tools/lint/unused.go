package main

import (
	"go/token"

	"golang.org/x/tools/go/analysis"
	unusedcode "honnef.co/go/tools/unused"
)

// unused reports what staticcheck's U1000 finds. As an analyzer, that check
// only returns its findings, for its own program to print.
var unused = &analysis.Analyzer{
	Name:     "U1000",
	Doc:      "report unused code",
	Requires: []*analysis.Analyzer{unusedcode.Analyzer.Analyzer},
	Run: func(pass *analysis.Pass) (any, error) {
		for _, object := range pass.ResultOf[unusedcode.Analyzer.Analyzer].(unusedcode.Result).Unused {
			if object.Kind == "type param" {
				continue
			}
			pass.Reportf(posOf(pass, object.Position), "%s %s is unused", object.Kind, object.Name)
		}
		return nil, nil
	},
}

func posOf(pass *analysis.Pass, position token.Position) token.Pos {
	for _, file := range pass.Files {
		if tf := pass.Fset.File(file.Pos()); tf.Name() == position.Filename {
			return tf.Pos(position.Offset)
		}
	}
	return token.NoPos
}
