package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bulkexport/bulkexport/internal/client"
)

// The errors that have exit codes of their own, beside the client's.
type (
	usageError       struct{ error }
	credentialsError struct{ error }
	failedError      struct{ error }
	canceledError    struct{ error }
	timeoutError     struct{ error }
	goneError        struct{ error }
	interrupted      struct{ error }
)

// exitCode is documented in the help.
func exitCode(err error) int {
	var problem *client.Problem
	switch {
	case err == nil:
		return 0
	case is[usageError](err), strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		return 2
	case is[credentialsError](err):
		return 3
	case is[goneError](err):
		return 4
	case is[failedError](err):
		return 5
	case is[canceledError](err):
		return 6
	case is[timeoutError](err):
		return 7
	case is[*client.Mismatch](err):
		return 8
	case is[*client.Unreachable](err):
		return 9
	case is[interrupted](err), errors.Is(err, context.Canceled):
		return 130
	case errors.As(err, &problem):
		return problemCode(problem.Status)
	}
	return 1
}

func is[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func problemCode(status int) int {
	switch status {
	case http.StatusUnauthorized:
		return 3
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return 4
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return 9
	}
	return 1
}

// tell writes an error for a person, or for a program.
func (a *app) tell(err error) {
	if a.json {
		var problem *client.Problem
		if !errors.As(err, &problem) {
			problem = &client.Problem{Type: "about:blank", Title: err.Error()}
		}
		_ = json.NewEncoder(a.err).Encode(struct { // there is nowhere else to say so
			*client.Problem
			ExitCode int `json:"exit_code"`
		}{problem, exitCode(err)})
		return
	}
	a.say("exportctl: %v", err)
}

// say writes a line beside the output.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintln(a.err, plain(fmt.Sprintf(format, args...))) // there is nowhere else to say so
}

// note says what people may like to know, and programs do not.
func (a *app) note(text string) {
	if !a.json {
		a.say("%s", text)
	}
}

// trouble tells of what is tried again.
func (a *app) trouble(err error, pause time.Duration) {
	a.note(fmt.Sprintf("%v; trying again in %s", err, pause.Round(time.Second)))
}
