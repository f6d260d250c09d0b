package auth

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// Whatever a client sends, it cannot say where it came from: behind a proxy it
// is what the proxy has put last, without one it is the peer.
func FuzzRemote(f *testing.F) {
	for _, s := range []string{"", "198.51.100.1", "10.0.0.1, x", "[::1]:80", "fe80::1%eth0,", "unknown", "1.2.3.4:5:6", "[", "]", "::ffff:10.0.0.1"} {
		f.Add(s)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	from := func(peer string, lines ...string) string {
		return remote(&http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": lines}}, trusted)
	}
	f.Fuzz(func(t *testing.T, said string) {
		if got := from("203.0.113.5:1", said); got != "203.0.113.5" {
			t.Errorf("a stranger came from %s", got)
		}
		for _, lines := range [][]string{{said + ", 198.51.100.7"}, {said, "198.51.100.7"}, {said + ",198.51.100.7:9 , 10.1.1.1"}} {
			if got := from("10.0.0.1:1", lines...); got != "198.51.100.7" {
				t.Errorf("behind a proxy that says %q: came from %s", lines, got)
			}
		}
		got := from("10.0.0.1:1", said)
		a, err := netip.ParseAddr(got)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			t.Errorf("%q is no address: %v", got, err)
		}
		// What is not the proxy itself stands in what the proxy said.
		found := got == "10.0.0.1"
		for one := range strings.SplitSeq(said, ",") {
			b, ok := addrOf(strings.TrimSpace(one))
			found = found || ok && b == a
		}
		if !found {
			t.Errorf("%q: came from %s", said, got)
		}
	})
}
