// Package oidc runs an OpenID provider in this process, with demo people.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The client that Bulk Export signs in with, and the demo people's password.
const (
	ClientID     = "bulk-export"
	ClientSecret = "devstack-secret"
	Password     = "demo"
)

// Provider is a running one.
type Provider struct {
	server *http.Server
	issuer string
}

// people are a user store whose user names are e-mails.
type people map[string]*storage.User

func (p people) GetUserByID(id string) *storage.User         { return p[id] }
func (p people) GetUserByUsername(name string) *storage.User { return p[name] }
func (p people) ExampleClientID() string                     { return storage.ServiceUserID }

// Start runs a provider that knows these e-mails.
func Start(l net.Listener, failed func(error), emails ...string) *Provider {
	users := people{}
	for _, e := range emails {
		users[e] = &storage.User{ID: e, Username: e, Password: Password, FirstName: e, Email: e, EmailVerified: true}
	}
	clients := map[string]*storage.Client{ClientID: storage.WebClient(ClientID, ClientSecret)}
	store := loopback{storage.NewStorageWithClients(users, clients)}
	p := &Provider{issuer: "http://" + l.Addr().String() + "/"}
	// No logger: the example would make it the process's own.
	p.server = &http.Server{Handler: exampleop.SetupServer(p.issuer, store, nil, false), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := p.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("openid provider: %w", err))
		}
	}()
	return p
}

// Issuer is the provider's name and address; it ends in a slash.
func (p *Provider) Issuer() string { return p.issuer }

// Stop ends the provider.
func (p *Provider) Stop() error { return p.server.Close() }

// loopback lets the client return to any port of this machine: tests and
// stacks choose theirs freely.
type loopback struct{ *storage.Storage }

func (l loopback) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := l.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return anyPort{c}, nil
}

type anyPort struct{ op.Client }

// RedirectURIGlobs are for after the sign-in; two stars match any path.
func (anyPort) RedirectURIGlobs() []string { return globs("/**") }

// PostLogoutRedirectURIGlobs are for after the sign-out. The provider matches
// them by other rules, in which a star never spans a slash.
func (anyPort) PostLogoutRedirectURIGlobs() []string { return globs("", "/", "/*", "/*/*") }

// globs name the ports digit by digit: a star would take what follows an @ as
// well, and so any host.
func globs(paths ...string) (all []string) {
	for _, host := range []string{"127.0.0.1", "localhost"} {
		for digits := 2; digits <= 5; digits++ {
			for _, path := range paths {
				all = append(all, "http://"+host+":"+strings.Repeat("[0-9]", digits)+path)
			}
		}
	}
	return all
}
