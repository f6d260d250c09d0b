package oidc

import (
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

func start(t *testing.T) *Provider {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := Start(l, func(err error) { t.Error(err) }, "owner@example.edu", "admin@example.edu")
	t.Cleanup(func() { _ = p.Stop() })
	return p
}

// browser follows redirects until one leads to the client, and returns that.
func browser(t *testing.T, callback string) (*http.Client, func() *url.URL) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	var back *url.URL
	return &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			back = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}, func() *url.URL { return back }
}

func TestSignIn(t *testing.T) {
	const callback = "http://127.0.0.1:54321/bulk/login/callback"
	p := start(t)
	provider, err := oidc.NewProvider(t.Context(), p.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	conf := oauth2.Config{
		ClientID: ClientID, ClientSecret: ClientSecret, RedirectURL: callback,
		Endpoint: provider.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "email"},
	}
	verifier := oauth2.GenerateVerifier()
	web, back := browser(t, callback)
	page, err := web.Get(conf.AuthCodeURL("the-state", oidc.Nonce("the-nonce"), oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		t.Fatal(err)
	}
	_ = page.Body.Close()
	res, err := web.PostForm(p.Issuer()+"login/username", url.Values{
		"id": page.Request.URL.Query()["authRequestID"], "username": {"owner@example.edu"}, "password": {Password},
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if back() == nil || back().Query().Get("state") != "the-state" {
		t.Fatalf("did not come back: %s %v", res.Status, back())
	}
	token, err := conf.Exchange(t.Context(), back().Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: ClientID}).Verify(t.Context(), raw)
	if err != nil || id.Nonce != "the-nonce" {
		t.Fatalf("id token: %+v %v", id, err)
	}
	info, err := provider.UserInfo(t.Context(), oauth2.StaticTokenSource(token))
	if err != nil || info.Email != "owner@example.edu" || !info.EmailVerified || info.Subject != id.Subject {
		t.Errorf("%+v %v", info, err)
	}
}

func TestSignInReturnsToThisMachineOnly(t *testing.T) {
	p := start(t)
	for callback, allowed := range map[string]bool{
		"http://127.0.0.1:8080/callback":        true,
		"http://localhost:65535/a/b/callback":   true,
		"http://127.0.0.1.example:80/callback":  false,
		"http://127.0.0.1:1@example.edu/":       false,
		"https://example.edu/callback":          false,
		"http://127.0.0.1:80@example.edu:80/cb": false,
	} {
		web, back := browser(t, callback)
		query := url.Values{
			"client_id": {ClientID}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid"},
			"code_challenge": {oauth2.S256ChallengeFromVerifier("v")}, "code_challenge_method": {"S256"},
		}
		res, err := web.Get(p.Issuer() + "auth?" + query.Encode())
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Request.URL.Path == "/login/username"; got != allowed || back() != nil {
			t.Errorf("%s: %s %s", callback, res.Status, res.Request.URL)
		}
	}
}
