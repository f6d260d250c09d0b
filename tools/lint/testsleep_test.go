package main

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"
)

func TestNoTestSleep(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), noTestSleep, "testsleep")
}
