//go:build image

package check

import (
	"cmp"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// replay does what the Dockerfile says in folders of its own, one a stage. The
// image of Go is this machine: its toolchain and its certificates.
type replay struct {
	t      *testing.T
	trees  map[string]string // of stages, by name
	works  map[string]string // their WORKDIR
	folder string            // of the stage
	work   string
}

func (r *replay) stage(s instructions.Stage) string {
	r.t.Helper()
	r.folder, r.work = r.t.TempDir(), cmp.Or(r.works[s.BaseName], "/")
	if before := r.trees[s.BaseName]; before != "" {
		r.copy(before+"/.", r.folder)
	} else if strings.HasPrefix(s.BaseName, "golang:") {
		r.copy("/etc/ssl/certs/ca-certificates.crt", r.folder+"/etc/ssl/certs/")
	} else if s.BaseName != "scratch" {
		r.t.Fatalf("no idea what %s holds", s.BaseName)
	}
	for _, c := range s.Commands {
		switch c := c.(type) {
		case *instructions.WorkdirCommand:
			r.work = c.Path
			r.mkdir(r.folder + r.work)
		case *instructions.CopyCommand:
			r.copies(c)
		case *instructions.RunCommand:
			r.run(strings.Join(c.CmdLine, " "))
		case *instructions.ArgCommand, *instructions.LabelCommand, *instructions.EnvCommand, *instructions.UserCommand,
			*instructions.ExposeCommand, *instructions.StopSignalCommand, *instructions.HealthCheckCommand,
			*instructions.CmdCommand, *instructions.EntrypointCommand:
			// They describe what is run, and leave no files.
		default:
			r.t.Fatalf("no idea how to replay %s", c.Name())
		}
	}
	r.trees[s.Name], r.works[s.Name] = r.folder, r.work
	return r.folder
}

// copies replays a COPY. What is written with a slash at its end is a folder.
func (r *replay) copies(c *instructions.CopyCommand) {
	r.t.Helper()
	to := c.DestPath
	if !filepath.IsAbs(to) {
		to = filepath.Join(r.work, to) + "/"
	}
	for _, from := range c.SourcePaths {
		switch {
		case c.From != "":
			r.copy(filepath.Join(r.trees[c.From], from), r.folder+to)
		case from == ".":
			r.context(r.folder + to)
		default:
			r.copy(filepath.Join(root, from), r.folder+to)
		}
	}
}

// context copies the repository, but for what .dockerignore names.
func (r *replay) context(to string) {
	r.t.Helper()
	f, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	lines, err := ignorefile.ReadAll(f)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, entry := range entries(r.t, root) {
		ignored, err := patternmatcher.MatchesOrParentMatches(entry, lines)
		if err != nil {
			r.t.Fatal(err)
		}
		if !ignored {
			r.copy(filepath.Join(root, entry), to)
		}
	}
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func (r *replay) mkdir(dir string) {
	r.t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replay) copy(from, to string) {
	r.t.Helper()
	r.mkdir(filepath.Dir(to))
	if out, err := exec.Command("cp", "-r", "--preserve=mode", from, to).CombinedOutput(); err != nil {
		r.t.Fatalf("cp %s %s: %v\n%s", from, to, err, out)
	}
}

// run replays a RUN by this machine's shell: /out/ is the stage's.
func (r *replay) run(line string) {
	r.t.Helper()
	r.t.Logf("RUN %s", line)
	cmd := exec.Command("/bin/sh", "-c", strings.ReplaceAll(line, " /out/", " "+r.folder+"/out/"))
	cmd.Dir = r.folder + r.work
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// image is what the Dockerfile makes, below a folder.
type image struct {
	t           *testing.T
	tree        string
	health, cmd []string
}

func build(t *testing.T) *image {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("only root can run the programs as somebody else in a tree of their own: sudo make check-image")
	}
	r := &replay{t: t, trees: map[string]string{}, works: map[string]string{}}
	i := &image{t: t}
	all := stages(t)
	for _, s := range all {
		i.tree = r.stage(s)
	}
	last := all[len(all)-1]
	i.health = commands[*instructions.HealthCheckCommand](last)[0].Health.Test[1:]
	i.cmd = commands[*instructions.CmdCommand](last)[0].CmdLine
	// The folders of a test are its user's alone; an image's root is everybody's.
	if err := os.Chmod(i.tree, 0o755); err != nil {
		t.Fatal(err)
	}
	return i
}

// command is one that runs in the image as its user, who may write nowhere and
// gain nothing, in a network that is this machine's.
func (i *image) command(env []string, args ...string) *exec.Cmd {
	const script = `set -e; mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"
		exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups= "$0" "$@"`
	cmd := exec.Command("unshare", append([]string{"-m", "/bin/sh", "-c", script, i.tree}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	return cmd
}

// TestImage builds the image without an engine and runs it on the stack.
func TestImage(t *testing.T) {
	i := build(t)
	t.Run("holds the programs and nothing else", i.holds)
	t.Run("CMD", func(t *testing.T) { i.works(t, i.cmd[0]) })
	t.Run("worker", func(t *testing.T) { i.works(t, "/usr/local/bin/worker") })
	t.Run("one that is not ready", i.unwell)
}

func (i *image) holds(t *testing.T) {
	var got []string
	var size int64
	err := filepath.WalkDir(i.tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		s, err := d.Info()
		size += s.Size()
		got = append(got, strings.TrimPrefix(path, i.tree))
		return err
	})
	want := []string{"/etc/ssl/certs/ca-certificates.crt", "/usr/local/bin/api", "/usr/local/bin/worker"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v: %q, want %q", err, got, want)
	}
	for _, program := range want[1:] {
		f, err := elf.Open(i.tree + program)
		if err != nil {
			t.Fatal(err)
		}
		if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 || slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
			t.Errorf("%s is not static: %v %v", program, libs, err)
		}
		_ = f.Close()
	}
	t.Logf("%d MB", size>>20)
}

// environ is the stack's, in the image's own environment.
func environ(t *testing.T) (env []string) {
	t.Helper()
	if os.Getenv("DATABASE_URL") == "" {
		t.Fatal("DATABASE_URL is not set: run `make check-image`")
	}
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		for _, prefix := range []string{"DATABASE_", "SOURCE_", "REDIS_", "PLATFORM_", "S3_", "OIDC_", "SMTP_", "MAIL_"} {
			if strings.HasPrefix(name, prefix) {
				env = append(env, e)
			}
		}
	}
	// A zone that only the program itself can know there.
	return append(env, "HTTP_ADDR="+freeAddr(t), "METRICS_ADDR="+freeAddr(t), "DISPLAY_TZ=America/Chicago")
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// works starts a program, waits until HEALTHCHECK finds it well, looks who it is
// and what it may, and ends it.
func (i *image) works(t *testing.T, program string) {
	env := environ(t)
	var log strings.Builder
	cmd := i.command(env, program)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out []byte
	err := fmt.Errorf("never asked")
	for err != nil {
		select {
		case end := <-exited:
			t.Fatalf("%s ended: %v\n%s", program, end, &log)
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			<-exited
			t.Fatalf("%s is not well: %v %s\n%s", program, err, out, &log)
		case <-time.After(100 * time.Millisecond):
		}
		out, err = i.command(env, i.health...).CombinedOutput()
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	for _, want := range []string{"\nUid:\t65532\t65532\t65532\t65532\n", "\nGid:\t65532\t65532\t65532\t65532\n", "\nCapEff:\t0000000000000000\n", "\nNoNewPrivs:\t1\n"} {
		if err != nil || !strings.Contains(string(status), want) {
			t.Errorf("%v: no %q in\n%s", err, want, status)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", cmd.Process.Pid))
	if first, _, _ := strings.Cut(string(mounts), "\n"); err != nil || !strings.Contains(first, " / ") || !strings.Contains(first, " ro") {
		t.Errorf("%v: the root is not read-only: %s", err, first)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := <-exited; err != nil {
		t.Errorf("%s does not end well at SIGTERM: %v\n%s", program, err, &log)
	}
}

// unwell: a program that answers nothing fails its check.
func (i *image) unwell(t *testing.T) {
	if out, err := i.command(environ(t), i.health...).CombinedOutput(); err == nil {
		t.Errorf("healthy without a program: %s", out)
	}
}
