package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const token = "uc_0123456789abcdef"

// roundTrip lets a function be all servers, so that time can be a fake one.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answerWith(r *http.Request, status int, body string, header ...string) *http.Response {
	res := &http.Response{
		StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}, Request: r,
		ContentLength: int64(len(body)),
	}
	for i := 0; i < len(header); i += 2 {
		res.Header.Set(header[i], header[i+1])
	}
	return res
}

func newClient(t *testing.T, url string) *Client {
	t.Helper()
	c, err := New(Config{URL: url, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// faked is a client whose calls go to f.
func faked(t *testing.T, f roundTrip) *Client {
	t.Helper()
	c := newClient(t, "https://export.example.org/base/")
	c.http.Transport = f
	return c
}

func TestNewRefuses(t *testing.T) {
	for _, u := range []string{"", "export.example.org", "ftp://h", "https://", "https://me:secret@h", "https://h?x=1", "https://h#x", "https://h:port"} {
		if _, err := New(Config{URL: u}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", u, err)
		}
	}
	for _, tok := range []string{"two words", "line\nbreak", "umläut"} {
		if _, err := New(Config{URL: "https://h", Token: tok}); err == nil || strings.Contains(err.Error(), tok) {
			t.Errorf("%q: %v", tok, err)
		}
	}
}

// Names of projects may hold anything, and the API may have a path.
func TestPaths(t *testing.T) {
	var seen []string
	mux := http.NewServeMux()
	mux.HandleFunc("/base/v1/projects/{project}/exports", func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.PathValue("project"))
		if r.Header.Get("Authorization") != "Bearer "+token || r.Header.Get("Accept") != "application/json" {
			t.Errorf("headers %v", r.Header)
		}
		_, _ = io.WriteString(w, `{"exports":[]}`)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	c := newClient(t, s.URL+"/base/")
	names := []string{"plain", "Курс физики 2024/25", "a%2Fb", "100 %", "a?b#c&d=e+f", "مشروع \u202eעברית", "..hidden", "a\\b", "\"'<>", "数学／基礎"}
	for _, name := range names {
		for _, err := range c.List(t.Context(), name, "", 0) {
			t.Error(err)
		}
	}
	if got, want := strings.Join(seen, "\x00"), strings.Join(names, "\x00"); got != want {
		t.Errorf("the server saw %q", seen)
	}
}

func TestCreate(t *testing.T) {
	var keys, bodies []string
	synctest.Test(t, func(t *testing.T) {
		c := faked(t, func(r *http.Request) (*http.Response, error) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			bodies = append(bodies, string(b))
			keys = append(keys, r.Header.Get("Idempotency-Key"))
			if len(keys) == 1 {
				return nil, errors.New("connection reset")
			}
			return answerWith(r, 202, `{"id":"j1","state":"queued","future_field":1}`), nil
		})
		j, started, err := c.Create(t.Context(), "p", CreateRequest{Kind: "documents", To: "2024-01-01", Fresh: true})
		if err != nil || !started || j.ID != "j1" || !strings.Contains(string(j.JSON), "future_field") {
			t.Errorf("%+v %v %v", j, started, err)
		}
	})
	if len(keys) != 2 || keys[0] == "" || keys[0] != keys[1] {
		t.Errorf("a repeated request could make a second export: keys %q", keys)
	}
	if want := `{"kind":"documents","to":"2024-01-01","fresh":true}`; bodies[0] != want || bodies[1] != want {
		t.Errorf("bodies %q", bodies)
	}
	c := faked(t, func(r *http.Request) (*http.Response, error) {
		if k := r.Header.Get("Idempotency-Key"); k != "mine" {
			t.Errorf("key %q", k)
		}
		return answerWith(r, 200, `{"id":"j1"}`), nil
	})
	if _, started, err := c.Create(t.Context(), "p", CreateRequest{IdempotencyKey: "mine"}); started || err != nil {
		t.Errorf("joined: %v %v", started, err)
	}
}

// What may pass is tried again: after the pause that the server asks for, for a
// bounded time. What may not is told at once.
func TestRetries(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string // status and Retry-After
		calls   int
		took    time.Duration // at least; at most a quarter more
		status  int           // of the error; 0: none, -1: no answer
	}{
		"at once":                  {[]string{"200"}, 1, 0, 0},
		"503 with a pause":         {[]string{"503 7", "200"}, 2, 7 * time.Second, 0},
		"429 with a pause":         {[]string{"429 3", "200"}, 2, 3 * time.Second, 0},
		"a proxy's 502, then 504":  {[]string{"502", "504", "200"}, 3, 3 * time.Second, 0},
		"a pause beyond patience":  {[]string{"503 31"}, 1, 0, 503},
		"down for long":            {[]string{"503"}, 5, 15 * time.Second, 503},
		"no answer for long":       {[]string{"-1"}, 5, 15 * time.Second, -1},
		"an error of its own":      {[]string{"500 retryable", "200"}, 2, time.Second, 0},
		"a full queue":             {[]string{"429 full"}, 1, 0, 429},
		"a state that may change":  {[]string{"409 retryable"}, 1, 0, 409},
		"refused":                  {[]string{"401"}, 1, 0, 401},
		"a page instead of an API": {[]string{"500"}, 1, 0, 500},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				cl := faked(t, func(r *http.Request) (*http.Response, error) {
					a := c.answers[min(calls, len(c.answers)-1)]
					calls++
					return scripted(r, a)
				})
				began := time.Now()
				_, err := cl.Get(t.Context(), "j1")
				if took := time.Since(began); took < c.took || took > c.took*5/4 {
					t.Errorf("took %s, want %s", took, c.took)
				}
				var p *Problem
				var u *Unreachable
				switch {
				case c.status == 0 && err != nil,
					c.status > 0 && (!errors.As(err, &p) || p.Status != c.status),
					c.status < 0 && !errors.As(err, &u):
					t.Errorf("%v", err)
				}
				if calls != c.calls {
					t.Errorf("%d calls, want %d", calls, c.calls)
				}
			})
		})
	}
}

func scripted(r *http.Request, script string) (*http.Response, error) {
	var status int
	var after string
	if _, err := fmt.Sscan(script, &status, &after); err != nil && err != io.EOF && err.Error() != "unexpected newline" {
		return nil, err
	}
	switch {
	case status < 0:
		return nil, errors.New("connection refused")
	case status == 200:
		return answerWith(r, 200, `{"id":"j1"}`), nil
	case after == "retryable" || after == "full":
		kind := map[string]string{"full": queueFull}[after]
		return answerWith(r, status, fmt.Sprintf(`{"type":%q,"title":"t","retryable":true}`, kind), "Content-Type", "application/problem+json"), nil
	}
	return answerWith(r, status, "<html>", "Retry-After", after), nil
}

func TestTroubleIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := faked(t, func(r *http.Request) (*http.Response, error) {
			if calls++; calls == 1 {
				return scripted(r, "503 9")
			}
			return scripted(r, "200")
		})
		told := ""
		c.cfg.Trouble = func(err error, pause time.Duration) { told += fmt.Sprint(pause, " ", err) }
		if _, err := c.Get(t.Context(), "j1"); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(told, "9s Service Unavailable: ") {
			t.Errorf("told %q", told)
		}
	})
}

func TestCancelInAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := faked(t, func(r *http.Request) (*http.Response, error) { return scripted(r, "503 20") })
		cause := errors.New("Ctrl-C")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(5*time.Second, func() { cancel(cause) })
		if _, err := c.Get(ctx, "j1"); !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
	})
}

func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := faked(t, func(r *http.Request) (*http.Response, error) {
			if calls++; calls > 1 {
				return scripted(r, "200")
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		if _, err := c.Get(t.Context(), "j1"); err != nil || calls != 2 {
			t.Errorf("%d calls: %v", calls, err)
		}
	})
}

func TestProblem(t *testing.T) {
	c := faked(t, func(r *http.Request) (*http.Response, error) {
		return answerWith(r, 400, `{"type":"urn:x","title":"Bad Request","status":400,"detail":"Some fields are wrong.",
			"instance":"/v1","retryable":false,"errors":[{"field":"from","message":"must be a date"}]}`, "Content-Type", "application/problem+json; charset=utf-8"), nil
	})
	_, err := c.Get(t.Context(), "j1")
	var p *Problem
	if !errors.As(err, &p) || p.Type != "urn:x" || len(p.Errors) != 1 {
		t.Fatalf("%#v", err)
	}
	if want := "Bad Request: Some fields are wrong. from: must be a date."; err.Error() != want {
		t.Errorf("%q", err)
	}
}

// A redirect would carry the token to where it leads, or show where we came from.
func TestRedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was called") }))
	defer other.Close()
	api := httptest.NewServer(http.RedirectHandler(other.URL+"/path?secret=1", http.StatusTemporaryRedirect))
	defer api.Close()
	_, err := newClient(t, api.URL).Cancel(t.Context(), "j1")
	var p *Problem
	if !errors.As(err, &p) || !strings.Contains(p.Detail, other.URL) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func TestNotAnAPI(t *testing.T) {
	c := faked(t, func(r *http.Request) (*http.Response, error) { return answerWith(r, 200, "<html>sign in</html>"), nil })
	if _, err := c.Get(t.Context(), "j1"); err == nil || !strings.Contains(err.Error(), "is the address right?") {
		t.Errorf("%v", err)
	}
	c = faked(t, func(r *http.Request) (*http.Response, error) { return answerWith(r, 304, ""), nil })
	if _, err := c.Get(t.Context(), "j1"); err == nil {
		t.Error("304 to a question that had no condition is taken for an answer")
	}
}

// The address before the cursor is the public one, which may be another.
func TestListPages(t *testing.T) {
	var asked []string
	total := 7
	c := faked(t, func(r *http.Request) (*http.Response, error) {
		q := r.URL.Query()
		asked = append(asked, r.URL.Host+" "+q.Get("state")+" "+q.Get("limit")+" "+q.Get("cursor"))
		var from, limit int
		_, _ = fmt.Sscan(q.Get("cursor"), &from)
		_, _ = fmt.Sscan(q.Get("limit"), &limit)
		limit = min(limit, 3)
		var page []map[string]string
		for i := from; i < min(from+limit, total); i++ {
			page = append(page, map[string]string{"id": fmt.Sprint(i)})
		}
		b, err := json.Marshal(map[string]any{"exports": page})
		link := fmt.Sprintf(`<https://public.example.org/v1/projects/p/exports?cursor=%d&limit=3>; rel="next"`, from+limit)
		if from+limit >= total {
			link = ""
		}
		return answerWith(r, 200, string(b), "Link", link), err
	})
	for _, want := range []struct {
		limit int
		ids   string
		calls int
	}{{0, "0123456", 3}, {7, "0123456", 3}, {4, "0123", 2}, {2, "01", 1}} {
		asked = nil
		ids := ""
		for j, err := range c.List(t.Context(), "p", "failed", want.limit) {
			if err != nil {
				t.Fatal(err)
			}
			ids += j.ID
		}
		if ids != want.ids || len(asked) != want.calls || !strings.HasPrefix(asked[0], "export.example.org failed ") {
			t.Errorf("limit %d: %q, asked %q", want.limit, ids, asked)
		}
	}
}

func TestPurgeAndExtend(t *testing.T) {
	var called []string
	c := faked(t, func(r *http.Request) (*http.Response, error) {
		called = append(called, r.Method+" "+r.URL.Path)
		if r.Method == http.MethodDelete {
			return answerWith(r, 204, ""), nil
		}
		return answerWith(r, 200, `{"id":"j1"}`), nil
	})
	if err := c.Purge(t.Context(), "j1"); err != nil {
		t.Error(err)
	}
	if _, err := c.Extend(t.Context(), "j1"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(called, ", "); got != "DELETE /base/v1/exports/j1, POST /base/v1/exports/j1/extend" {
		t.Error(got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, s := range []string{"", "0", "7", "-1", "1.5", "99999999999999999999", "18446744073709551615", "Fri, 02 Jan 2026 03:04:15 GMT",
		"Friday, 02-Jan-26 03:04:15 GMT", "Fri Jan  2 03:04:15 2026", "Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", " 7", "7s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d := retryAfter(s, now); d < 0 || d > longest {
			t.Errorf("%q: %s", s, d)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-1": 0, "soon": 0, "99999999999": longest,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(s, now); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}
