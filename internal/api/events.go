package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// keepAlive is shorter than what proxies take for a connection that is dead.
const keepAlive = 15 * time.Second

func (s *server) registerEvents(path string) {
	o := s.op(http.MethodGet, path, "watch-export", "Watch an export: the job again at each change, as server-sent events", http.StatusOK)
	o.Responses["200"] = &huma.Response{
		Description: "Events named job, each with the job as data; the stream ends with the export",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	o.Responses["204"] = &huma.Response{Description: "The export is over, and Last-Event-ID was its last event: do not connect again"}
	o.Metadata = map[string]any{lasting: true}
	huma.Register(s.api, o, s.events)
}

type eventsInput struct {
	ID          string `path:"id" doc:"Id of the export"`
	LastEventID string `header:"Last-Event-ID" doc:"ETag of the last event that was seen"`
}

func (s *server) events(ctx context.Context, in *eventsInput) (*huma.StreamResponse, error) {
	id, err := jobID(in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	life := newStream(ctx)
	changes, err := s.cfg.Service.Watch(life, principal(ctx), id)
	if err = life.begun(err); err != nil {
		life.end()
		return nil, s.problem(ctx, err)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer life.end()
		_, w := humago.Unwrap(hc)
		if err := s.tell(w, changes, in.LastEventID); err != nil {
			s.cfg.Log.Debug("a watcher has gone", "error", err)
		}
	}}, nil
}

// tell writes events until there are no more, or nobody reads them.
func (s *server) tell(w http.ResponseWriter, changes <-chan jobs.Job, seen string) error {
	stream := &eventWriter{w: w, control: http.NewResponseController(w)}
	beat := time.NewTicker(keepAlive)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
			if err := stream.write(": still here\n\n"); err != nil {
				return err
			}
		case j, ok := <-changes:
			if !ok {
				return stream.begin(http.StatusOK)
			}
			if j.State.Final() && etag(j) == seen {
				return stream.begin(http.StatusNoContent)
			}
			body, err := json.Marshal(s.show(j))
			if err != nil {
				return fmt.Errorf("encode an event: %w", err)
			}
			if err := stream.write(fmt.Sprintf("event: job\nid: %s\ndata: %s\n\n", etag(j), body)); err != nil {
				return err
			}
		}
	}
}

// eventWriter sends each event at once, for as long as somebody reads.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

func (e *eventWriter) begin(status int) error {
	if e.begun {
		return nil
	}
	e.begun = true
	if status == http.StatusOK {
		e.w.Header().Set("Content-Type", "text/event-stream")
		e.w.Header().Set("Cache-Control", "private, "+noStore)
		e.w.Header().Set("X-Accel-Buffering", "no") // nginx would wait for more
	}
	e.w.WriteHeader(status)
	return e.control.Flush()
}

func (e *eventWriter) write(s string) error {
	// A writer without deadlines has no limit to be lifted.
	_ = e.control.SetWriteDeadline(time.Now().Add(streamIdle))
	if err := e.begin(http.StatusOK); err != nil {
		return err
	}
	if _, err := e.w.Write([]byte(s)); err != nil {
		return err
	}
	return e.control.Flush()
}
