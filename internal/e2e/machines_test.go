//go:build faultpoints

package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bulkexport/bulkexport/internal/testenv"
)

// machine is a network namespace with a link of its own to each server. Where
// namespaces are not permitted it is a proxy before each server, and its programs
// are processes of this network.
type machine struct {
	t     *testing.T
	space string // the namespace's name; empty where there is none
	addr  string // of its programs, without a port
	env   []string
	links map[string]*link
}

// link is the way to one server.
type link struct {
	t       *testing.T
	space   string
	device  string // its end on this side
	host    string // this side's address on it
	proxies []*proxy
}

// spaces tells once whether network namespaces are to be had.
var spaces = sync.OnceValue(func() error {
	const probe = "bulkexport-probe"
	if out, err := exec.Command("ip", "netns", "add", probe).CombinedOutput(); err != nil {
		return fmt.Errorf("%w %s", err, out)
	}
	return exec.Command("ip", "netns", "del", probe).Run()
})

// subnet is this run's: 10.x, of which each link has a part.
var subnet = 64 + rand.IntN(128)

var machineCount int // of this run; machines are made one after the other

const (
	toPostgres = "postgres"
	toRedis    = "redis"
	toStore    = "store"
)

// newMachine connects a machine to a world. A connection to the source passes
// on so many bytes a second; 0 is no limit.
func newMachine(t *testing.T, w *testenv.World, rate int) *machine {
	t.Helper()
	machineCount++
	m := &machine{t: t, addr: "127.0.0.1", links: make(map[string]*link)}
	if err := spaces(); err != nil {
		t.Logf("no network namespaces (%v): machines are processes of one network", err)
	} else {
		m.space = fmt.Sprintf("bulkexport-%d-%d", subnet, machineCount)
		ip(t, "netns", "add", m.space)
		t.Cleanup(func() { ip(t, "netns", "del", m.space) })
		ip(t, "-n", m.space, "link", "set", "lo", "up")
	}
	for i, name := range []string{toPostgres, toRedis, toStore} {
		m.links[name] = m.connect(i)
	}
	m.env = append(m.env,
		"DATABASE_URL="+m.links[toPostgres].via(w.DatabaseURL, 0), "SOURCE_DATABASE_URL="+m.links[toPostgres].via(w.SourceURL, rate),
		"REDIS_URL="+m.links[toRedis].via(w.RedisURL, 0), "PLATFORM_REDIS_URL="+m.links[toRedis].via(w.PlatformRedisURL, 0),
		"S3_ENDPOINT="+m.links[toStore].via(testenv.Var(t, "S3_ENDPOINT"), 0), "S3_PUBLIC_ENDPOINT="+testenv.Var(t, "S3_ENDPOINT"))
	return m
}

// connect makes the i-th link. People come by the last one.
func (m *machine) connect(i int) *link {
	m.t.Helper()
	l := &link{t: m.t, space: m.space, host: "127.0.0.1"}
	if m.space == "" {
		return l
	}
	l.device = fmt.Sprintf("bx%dm%dl%d", subnet, machineCount, i)
	part := fmt.Sprintf("10.%d.%d.", subnet, machineCount)
	l.host, m.addr = part+fmt.Sprint(4*i+1), part+fmt.Sprint(4*i+2)
	ip(m.t, "link", "add", l.device, "type", "veth", "peer", "name", l.device, "netns", m.space)
	ip(m.t, "addr", "add", l.host+"/30", "dev", l.device)
	ip(m.t, "link", "set", l.device, "up")
	ip(m.t, "-n", m.space, "addr", "add", m.addr+"/30", "dev", l.device)
	ip(m.t, "-n", m.space, "link", "set", l.device, "up")
	return l
}

// via is a server's URL as the machine sees it.
func (l *link) via(target string, rate int) string {
	l.t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		l.t.Fatal(err)
	}
	p := &proxy{t: l.t, addr: freeAddrAt(l.t, l.host), target: u.Host, rate: rate}
	p.open()
	l.t.Cleanup(p.close)
	l.proxies = append(l.proxies, p)
	u.Host = p.addr
	return u.String()
}

// cut loses everything that is sent on a link, without a word to either side.
func (l *link) cut() {
	l.t.Helper()
	if l.device != "" {
		ip(l.t, "link", "set", l.device, "down")
		return
	}
	for _, p := range l.proxies {
		p.hush()
	}
}

func (l *link) mend() {
	l.t.Helper()
	if l.device != "" {
		ip(l.t, "link", "set", l.device, "up")
		return
	}
	for _, p := range l.proxies {
		p.speak()
	}
}

// run starts a program on the machine, with its probes where the machine is
// reached, and returns the probes' address.
func (m *machine) run(s *service, name string, extra ...string) (*process, string) {
	m.t.Helper()
	cmd := exec.Command(filepath.Join(binaries, name))
	if m.space != "" {
		cmd = exec.Command("ip", "netns", "exec", m.space, filepath.Join(binaries, name))
	}
	metrics := m.port()
	env := append(append([]string{}, m.env...), "METRICS_ADDR="+metrics)
	return s.runCommand(name, cmd, append(env, extra...)...), metrics
}

// port is an address where a program of this machine may listen.
func (m *machine) port() string {
	m.t.Helper()
	if m.space == "" {
		return freeAddr(m.t)
	}
	portCount++
	return net.JoinHostPort(m.addr, fmt.Sprint(20000+portCount))
}

var portCount int // nothing else listens in these namespaces

func freeAddrAt(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
