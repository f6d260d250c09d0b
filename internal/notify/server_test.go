package notify_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// server is a mail server that answers as it is told: for what a good one does
// not do at a test's word.
type server struct {
	answers map[string]string // by verb; "." is the end of a mail; "" hangs up
	tls     *tls.Config       // offered by STARTTLS, or from the first byte
	auth    bool

	mu       sync.Mutex
	password string
	secure   bool // at the password
	mails    int
}

// got is what has come.
func (s *server) got() (mails int, password string, secure bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails, s.password, s.secure
}

// serve starts it and returns its address.
func (s *server) serve(t *testing.T, implicit bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if implicit {
				c = tls.Server(c, s.tls)
			}
			go s.converse(c)
		}
	}()
	return l.Addr().String()
}

// certificate is one for this machine, and what makes a client trust it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	h := httptest.NewTLSServer(nil)
	t.Cleanup(h.Close)
	return h.TLS, h.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

// extensions are what the server can do.
func (s *server) extensions(secure bool) string {
	list := "250-test\r\n"
	if s.tls != nil && !secure {
		list += "250-STARTTLS\r\n"
	}
	if s.auth {
		list += "250-AUTH PLAIN LOGIN\r\n"
	}
	return list + "250 HELP"
}

// take reads a mail to its end.
func (s *server) take(in *bufio.Scanner) {
	for in.Scan() && in.Text() != "." {
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails++
}

func (s *server) converse(c net.Conn) {
	defer c.Close()
	_, secure := c.(*tls.Conn)
	in := bufio.NewScanner(c)
	say := func(line string) { _, _ = c.Write([]byte(line + "\r\n")) }
	if a, ok := s.answers["greeting"]; ok {
		say(a)
		return
	}
	say("220 test")
	for in.Scan() {
		line := in.Text()
		verb := strings.ToUpper(strings.SplitN(line, " ", 2)[0])
		if a, ok := s.answers[verb]; ok {
			if a == "" {
				return
			}
			say(a)
			continue
		}
		switch verb {
		case "EHLO":
			say(s.extensions(secure))
		case "STARTTLS":
			say("220 go on")
			c, secure = tls.Server(c, s.tls), true
			in = bufio.NewScanner(c)
		case "AUTH":
			b, _ := base64.StdEncoding.DecodeString(line[strings.LastIndex(line, " ")+1:])
			s.mu.Lock()
			s.password, s.secure = string(b), secure
			s.mu.Unlock()
			say("235 welcome")
		case "DATA":
			say("354 go on")
			s.take(in)
			if a, ok := s.answers["."]; ok {
				if a == "" {
					return
				}
				say(a)
				continue
			}
			say("250 taken")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
