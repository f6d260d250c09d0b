package demodata

import "time"

// earliest and latest bound the time that conversations and documents are
// spread over. Both are fixed, because the data must not change from day to day.
var (
	earliest = time.Date(2023, 5, 9, 14, 2, 11, 0, time.UTC)
	latest   = time.Date(2026, 10, 30, 18, 0, 0, 0, time.UTC)
)
