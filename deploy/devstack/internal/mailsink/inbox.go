package mailsink

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"io"
	"net/http"
	"strconv"
)

//go:embed inbox.html inbox.css
var files embed.FS

var page = template.Must(template.ParseFS(files, "inbox.html"))

func (s *Sink) pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.list)
	mux.HandleFunc("GET /message/{id}", s.one)
	mux.HandleFunc("GET /message/{id}/raw", s.raw)
	mux.HandleFunc("GET /api/messages", s.api)
	mux.HandleFunc("DELETE /api/messages", s.empty)
	mux.Handle("GET /inbox.css", http.FileServerFS(files))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Under another name it would be a page elsewhere that reads the mails.
		if r.Host != s.inboxAddr {
			http.Error(w, "this inbox is at http://"+s.inboxAddr, http.StatusMisdirectedRequest)
			return
		}
		// Mails come from anywhere: nothing in them may load or run anything.
		w.Header().Set("Content-Security-Policy",
			"default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

func (s *Sink) list(w http.ResponseWriter, _ *http.Request) {
	render(w, map[string]any{"Messages": s.Messages()})
}

func (s *Sink) one(w http.ResponseWriter, r *http.Request) {
	if m, ok := s.find(r); ok {
		render(w, map[string]any{"Message": m})
		return
	}
	http.NotFound(w, r)
}

func (s *Sink) raw(w http.ResponseWriter, r *http.Request) {
	if m, ok := s.find(r); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, m.Raw)
		return
	}
	http.NotFound(w, r)
}

func (s *Sink) find(r *http.Request) (Message, bool) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return Message{}, false
	}
	for _, m := range s.Messages() {
		if m.ID == id {
			return m, true
		}
	}
	return Message{}, false
}

func render(w http.ResponseWriter, data any) {
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = b.WriteTo(w)
}

func (s *Sink) api(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(append([]Message{}, s.Messages()...))
}

func (s *Sink) empty(w http.ResponseWriter, _ *http.Request) {
	if err := s.Empty(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
