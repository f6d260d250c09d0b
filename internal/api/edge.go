package api

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/rs/cors"
)

// public takes PublicURL apart: the origin, as browsers send it, and the path
// that all is below.
func public(raw string) (origin, base string) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", ""
	}
	return strings.ToLower(u.Scheme + "://" + u.Host), strings.TrimSuffix(u.EscapedPath(), "/")
}

// below serves everything below PublicURL's path, too. Proxies pass the path
// as it came, since they would else decode %2F; others call without it.
func (s *server) below(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ok := strings.CutPrefix(r.URL.EscapedPath(), s.base)
		if s.base == "" || !ok || rest != "" && rest[0] != '/' {
			next.ServeHTTP(w, r)
			return
		}
		inner, u := *r, *r.URL
		u.RawPath = "/" + strings.TrimPrefix(rest, "/")
		u.Path, _ = url.PathUnescape(u.RawPath) // EscapedPath wrote it
		inner.URL = &u
		next.ServeHTTP(w, &inner)
	})
}

// plain reports whether the mux takes a path as it is. It would send others
// away to what it thinks was meant: another project, perhaps.
func plain(escaped string) bool {
	clean := path.Clean(escaped)
	if clean != "/" && strings.HasSuffix(escaped, "/") {
		clean += "/"
	}
	return clean == escaped
}

// crossOrigin lets the pages of allowed origins call with a token of their own.
// Nobody's cookies come along from there.
func (s *server) crossOrigin(next http.Handler) http.Handler {
	if len(s.cfg.Origins) == 0 {
		return next
	}
	h := cors.New(cors.Options{
		AllowedOrigins: s.cfg.Origins,
		AllowedMethods: []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		AllowedHeaders: []string{
			"Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID", "Range",
		},
		ExposedHeaders: []string{
			"Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Link", "Location", "RateLimit", "RateLimit-Policy", "Retry-After",
		},
		MaxAge: 600, // seconds without another preflight
	}).Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o := r.Header.Get("Origin"); o != s.origin && slices.Contains(s.cfg.Origins, o) {
			r.Header.Del("Cookie")
		}
		h.ServeHTTP(w, r)
	})
}

// sameSite refuses what another site's page makes a browser send. Programs
// that are no browsers pass: they send no cookie that they do not mean to.
func (s *server) sameSite(next http.Handler) http.Handler {
	guard := http.NewCrossOriginProtection()
	for _, o := range append([]string{s.origin}, s.cfg.Origins...) {
		if err := guard.AddTrustedOrigin(o); err != nil {
			s.cfg.Log.Error("origin not trusted", "origin", o, "error", err)
		}
	}
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.write(humago.NewContext(&huma.Operation{}, r, w), problem(http.StatusForbidden, "cross-site",
			"A page of another site sent this. Its origin must be one of ALLOWED_ORIGINS.", false))
	}))
	return guard.Handler(next)
}
