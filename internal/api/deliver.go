package api

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// noStore keeps what opens a file, or holds rows, out of every cache.
const noStore = "no-store"

func (s *server) registerDeliveries(project, export string) {
	s.registerAsset(export, jobs.File, "Fetch the file: a link made at this moment, or the file itself")
	s.registerAsset(export, jobs.Manifest, "Fetch the manifest, a Frictionless data package")
	s.registerAsset(export, jobs.Checksums, "Fetch SHA256SUMS, for sha256sum -c")
	o := s.op(http.MethodGet, project+"/documents/{document}/original", "get-original", "Fetch the original file of one document", http.StatusSeeOther)
	huma.Register(s.api, s.delivery(o), func(_ context.Context, in *originalInput) (*huma.StreamResponse, error) {
		return s.deliver(in.Accept, jobs.Wanted{Project: in.Project, Document: in.Document})
	})
}

func (s *server) registerAsset(export string, a jobs.Asset, summary string) {
	o := s.op(http.MethodGet, export+"/"+string(a), "get-"+string(a), summary, http.StatusSeeOther)
	huma.Register(s.api, s.delivery(o), func(ctx context.Context, in *assetInput) (*huma.StreamResponse, error) {
		id, err := jobID(in.ID)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return s.deliver(in.Accept, jobs.Wanted{Job: id, Asset: a})
	})
}

// delivery documents the answers of what hands files out.
func (s *server) delivery(o huma.Operation) huma.Operation {
	part := &huma.Response{Description: "The part that Range asked for", Content: map[string]*huma.MediaType{}}
	ok := s.response("For Accept: application/json, the link", "application/json", reflect.TypeFor[Link](), "Link")
	ok.Description += "; else, where this service streams (DOWNLOADS), the file, in its own media type"
	for _, t := range []string{"application/gzip", "text/plain", "application/octet-stream"} {
		ok.Content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
		part.Content[t] = ok.Content[t]
	}
	o.Responses["200"] = ok
	o.Responses["206"] = part
	o.Responses["303"] = &huma.Response{Description: "Redirect to the link; do not send credentials there"}
	o.Responses["304"] = &huma.Response{Description: "Nothing has changed since the ETag that If-None-Match names"}
	o.Metadata = map[string]any{lasting: s.cfg.Stream}
	return o
}

// Link opens a file for some minutes, to whoever holds it. Where this service
// streams, it is the service's own address, and asks who you are.
type Link struct {
	URL       string     `json:"url"`
	ExpiresAt *time.Time `json:"expires_at" doc:"When the link stops working; null if it asks who you are"`
}

type assetInput struct {
	ID     string `path:"id" doc:"Id of the export"`
	Accept string `header:"Accept" doc:"application/json for the link in a body instead of a redirect"`
}

type originalInput struct {
	Accept   string `header:"Accept" doc:"application/json for the link in a body instead of a redirect"`
	Project  string `path:"project" doc:"Name of the project"`
	Document int64  `path:"document" minimum:"1" doc:"Id of the document"`
}

// deliver answers with a link, a redirect to it, or the file itself.
func (s *server) deliver(accept string, w jobs.Wanted) (*huma.StreamResponse, error) {
	asJSON := strings.Contains(accept, "application/json")
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		var err error
		switch {
		case s.cfg.Stream && asJSON:
			err = s.address(hc, w)
		case s.cfg.Stream:
			err = s.stream(hc, w)
		default:
			err = s.link(hc, w, asJSON)
		}
		if err != nil {
			s.write(hc, s.problem(hc.Context(), err))
		}
	}}, nil
}

func (s *server) link(hc huma.Context, w jobs.Wanted, asJSON bool) error {
	link, err := s.cfg.Service.Link(hc.Context(), principal(hc.Context()), w)
	if err != nil {
		return err
	}
	if asJSON {
		s.send(hc, Link{URL: link.URL, ExpiresAt: &link.ExpiresAt})
		return nil
	}
	hc.SetHeader("Cache-Control", noStore)
	hc.SetHeader("Location", link.URL)
	hc.SetStatus(http.StatusSeeOther)
	return nil
}

// address answers with the address of the file at this service itself.
func (s *server) address(hc huma.Context, w jobs.Wanted) error {
	ctx, cancel := context.WithTimeout(hc.Context(), callLimit)
	defer cancel()
	if err := s.cfg.Service.Check(ctx, principal(ctx), w); err != nil {
		return err
	}
	at := "/v1/exports/" + url.PathEscape(w.Job) + "/" + string(w.Asset)
	if w.Job == "" {
		at = "/v1/projects/" + url.PathEscape(w.Project) + "/documents/" + strconv.FormatInt(w.Document, 10) + "/original"
	}
	s.send(hc, Link{URL: s.cfg.PublicURL + at})
	return nil
}

func (s *server) send(hc huma.Context, l Link) {
	hc.SetHeader("Cache-Control", noStore)
	hc.SetHeader("Content-Type", "application/json")
	hc.SetStatus(http.StatusOK)
	if err := s.api.Marshal(hc.BodyWriter(), "application/json", l); err != nil {
		s.cfg.Log.Debug("link not written", "error", err)
	}
}

// stream sends the file itself. Range, If-Range and the other conditions are
// the standard library's.
func (s *server) stream(hc huma.Context, w jobs.Wanted) error {
	life := newStream(hc.Context())
	defer life.end()
	o, err := s.cfg.Service.Open(life, principal(life), w)
	if err = life.begun(err); err != nil {
		return err
	}
	defer func() { _ = o.Close() }() // only read
	r, out := humago.Unwrap(hc)
	h := out.Header()
	h.Set("Cache-Control", "private, "+noStore)
	h.Set("Content-Type", o.Type)
	h.Set("ETag", o.ETag)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": o.Filename}))
	life.idle.Reset(streamIdle)
	slow := &patient{ResponseWriter: out, idle: life.idle, refuse: func(status int) { s.refuseRange(hc, status) }}
	http.ServeContent(slow, r, "", o.Modified, o)
	return nil
}

// refuseRange answers with a problem instead of the library's text.
func (s *server) refuseRange(hc huma.Context, status int) {
	_, out := humago.Unwrap(hc)
	for _, name := range []string{"ETag", "Content-Disposition", "Content-Length", "Last-Modified"} {
		out.Header().Del(name)
	}
	message := "The object store did not answer as it should. Try again in a moment."
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		message = "The file has no such range: see the Content-Range header for its size."
	case http.StatusPreconditionFailed:
		message = "The file is another one than If-Match names."
	}
	s.write(hc, fromFramework(status, message).(*Problem))
}

// streamIdle is how long a reader of a stream may take nothing, and the store
// give nothing.
const streamIdle = time.Minute

// patient gives a reader time for as long as it goes on reading, beyond the
// server's limit for a whole answer. Answers that are errors are refuse's.
type patient struct {
	http.ResponseWriter
	idle    *time.Timer // ends the stream
	refuse  func(status int)
	refused bool
}

func (p *patient) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		p.refused = true
		p.refuse(status)
		return
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *patient) Write(b []byte) (int, error) {
	if p.refused {
		return len(b), nil
	}
	p.idle.Reset(streamIdle)
	// A writer without deadlines has no limit to be lifted.
	_ = http.NewResponseController(p.ResponseWriter).SetWriteDeadline(time.Now().Add(streamIdle))
	return p.ResponseWriter.Write(b)
}
