// Package parts starts the components that Bulk Export works with, for real,
// on loopback: Postgres, Redis, S3, a mail sink, an OpenID provider.
package parts

import (
	"fmt"
	"net"
)

// FreePort returns the wanted port if it is free, else any that is.
func FreePort(wanted int) (int, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", wanted))
	if err != nil && wanted != 0 {
		return FreePort(0)
	}
	if err != nil {
		return 0, fmt.Errorf("no free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
