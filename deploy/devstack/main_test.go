package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asCommand makes this test binary the devstack command. Under the names of
// the programs it pretends to be one of them.
const asCommand = "DEVSTACK_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); {
	case name == "api" || name == "worker":
		pretend(name)
	case os.Getenv(asCommand) != "":
		main()
	default:
		os.Exit(m.Run())
	}
}

// pretend is a program that is ready at once. Asked to, it ends by itself.
func pretend(name string) {
	fmt.Println(name, "with", os.Getenv("DATABASE_URL"))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	http.HandleFunc("GET /readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("POST /end", func(http.ResponseWriter, *http.Request) {
		fmt.Println("the reason of", name)
		os.Exit(3)
	})
	server := &http.Server{Addr: os.Getenv("METRICS_ADDR")}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	_ = server.ListenAndServe()
}

// devstack is the command as a process of its own.
type devstack struct {
	*exec.Cmd
	out, err output
}

// output can be read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func prepare(t *testing.T, args ...string) *devstack {
	t.Helper()
	d := &devstack{Cmd: exec.Command(os.Args[0], args...)}
	d.Env = append(os.Environ(), asCommand+"=yes")
	d.Stdout, d.Stderr = &d.out, &d.err
	// What a killed devstack leaves behind must not hold its output open.
	d.WaitDelay = 10 * time.Second
	return d
}

// eventually polls with a deadline that a busy machine does not reach.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for tick := time.Tick(10 * time.Millisecond); !ok(); {
		select {
		case <-tick:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// code waits for the end and returns the exit code.
func (d *devstack) code(t *testing.T) int {
	t.Helper()
	err := d.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return d.ProcessState.ExitCode()
}

func (d *devstack) begin(t *testing.T) {
	t.Helper()
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.Process.Kill()
		if t.Failed() {
			t.Logf("out:\n%s\nerr:\n%s", &d.out, &d.err)
		}
	})
}

func (d *devstack) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := d.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// upOn is `devstack up` on a folder, with programs that pretend.
func upOn(t *testing.T, dir string) *devstack {
	t.Helper()
	programs := t.TempDir()
	for _, name := range []string{"api", "worker"} {
		if err := os.Symlink(os.Args[0], filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	return prepare(t, "up", "-data", dir, "-rows", "30", "-documents", "4",
		"-api", filepath.Join(programs, "api"), "-worker", filepath.Join(programs, "worker"))
}

func (d *devstack) isUp(t *testing.T) {
	t.Helper()
	eventually(t, "devstack up", func() bool {
		if strings.Contains(d.err.String(), "devstack:") {
			t.Fatal(d.err.String())
		}
		return strings.Contains(d.out.String(), "Ctrl-C takes everything down")
	})
}

// variable reads stack.env as a shell does.
func variable(t *testing.T, dir, name string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", `. "$1/stack.env"; printenv "$2"`, "sh", dir, name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func postmaster(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "postgres", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, _, _ := strings.Cut(string(b), "\n")
	return pid
}

func gone(pid string) bool {
	_, err := os.Stat(filepath.Join("/proc", pid))
	return errors.Is(err, os.ErrNotExist)
}

// The life of one data folder: interrupted, killed, and its api ending.
func TestUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := upOn(t, dir)
	first.begin(t)
	first.isUp(t)
	url := variable(t, dir, "API_URL")
	if !strings.Contains(first.out.String(), "30 conversations") || !strings.Contains(first.out.String(), url) {
		t.Errorf("said:\n%s", &first.out)
	}
	t.Run("refuses a second instance", func(t *testing.T) { refusesSecond(t, dir, first.Process.Pid) })
	database := postmaster(t, dir)
	first.signal(t, os.Interrupt)
	if code := first.code(t); code != 0 || first.err.String() != "" {
		t.Errorf("exit code %d after Ctrl-C: %s", code, &first.err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stack.env")); !errors.Is(err, os.ErrNotExist) || !gone(database) {
		t.Errorf("left behind: stack.env (%v), or postgres", err)
	}

	killed := upOn(t, dir)
	killed.begin(t)
	killed.isUp(t)
	if again := variable(t, dir, "API_URL"); again != url || strings.Contains(killed.out.String(), "conversations and") {
		t.Errorf("not the same stack again: %s\n%s", again, &killed.out)
	}
	database = postmaster(t, dir)
	killed.signal(t, os.Kill)
	killed.code(t)
	eventually(t, "end of the killed one's postgres", func() bool { return gone(database) })

	third := upOn(t, dir)
	third.begin(t)
	third.isUp(t)
	res, err := http.Post("http://"+variable(t, dir, "METRICS_ADDR")+"/end", "", nil)
	if err == nil {
		_ = res.Body.Close()
	}
	code := third.code(t)
	for _, want := range []string{"api ended unexpectedly (exit status 3)", "the reason of api"} {
		if code != 1 || !strings.Contains(third.err.String(), want) {
			t.Errorf("exit code %d, and no %q in: %s", code, want, &third.err)
		}
	}
}

func refusesSecond(t *testing.T, dir string, pid int) {
	d := upOn(t, dir)
	d.begin(t)
	if code := d.code(t); code != 1 || !strings.Contains(d.err.String(), fmt.Sprintf("another devstack (process %d) runs on %s", pid, dir)) {
		t.Errorf("%d %s", code, &d.err)
	}
}

func TestUpNamesAMissingProgram(t *testing.T) {
	d := prepare(t, "up", "-data", t.TempDir(), "-api", "/nonexistent/api")
	d.begin(t)
	if code := d.code(t); code != 1 || !strings.Contains(d.err.String(), "/nonexistent/api is missing: run `make build`") {
		t.Errorf("%d %s", code, &d.err)
	}
}

// execIn is `devstack exec` of a script, with a folder for temporary files.
func execIn(t *testing.T, tmp, script string) *devstack {
	t.Helper()
	d := prepare(t, "exec", "--", "sh", "-c", script)
	d.Env = append(d.Env, "TMPDIR="+tmp)
	return d
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestExec(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	d := execIn(t, tmp, `cat; echo "$DATABASE_URL $S3_BUCKET"; exit 7`)
	d.Stdin = strings.NewReader("input ")
	d.begin(t)
	if code := d.code(t); code != 7 {
		t.Errorf("exit code %d: %s", code, &d.err)
	}
	if got := d.out.String(); !strings.HasPrefix(got, "input postgres://bulkexport:") || !strings.HasSuffix(got, " exports\n") {
		t.Errorf("out: %q", got)
	}
	empty(t, tmp)
}

func TestExecPassesSignalsOn(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	d := execIn(t, tmp, `trap 'echo got it; exit 5' TERM; trap 'echo one' USR1; echo there; while :; do sleep 0.01; done`)
	d.begin(t)
	eventually(t, "start of the command", func() bool { return strings.Contains(d.out.String(), "there") })
	d.signal(t, syscall.SIGUSR1)
	eventually(t, "first signal", func() bool { return strings.Contains(d.out.String(), "one") })
	d.signal(t, syscall.SIGTERM)
	if code := d.code(t); code != 5 || !strings.Contains(d.out.String(), "got it") {
		t.Errorf("exit code %d: %s", code, &d.err)
	}
	empty(t, tmp)
}

func TestExecTellsOfABrokenComponent(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	d := execIn(t, tmp, `kill -9 $(head -n 1 "$TMPDIR"/*/postgres/postmaster.pid); read line; exit 0`)
	in, err := d.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.begin(t)
	eventually(t, "message", func() bool { return strings.Contains(d.err.String(), "postgres ended unexpectedly") })
	if _, err := io.WriteString(in, "end\n"); err != nil {
		t.Fatal(err)
	}
	if code := d.code(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	empty(t, tmp)
}

func TestExecOfNothing(t *testing.T) {
	for _, args := range [][]string{{"exec"}, {"exec", "-x"}, {"nothing"}, {}} {
		d := prepare(t, args...)
		d.begin(t)
		if code := d.code(t); code != 2 || !strings.Contains(d.err.String(), "exec") {
			t.Errorf("%q: %d %s", args, code, &d.err)
		}
	}
	d := execIn(t, t.TempDir(), "")
	d.Args = []string{d.Args[0], "exec", "--", "/nonexistent/command"}
	d.begin(t)
	if code := d.code(t); code != 127 || !strings.Contains(d.err.String(), "/nonexistent/command") {
		t.Errorf("%d %s", code, &d.err)
	}
}

// Root gives Postgres another user; anybody else runs it as themselves.
func TestExecAsAnotherUser(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "devstack-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	tmp, self := filepath.Join(dir, "tmp"), filepath.Join(dir, "devstack")
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(self, b, 0o755), os.Mkdir(tmp, 0o777), os.Chmod(tmp, 0o777))
	if err != nil {
		t.Fatal(err)
	}
	d := execIn(t, tmp, "exit 7")
	d.Path, d.Dir = self, "/"
	if os.Geteuid() == 0 {
		d.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	d.begin(t)
	if code := d.code(t); code != 7 {
		t.Errorf("exit code %d: %s", code, &d.err)
	}
	empty(t, tmp)
}
