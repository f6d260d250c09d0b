package web // want ST1000

import "log" // want depguard

// Say is exported, so it is used.
func Say() { log.Print("said") }
