package testsleep

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSkips(t *testing.T) {
	if testing.Short() { // want `testing.Short in a test: every test always runs`
		t.SkipNow() // want `\(\*testing.common\).SkipNow in a test`
	}
	t.Skipf("%d", 1) // want `\(\*testing.common\).Skipf in a test`
	t.Log(t.Skipped())
}

func TestSleeps(t *testing.T) {
	wait := time.Sleep // want `time.Sleep in a test`
	wait(time.Second)
}

func TestFakeClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		t.Skip("all the same") // want `\(\*testing.common\).Skip in a test`
	})
}
