package api_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// answered holds an answer to what every answer must be: no 5xx, and a problem
// document where it refuses.
func answered(t *testing.T, h http.Handler, r *http.Request) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if rec.Code >= 500 {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	if rec.Code < 400 {
		return
	}
	var problem struct {
		Status int
		Detail string
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &problem); err != nil || problem.Status != rec.Code || problem.Detail == "" ||
		rec.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%d is no problem document: %s", rec.Code, rec.Body)
	}
}

func FuzzCreateBody(f *testing.F) {
	for _, s := range []string{
		`{"kind":"conversations","from":"2024-01-01","to":null,"notify":["a@b"],"fresh":true,"allow_skipped":false}`,
		`{"kind":7}`, `{"kind":"x","kind":"documents"}`, `[]`, `null`, `{`, "\ufeff{}", `{"notify":[null,{}]}`, strings.Repeat(`[`, 10000), `{"a":1e999}`,
	} {
		f.Add([]byte(s), "application/json", "key")
	}
	h := handler(service{job: jobs.Job{ID: id, State: jobs.Queued}}, io.Discard)
	f.Fuzz(func(t *testing.T, body []byte, contentType, key string) {
		r := httptest.NewRequest(http.MethodPost, "/v1/projects/p/exports", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Idempotency-Key", key)
		answered(t, h, r)
	})
}

func FuzzListQuery(f *testing.F) {
	f.Add("state=queued&limit=3&cursor=", "p")
	f.Add("limit=99999999999999999999&limit=&state=%00&nonsense;a=b", "a%2Fb")
	f.Add("cursor=MDFhMjBhOGQtMWE4Ni03Yzk1LTgyYTQtNTVlNzY5ZWVkZmEw", "..")
	h := handler(service{}, io.Discard)
	f.Fuzz(func(t *testing.T, query, project string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: "/v1/projects/" + project + "/exports", RawQuery: query}
		answered(t, h, r)
	})
}
