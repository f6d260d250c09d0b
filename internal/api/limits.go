package api

import (
	"context"
	"errors"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// callLimit is how long a call may take, and a stream until it begins: whoever
// else is silent, the caller gets an answer.
const callLimit = 10 * time.Second

// statusGone is what the log has for a client that did not wait, as nginx has.
const statusGone = 499

// lasting marks operations whose answers last; they bound their own beginning.
const lasting = "lasting"

// deadline bounds all other calls.
func (s *server) deadline(hc huma.Context, next func(huma.Context)) {
	if hc.Operation().Metadata[lasting] == true {
		next(hc)
		return
	}
	ctx, cancel := context.WithTimeout(hc.Context(), callLimit)
	defer cancel()
	next(huma.WithContext(hc, ctx))
}

// stream is the life of an answer that lasts. Its context ends with the
// client's, or when idle runs out.
type stream struct {
	context.Context
	cancel context.CancelCauseFunc
	idle   *time.Timer
}

// newStream is one that must begin within callLimit.
func newStream(parent context.Context) *stream {
	ctx, cancel := context.WithCancelCause(parent)
	return &stream{ctx, cancel, time.AfterFunc(callLimit, func() { cancel(context.DeadlineExceeded) })}
}

func (l *stream) end() {
	l.idle.Stop()
	l.cancel(nil)
}

// begun ends the limit, and tells an error of its own making by its name.
func (l *stream) begun(err error) error {
	l.idle.Stop()
	if err != nil {
		return errors.Join(err, context.Cause(l))
	}
	return nil
}
