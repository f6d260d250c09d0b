// Package store breaks one rule after the other, each on a line of its own.
package store

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/bulkexport/bulkexport/internal/config" // want depguard
)

// ErrStore has a message of the wrong form.
var ErrStore = errors.New("something went wrong.") // want ST1005

// Settings uses the import.
func Settings() bool { return config.Debug }

func nobodyCalls() {} // want U1000

// Unchecked drops an error.
func Unchecked() {
	os.Remove("a") // want errcheck
}

// Released closes what is over by then, which may fail.
func Released(f *os.File) {
	defer f.Close()
}

// Silenced says why the finding is wrong.
func Silenced() {
	//lint:ignore errcheck the file need not be there
	os.Remove("a")
}

// Unreasoned does not say why.
func Unreasoned() {
	//lint:ignore errcheck
	os.Remove("a") // want errcheck
}

// Leaks leaves the connection busy.
func Leaks() (int, error) {
	resp, err := http.Get("http://localhost") // want bodyclose
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

// Lost never releases the context.
func Lost(ctx context.Context) context.Context {
	ctx, _ = context.WithCancel(ctx) // want lostcancel
	return ctx
}

// Copied copies a lock.
func Copied(mu *sync.Mutex) {
	own := *mu // want copylocks
	_ = &own
}

// Nil follows a pointer that is nil.
func Nil(p *int) int {
	if p == nil {
		return *p // want nilness
	}
	return *p
}

type point struct{ x, y int }

// Written writes to a copy.
func Written(points []point) int {
	sum := 0
	for _, p := range points {
		p.x = 1 // want unusedwrite
		sum += p.y
	}
	return sum
}

// Simple could be strings.Contains.
func Simple(s string) bool {
	return strings.Index(s, "a") != -1 // want S1003
}

// Never is never true.
func Never(n uint) bool {
	return n < 0 // want SA4003
}
