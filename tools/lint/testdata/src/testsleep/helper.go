package testsleep

import (
	"testing"
	"time"
)

// Needs is in a helper that imports testing, which counts as test code.
func Needs(tb testing.TB, ok bool) {
	if !ok {
		tb.Skip("not here") // want `\(testing.TB\).Skip in a test: a test that cannot run fails`
	}
	time.Sleep(1) // want `time.Sleep in a test: wait for a signal`
}
