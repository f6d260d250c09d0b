package parts

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// The client that Bulk Export signs in with, and the demo people's password.
const (
	OIDCClientID     = "bulk-export"
	OIDCClientSecret = "devstack-secret"
	DemoPassword     = "demo"
)

// OIDC is an OpenID provider in this process, with demo people.
type OIDC struct {
	server *http.Server
	port   int
}

// people are a user store whose user names are e-mails.
type people map[string]*storage.User

func (p people) GetUserByID(id string) *storage.User         { return p[id] }
func (p people) GetUserByUsername(name string) *storage.User { return p[name] }
func (p people) ExampleClientID() string                     { return storage.ServiceUserID }

// StartOIDC runs a provider that knows these e-mails.
func StartOIDC(port int, emails ...string) (*OIDC, error) {
	users := people{}
	for _, e := range emails {
		users[e] = &storage.User{ID: e, Username: e, Password: DemoPassword, FirstName: e, Email: e, EmailVerified: true}
	}
	clients := map[string]*storage.Client{OIDCClientID: storage.WebClient(OIDCClientID, OIDCClientSecret)}
	store := loopback{storage.NewStorageWithClients(users, clients)}
	o := &OIDC{port: port}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("openid provider: %w", err)
	}
	// No logger: the example would make it the process's own.
	o.server = &http.Server{Handler: exampleop.SetupServer(o.Issuer(), store, nil, false), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = o.server.Serve(l) }()
	return o, nil
}

// Issuer is the provider's name and address; it ends in a slash.
func (o *OIDC) Issuer() string { return fmt.Sprintf("http://localhost:%d/", o.port) }

// Stop ends the provider.
func (o *OIDC) Stop() error { return o.server.Close() }

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

var loopbackGlobs = []string{"http://127.0.0.1:*/**", "http://localhost:*/**"}

func (anyPort) RedirectURIGlobs() []string           { return loopbackGlobs }
func (anyPort) PostLogoutRedirectURIGlobs() []string { return loopbackGlobs }
