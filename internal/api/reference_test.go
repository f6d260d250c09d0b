package api_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/api"
	"github.com/bulkexport/bulkexport/internal/auth"
)

// public asks without credentials, where asking for them would panic.
func public(t *testing.T, path string) *httptest.ResponseRecorder {
	t.Helper()
	h := api.New(api.Config{
		Door: &auth.Door{}, PublicURL: "https://h/base", Probes: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
	})
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
	return rec
}

func TestDocument(t *testing.T) {
	rec := public(t, "/base/openapi.json")
	var doc struct {
		OpenAPI string
		Servers []struct{ URL string }
		Paths   map[string]any
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if rec.Code != http.StatusOK || !strings.HasPrefix(doc.OpenAPI, "3.1.") || len(doc.Servers) != 1 || doc.Servers[0].URL != "https://h/base" {
		t.Errorf("%d, OpenAPI %q, %v", rec.Code, doc.OpenAPI, doc.Servers)
	}
	for _, path := range []string{"/openapi.yaml", "/openapi-3.0.json", "/openapi-3.0.yaml", "/schemas/Job.json", "/docs/"} {
		if rec := public(t, path); rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

// The page needs no sign-in, nothing from elsewhere and no script.
func TestDocsPage(t *testing.T) {
	rec := public(t, "/base/docs")
	page := rec.Body.String()
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
	} {
		if got := rec.Header().Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(page)
	if style == nil {
		t.Fatalf("%d: no style in %.300s", rec.Code, page)
	}
	want := "default-src 'none'; style-src " + api.StyleHash(style[1]) + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got := rec.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if found := regexp.MustCompile(`<script|<link|<img|src=|style=|url\(|@import|ZgotmplZ|href="[^#o]`).FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
	if !strings.Contains(page, `href="openapi.json"`) {
		t.Error("does not lead to the document")
	}
}

// It tells of every operation and field of the document, and its links lead there.
func TestDocsPageIsWhole(t *testing.T) {
	page := public(t, "/docs").Body.String()
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] {
			t.Errorf("two of #%s", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`(?:href="#|aria-labelledby=")([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if !ids[m[1]] {
			t.Errorf("leads to #%s, which is not there", m[1])
		}
	}
	var doc struct {
		Paths      map[string]map[string]struct{ OperationID, Summary string }
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(public(t, "/openapi.json").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method, o := range methods {
			if !ids[o.OperationID] || !strings.Contains(page, "<b>"+strings.ToUpper(method)+"</b> "+path) {
				t.Errorf("says nothing of %s %s", method, path)
			}
		}
	}
	for name, o := range doc.Components.Schemas {
		_, section, _ := strings.Cut(page, `id="object-`+name+`"`)
		section, _, _ = strings.Cut(section, "</section>")
		for property := range o.Properties {
			if !strings.Contains(section, "<code>"+property+"</code>") {
				t.Errorf("%s: says nothing of %s", name, property)
			}
		}
	}
}
