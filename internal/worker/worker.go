// Package worker runs exports on one machine: it takes tickets from the queue,
// tells the board that it lives, and hands everything back when it stops.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

const (
	heartbeatEvery = 5 * time.Second
	heartbeatRetry = time.Second
	dispatchEvery  = 2 * time.Second
	callLimit      = 5 * time.Second
)

// Tickets is the queue's server.
type Tickets interface {
	Start(handle func(jobs.Ticket)) error
	Stop()
	Shutdown()
}

// Worker ties the parts of a worker process together.
type Worker struct {
	Status     jobs.WorkerStatus
	Board      jobs.Board
	Dispatcher *jobs.Dispatcher
	Runner     *jobs.Runner
	Tickets    Tickets
	Grace      time.Duration // for handing back at the end
	Log        *slog.Logger
}

// Run works until ctx is done, then hands running exports back and returns
// within the grace.
func (w *Worker) Run(ctx context.Context) error {
	loops, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { w.heartbeat(loops) })
	wg.Go(func() { w.Dispatcher.Run(loops, dispatchEvery) })
	defer wg.Wait()
	defer stop()

	if err := w.Tickets.Start(w.Runner.Handle); err != nil {
		return err
	}
	w.Log.Info("worker started", "worker", w.Status.ID, "slots", w.Status.Slots)
	<-ctx.Done()

	w.Log.Info("worker stopping", "grace", w.Grace)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.Grace)
	defer cancel()
	w.Tickets.Stop()
	err := w.Runner.Drain(end)
	w.Tickets.Shutdown()
	return errors.Join(err, w.retire(end))
}

// heartbeat tells the board at once and then regularly that this worker lives.
func (w *Worker) heartbeat(ctx context.Context) {
	for seen := false; ; {
		call, cancel := context.WithTimeout(ctx, callLimit)
		err := w.Board.Heartbeat(call, w.Status)
		cancel()
		wait := heartbeatEvery
		if err != nil && ctx.Err() == nil {
			w.Log.Warn("heartbeat failed", "error", err)
			wait = heartbeatRetry // nothing is sent to a worker that is not seen
		} else if !seen {
			w.Dispatcher.Kick() // there may be work that waits for these slots
		}
		seen = err == nil
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// retire tells the board that no slot is left here, so that nothing is sent to
// a worker that has gone.
func (w *Worker) retire(ctx context.Context) error {
	return w.Board.Heartbeat(ctx, jobs.WorkerStatus{ID: w.Status.ID})
}
