package platform

import "time"

// SetWait changes the limit of a window.
func (s *Source) SetWait(d time.Duration) { s.wait = d }
