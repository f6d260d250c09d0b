package store

import (
	"net/http/httptest"
	"testing"
)

func TestNothing(t *testing.T) {
	t.Skip("nothing to do") // want notestsleep
}

// The answer of a recorder has nothing to close.
func TestRecorded(t *testing.T) {
	if status := httptest.NewRecorder().Result().StatusCode; status != 200 {
		t.Error(status)
	}
}
