package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// The program's edges are those of its settings: a path, proxies, origins, a
// limit that counts in Redis.
func TestEdges(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 0, "PUBLIC_URL=http://export.example.org/base", "RATE_LIMIT=3",
		"TRUSTED_PROXIES=127.0.0.0/8", "ALLOWED_ORIGINS=https://chat.example.org")
	call := func(method, path string, header ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := noRedirect.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	const chat = "https://chat.example.org"
	list := exportsOf(demodata.DemoProject)
	res := call(http.MethodOptions, "/base"+list, "Origin", chat, "Access-Control-Request-Method", "POST")
	if res.Header.Get("Access-Control-Allow-Origin") != chat {
		t.Errorf("preflight: %d %v", res.StatusCode, res.Header)
	}
	if res := call(http.MethodPost, list, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); res.StatusCode != http.StatusForbidden {
		t.Errorf("a post of another site: %d", res.StatusCode)
	}

	owner := []string{"Authorization", "Bearer " + demodata.OwnerKey, "X-Forwarded-For", "192.0.2.1, 198.51.100.7"}
	outsider := []string{"Authorization", "Bearer " + demodata.OtherKey, "X-Forwarded-For", "192.0.2.1, 198.51.100.7"}
	for _, path := range []string{"/base" + list, list, "/base" + list} {
		if res := call(http.MethodGet, path, owner...); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("RateLimit"), `"person";r=`) {
			t.Errorf("%s: %d %v", path, res.StatusCode, res.Header)
		}
	}
	if res := call(http.MethodGet, "/base"+list, owner...); res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d %v", res.StatusCode, res.Header)
	}
	if res := call(http.MethodGet, list, outsider...); res.StatusCode != http.StatusNotFound {
		t.Errorf("another person: %d", res.StatusCode)
	}
	var remote string
	err := s.Admin(t).QueryRow(t.Context(), `select remote from bulkexport.audit where action = 'refused'`).Scan(&remote)
	if err != nil || remote != "198.51.100.7" {
		t.Errorf("the refusal was noted as from %q, %v", remote, err)
	}
}
