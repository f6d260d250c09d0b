// Package notify writes mails about exports and hands them to a mail server.
// What they say stands in catalogue.tmpl. None holds a row of a project, or a
// link that opens data by itself.
package notify

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/url"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Config is how mails leave and what they say of this installation.
type Config struct {
	// URL is smtp://user:password@host:587, encrypted by STARTTLS but on this
	// machine or with ?tls=off, or smtps://user:password@host:465.
	URL       string
	From      string // an address, or: Name <address>
	PublicURL string // of the pages, without a slash at the end
	Zone      *time.Location
	Now       func() time.Time
}

// Mailer sends mails by SMTP. It implements jobs.Mailer.
type Mailer struct {
	server
	from      *netmail.Address
	publicURL string
	zone      *time.Location
	now       func() time.Time
}

var _ jobs.Mailer = (*Mailer)(nil)

// server is where mails go.
type server struct {
	addr           string
	host           string
	user, password string
	implicit       bool // TLS from the first byte
	policy         mail.TLSPolicy
	tls            *tls.Config
}

// Open makes a Mailer; it does not connect yet. An error says what to write
// instead, and nothing of the URL, which holds a password.
func Open(c Config) (*Mailer, error) {
	s, err := parseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("SMTP_URL: %w", err)
	}
	from, err := netmail.ParseAddress(c.From)
	if err != nil {
		return nil, errors.New("MAIL_FROM must be an address, or: Name <address>")
	}
	return &Mailer{server: s, from: from, publicURL: c.PublicURL, zone: c.Zone, now: c.Now}, nil
}

func parseURL(raw string) (s server, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || (u.Scheme != "smtp" && u.Scheme != "smtps") || strings.Trim(u.Path, "/") != "" || u.Fragment != "" {
		return s, errors.New("must be smtp://user:password@host:587 or smtps://user:password@host:465; " +
			"what is special in a URL is written as %XX in user and password")
	}
	s.host, s.user, s.implicit = u.Hostname(), u.User.Username(), u.Scheme == "smtps"
	s.password, _ = u.User.Password()
	port := u.Port()
	if port == "" && s.implicit {
		port = "465"
	} else if port == "" {
		port = "587"
	}
	s.addr = net.JoinHostPort(s.host, port)
	s.tls = &tls.Config{ServerName: s.host, MinVersion: tls.VersionTLS12}
	s.policy = mail.TLSMandatory
	here := loopback(s.host)
	switch q := u.RawQuery; {
	case q == "tls=off" && !s.implicit:
		s.policy = mail.NoTLS
	case q != "":
		return s, errors.New("takes nothing after the host but ?tls=off, and smtps:// not even that")
	case here && !s.implicit:
		s.policy = mail.NoTLS
	}
	if s.user != "" && s.policy == mail.NoTLS && !here {
		return s, errors.New("has a user and ?tls=off: the password would travel for everybody to read; leave one of them out")
	}
	return s, nil
}

// loopback tells whether what is sent to host stays on this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
