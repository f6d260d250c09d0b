package testsleep

import "time"

// Work is no test code: it may sleep.
func Work() { time.Sleep(time.Second) }
