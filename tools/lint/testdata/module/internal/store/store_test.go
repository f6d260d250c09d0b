package store

import "testing"

func TestNothing(t *testing.T) {
	t.Skip("nothing to do") // want notestsleep
}
