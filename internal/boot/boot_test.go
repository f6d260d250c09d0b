package boot

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A header beyond any token's size, and an address beyond any name's, are
// refused before anybody looks at them.
func TestHeaderLimit(t *testing.T) {
	calls := 0
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ }), slog.New(slog.DiscardHandler))
	srv.Start()
	t.Cleanup(srv.Close)
	for _, c := range []struct{ header, path, status int }{{16 << 10, 10, 200}, {10, 8 << 10, 200}, {40 << 10, 10, 431}, {10, 40 << 10, 431}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/"+strings.Repeat("x", c.path), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", strings.Repeat("x", c.header))
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != c.status || err != nil {
			t.Errorf("%d bytes of header, %d of path: %d, %v", c.header, c.path, res.StatusCode, err)
		}
	}
	if calls != 2 {
		t.Errorf("the handler was called %d times, want 2", calls)
	}
}
