package e2e

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// web is a browser before the programs and the stack's real OpenID provider.
type web struct {
	*service
	http.Client
}

func (s *service) web() *web {
	s.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &web{service: s, Client: http.Client{Jar: jar}}
}

// send follows redirects, and returns where they ended.
func (w *web) send(method, to string, form url.Values) (*http.Response, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, to, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := w.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return res, string(b)
}

// A person signs in at the provider's form, uses the API by the cookie, and signs
// out; what was the cookie is worth nothing then.
func TestSignIn(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 0, "OIDC_ISSUER="+testenv.Var(t, "OIDC_ISSUER"),
		"OIDC_CLIENT_ID="+testenv.Var(t, "OIDC_CLIENT_ID"), "OIDC_CLIENT_SECRET="+testenv.Var(t, "OIDC_CLIENT_SECRET"))
	list := s.url + exportsOf(demodata.DemoProject)
	w := s.web()
	if res, body := w.send(http.MethodGet, list, nil); res.StatusCode != http.StatusUnauthorized {
		t.Fatalf("before: %s %s", res.Status, body)
	}

	form, body := w.send(http.MethodGet, s.url+"/login?next="+url.QueryEscape(exportsOf(demodata.DemoProject)), nil)
	if form.StatusCode != http.StatusOK || !strings.HasPrefix(form.Request.URL.String(), testenv.Var(t, "OIDC_ISSUER")) {
		t.Fatalf("not at the provider's form: %s %s\n%s", form.Request.URL, form.Status, body)
	}
	res, body := w.send(http.MethodPost, testenv.Var(t, "OIDC_ISSUER")+"login/username", url.Values{
		"id": form.Request.URL.Query()["authRequestID"], "username": {demodata.OwnerEmail}, "password": {"demo"},
	})
	if res.Request.URL.String() != list || res.StatusCode != http.StatusOK || !strings.HasPrefix(body, `{`) {
		t.Fatalf("signed in: %s %s\n%s", res.Request.URL, res.Status, body)
	}
	cookies := w.Jar.Cookies(res.Request.URL)
	if len(cookies) != 1 || !s.describes(cookies[0].Name) {
		t.Fatalf("cookies: %v", cookies)
	}

	if res, body = w.send(http.MethodGet, s.url+"/logout", nil); !strings.Contains(body, "Sign out?") {
		t.Errorf("%s %s", res.Status, body)
	}
	if res, body = w.send(http.MethodPost, s.url+"/logout", url.Values{}); res.Request.URL.String() != s.url+"/logout" || !strings.Contains(body, "You are signed out") {
		t.Errorf("signed out: %s %s\n%s", res.Request.URL, res.Status, body)
	}
	if old := s.call(http.MethodGet, exportsOf(demodata.DemoProject), "", "", "Cookie", cookies[0].String()); old.status != http.StatusUnauthorized {
		t.Errorf("the cookie of before: %d %s", old.status, old.body)
	}
	if log := s.api.log.String(); strings.Contains(log, cookies[0].Value) || strings.Contains(log, demodata.OwnerEmail) || strings.Contains(log, "code=") {
		t.Errorf("the log holds what it must not\n%s", log)
	}
}

// describes reports whether the API's description names the cookie.
func (s *service) describes(cookie string) bool {
	s.t.Helper()
	return strings.Contains(string(s.call(http.MethodGet, "/openapi.json", "", "").body), `"name":"`+cookie+`"`)
}

// Without a provider people are told so, in words.
func TestNoSignIn(t *testing.T) {
	t.Parallel()
	s := start(t, testenv.New(t), 0, "OIDC_ISSUER=", "OIDC_CLIENT_ID=")
	res, body := s.web().send(http.MethodGet, s.url+"/login", nil)
	if res.StatusCode != http.StatusNotFound || !strings.Contains(body, "There is no sign-in here") {
		t.Errorf("%s %s", res.Status, body)
	}
}
