package queue_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/queue"
)

// certificates holds NAME.crt and NAME.key of this run.
var certificates string

// TestMain makes the certificates: a program reads SSL_CERT_FILE only once.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bulkexport-queue-")
	if err == nil {
		certificates = dir
		err = os.Setenv("SSL_CERT_FILE", filepath.Join(dir, "known.crt"))
	}
	for _, name := range []string{"known", "stranger"} {
		if err == nil {
			err = certify(filepath.Join(dir, name))
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// certify writes a certificate that has signed itself, for 127.0.0.1 alone.
func certify(name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		return err
	}
	return os.WriteFile(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

// tlsServer starts a Redis that takes TLS at secure, and plain text at addr.
func tlsServer(t *testing.T, cert string, args ...string) (secure, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure = l.Addr().String()
	_ = l.Close()
	_, port, _ := strings.Cut(secure, ":")
	file := filepath.Join(certificates, cert)
	addr, _ = server(t, append(args, "--tls-port", port, "--tls-auth-clients", "no", "--tls-replication", "yes",
		"--tls-cert-file", file+".crt", "--tls-key-file", file+".key", "--tls-ca-cert-file", file+".crt")...)
	return secure, addr
}

// Tickets flow through TLS, to each server by its own name or address, if an
// authority of SSL_CERT_FILE vouches for it.
func TestTLS(t *testing.T) {
	one, _ := tlsServer(t, "known")
	host, port, _ := strings.Cut(one, ":")
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(conf, []byte("sentinel monitor exports "+host+" "+port+" 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel, _ := tlsServer(t, "known", conf, "--sentinel")
	node, plain := tlsServer(t, "known", "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", "--tls-cluster", "yes")
	rdb := redis.NewClient(&redis.Options{Addr: plain})
	t.Cleanup(func() { _ = rdb.Close() })
	if err := rdb.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	stranger, _ := tlsServer(t, "stranger")
	for url, want := range map[string]string{
		"rediss://" + one + "/1": "",
		"redis-sentinel://" + sentinel + "/0?master=exports&tls=true":   "",
		"redis-cluster://" + node + "?tls=true":                         "",
		"redis-cluster://localhost:1," + node + "?tls=true":             "",
		"rediss://" + stranger:                                          "unknown authority",
		"rediss://" + strings.Replace(one, "127.0.0.1", "localhost", 1): "to match localhost",
	} {
		q, err := queue.Open(url)
		if err != nil {
			t.Fatal(url, err)
		}
		t.Cleanup(func() { _ = q.Close() })
		if want == "" {
			eventually(t, url+" answers", func() bool { return q.Ping(t.Context()) == nil })
			flows(t, q, serve(t, q, map[jobs.Lane]int{jobs.Large: 1}), 1)
		} else if err := q.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", url, err, want)
		}
	}
}
