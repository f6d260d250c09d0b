package auth

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// remote is the address that a request came from. What proxies say is believed
// from the right on, for as long as a trusted one says it: everything further
// left may be made up.
func remote(r *http.Request, trusted []netip.Prefix) string {
	at, ok := addrOf(r.RemoteAddr)
	if !ok {
		return r.RemoteAddr
	}
	// A proxy may add a line of its own instead of going on with the last.
	said := strings.Join(r.Header.Values("X-Forwarded-For"), ",")
	for said != "" && slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(at) }) {
		i := strings.LastIndexByte(said, ',')
		next, ok := addrOf(strings.TrimSpace(said[i+1:]))
		if !ok {
			break
		}
		at, said = next, said[:max(i, 0)]
	}
	return at.String()
}

// addrOf reads one, with a port or without. Zones name a machine's own
// interfaces; they go, as does the disguise of IPv4 as IPv6.
func addrOf(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		var ap netip.AddrPort
		if ap, err = netip.ParseAddrPort(s); err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}
