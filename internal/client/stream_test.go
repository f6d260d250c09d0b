package client

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An API that hands files out itself gets the token, as for any other call.
func TestStreamedByAPI(t *testing.T) {
	w := newWorld(t, noise(1<<20))
	w.streams = true
	w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
		switch n {
		case 1:
			w.cut(rw, r, 300<<10)
		case 2:
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(503)
			_, _ = io.WriteString(rw, `{"title":"Service Unavailable","retryable":true}`)
		default:
			w.serve(rw, r)
		}
	}
	w.download(t.TempDir())
	if len(w.asked) != 3 || w.asked[2].Header.Get("If-Match") != tagOf(w.file) || w.asked[0].Header.Get("Accept") != "*/*" {
		t.Errorf("asked for %s", w.ranges())
	}
}

func TestStreamIsRefused(t *testing.T) {
	for _, status := range []int{401, 404, 410} {
		w := newWorld(t, noise(1000))
		w.streams = true
		w.store = func(rw http.ResponseWriter, _ *http.Request, _ int) {
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, `{"title":"as the API says"}`)
		}
		_, err := w.c.Download(t.Context(), w.job, w.target(t.TempDir()))
		var p *Problem
		if !errors.As(err, &p) || p.Status != status || p.Title != "as the API says" || len(w.asked) != 1 {
			t.Errorf("%d: %v after %d requests", status, err, len(w.asked))
		}
	}
}

// A link that says it is the API's own must be below the address we know.
func TestTokenStaysWithTheAPI(t *testing.T) {
	w := newWorld(t, noise(1000))
	w.streams = true
	elsewhere := ""
	w.c.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Header.Get("Accept") == "application/json" {
			return http.DefaultTransport.RoundTrip(r)
		}
		elsewhere = r.URL.String()
		return answerWith(r, 500, ""), nil
	})
	base := w.api.URL + "/base"
	for _, link := range []string{
		"https://evil.example.org/base/v1/exports/j1/download",
		strings.Replace(base, "http:", "https:", 1) + "/v1/exports/j1/download",
		strings.Replace(base, "//", "//user@", 1) + "/v1/exports/j1/download",
		strings.Replace(base, "//", "//evil.example.org@", 1) + "/v1/exports/j1/download",
		w.api.URL + ".evil.example.org/base/v1",
		w.api.URL + "/other/v1/exports/j1/download",
		w.api.URL + "/basement/v1/exports/j1/download",
		base + "/../other/v1/exports/j1/download",
		base + "/%2e%2e/other/v1/exports/j1/download",
		"ftp://h/x", "//evil.example.org/base/v1", "/base/v1/exports/j1/download", "::",
	} {
		w.link = func(int) string { return link }
		if _, err := w.c.Download(t.Context(), w.job, w.target(t.TempDir())); err == nil || elsewhere != "" {
			t.Errorf("%s was called with the token: %v", elsewhere, err)
		}
	}
	w.link = nil
	if _, err := w.c.Download(t.Context(), w.job, w.target(t.TempDir())); elsewhere != base+"/v1/exports/j1/download" {
		t.Errorf("the API's own is not called: %q %v", elsewhere, err)
	}
}

// A presigned link gets no token even where it has the API's own address.
func TestStoreOnTheSameOrigin(t *testing.T) {
	c := faked(t, func(r *http.Request) (*http.Response, error) {
		if r.URL.RawQuery == "" {
			return answerWith(r, 200, `{"url":"https://export.example.org/base/v1/s3?signature=x","expires_at":"`+time.Now().Format(time.RFC3339)+`"}`), nil
		}
		if r.Header.Get("Authorization") != "" {
			t.Error("the token goes to the store")
		}
		return answerWith(r, 200, "manifest"), nil
	})
	b, err := c.ManifestOf(t.Context(), "j1")
	if err != nil || string(b) != "manifest" {
		t.Errorf("%q %v", b, err)
	}
}

// The store may not send us on: the next one would see the link.
func TestStoreRedirects(t *testing.T) {
	w := newWorld(t, noise(1000))
	w.store = func(rw http.ResponseWriter, r *http.Request, n int) {
		if n > 1 {
			t.Error("followed")
		}
		http.Redirect(rw, r, "/elsewhere", http.StatusFound)
	}
	if _, err := w.c.Download(t.Context(), w.job, w.target(t.TempDir())); err == nil {
		t.Error("no error")
	}
}
