package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// peak is a process's largest resident memory so far, in bytes.
func (p *process) peak() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kb, 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n << 10
}

// memoryLimit is for a worker with one export of rows of ordinary size.
const memoryLimit = 128 << 20

// An export must not need more memory than the pools that it is given. The
// worker is built anew: the race detector takes memory of its own.
func TestMemory(t *testing.T) {
	t.Parallel()
	plain := filepath.Join(t.TempDir(), "worker")
	if out, err := exec.Command("go", "build", "-o", plain, "../../cmd/worker").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w := testenv.New(t)
	fillBulky(t, w, 200)
	s := start(t, w, 0)
	p := s.runPath("worker", plain, "METRICS_ADDR="+freeAddr(t))
	j := s.succeed(s.create(demodata.DemoProject, conversations).ID)
	if j.Result.Bytes < 5*partSize {
		t.Fatalf("%d bytes show nothing", j.Result.Bytes)
	}
	if got := p.peak(); got > memoryLimit {
		t.Errorf("the worker's memory reached %d MiB, the limit is %d", got>>20, memoryLimit>>20)
	}
}
