package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// ctl is a person at a terminal: a folder, a token, and what was printed.
type ctl struct {
	*service
	dir   string
	token string
	said  []string // everything, to be searched for the token
}

// run returns the exit code and both outputs of exportctl.
func (c *ctl) run(args ...string) (code int, out, errs string) {
	c.t.Helper()
	cmd := c.command(args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	c.said = append(c.said, o.String(), e.String())
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

func (c *ctl) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(binaries, "exportctl"), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"EXPORT_API_URL=" + c.url, "EXPORT_API_TOKEN=" + c.token}
	return cmd
}

// want runs exportctl and wants an exit code.
func (c *ctl) want(code int, args ...string) (out, errs string) {
	c.t.Helper()
	got, out, errs := c.run(args...)
	if got != code {
		c.t.Errorf("exportctl %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, out, errs)
	}
	return out, errs
}

func newCtl(t *testing.T, extra ...string) *ctl {
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 5, Conversations: demodata.Volume{Rows: 300}})
	return &ctl{service: start(t, w, 1, extra...), dir: t.TempDir(), token: demodata.OwnerKey}
}

// The whole way of a person who never saw the API: ask, wait, download, check.
func TestExportctl(t *testing.T) {
	t.Parallel()
	c := newCtl(t)
	out, _ := c.want(0, "create", demodata.DemoProject, "conversations", "--download", "--manifest")
	const file = "cs-101-demo-convo_history.jsonl.gz"
	if !strings.Contains(out, file) || !strings.Contains(out, "is right") {
		t.Errorf("says %s", out)
	}
	c.want(0, "verify", file)
	is, err := os.Stat(filepath.Join(c.dir, file))
	if err != nil || is.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", is, err)
	}
	var list []job
	out, _ = c.want(0, "list", demodata.DemoProject, "--json")
	for line := range strings.Lines(out) {
		var j job
		if err := json.Unmarshal([]byte(line), &j); err != nil {
			t.Fatal(err)
		}
		list = append(list, j)
	}
	if len(list) != 1 || list[0].State != "succeeded" {
		t.Fatalf("%+v", list)
	}
	id := list[0].ID
	c.want(0, "wait", id)
	if out, _ := c.want(0, "get", id); !strings.Contains(out, "succeeded") || !strings.Contains(out, list[0].Result.SHA256) {
		t.Errorf("get says %s", out)
	}
	c.want(0, "download", id) // it is there already
	c.want(0, "extend", id)
	if out, _ := c.want(0, "download", id, "-o", "-"); !bytes.Equal([]byte(out), c.download(id)) {
		t.Error("the standard output has another file")
	}
	c.damage(file)
	if _, errs := c.want(8, "verify", file); !strings.Contains(errs, "part 1") {
		t.Errorf("verify says %s", errs)
	}
	if _, errs := c.want(1, "download", id); !strings.Contains(errs, "--force") && !strings.Contains(errs, "another file") {
		t.Errorf("download says %s", errs)
	}
	c.want(0, "download", id, "--force")
	c.want(0, "verify", file)
	c.another(file)
	c.want(2, "purge", id)
	c.want(0, "purge", id, "--yes")
	c.want(4, "download", id, "-o", "another")
	c.want(4, "wait", id)
	for _, text := range c.said {
		if strings.Contains(text, c.token) || strings.Contains(text, "X-Amz-") {
			t.Errorf("a secret was printed: %s", text)
		}
	}
}

// another exports into the folder where an export is already: its manifest and
// checksums stay.
func (c *ctl) another(file string) {
	c.t.Helper()
	create := []string{"create", demodata.DemoProject, "conversations", "--to", "2020-01-01", "--download", "--manifest", "-o", "another.gz"}
	if _, errs := c.want(1, create...); !strings.Contains(errs, "datapackage.json is there") {
		c.t.Errorf("says %s", errs)
	}
	c.want(0, "verify", file)
	c.want(0, append(create, "--force")...)
	c.want(8, "verify", file)
	c.want(0, "verify", "another.gz")
}

// damage changes a byte in the middle of a file.
func (c *ctl) damage(name string) {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func TestExportctlExitCodes(t *testing.T) {
	t.Parallel()
	c := newCtl(t)
	c.api.kill()
	c.api = c.service.run("api", "METRICS_ADDR="+freeAddr(t), "DOWNLOADS=stream")
	c.eventually("the API is ready", func() bool { code, _, _ := c.run("list", demodata.DemoProject); return code == 0 })

	c.want(0, "create", demodata.DemoProject, "conversations", "--download") // through the API
	c.want(2, "create", demodata.DemoProject)
	c.want(2, "nonsense")
	c.want(2, "list", demodata.DemoProject, "--nonsense")
	if _, errs := c.want(2, "list", demodata.DemoProject, "--token", "uc_1"); !strings.Contains(errs, "EXPORT_API_TOKEN") || strings.Contains(errs, "uc_1") {
		t.Errorf("says %s", errs)
	}
	c.want(2, "create", demodata.DemoProject, "conversations", "--manifest")
	c.want(2, "create", demodata.DemoProject, "conversations", "--download", "--manifest", "-o", "-")
	c.want(2, "create", demodata.DemoProject, "conversations", "--timeout", "1m")
	if _, errs := c.want(1, "create", demodata.DemoProject, "nonsense"); !strings.Contains(errs, "kind:") {
		t.Errorf("says %s", errs)
	}
	if _, errs := c.want(1, "create", demodata.DemoProject, "nonsense", "--json"); !strings.Contains(errs, `"field":"kind"`) || !strings.Contains(errs, `"exit_code":1`) {
		t.Errorf("says %s", errs)
	}
	c.want(4, "get", "00000000-0000-7000-8000-000000000000")
	c.want(4, "create", "no such/project", "documents")
	c.token = "uc_ffffffffffffffffffffffffffffffff"
	c.want(3, "list", demodata.DemoProject)
	c.token = ""
	c.want(3, "list", demodata.DemoProject)
	secret := filepath.Join(c.dir, "token")
	if err := os.WriteFile(secret, []byte(demodata.OwnerKey+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errs := c.want(3, "list", demodata.DemoProject, "--token-file", secret); !strings.Contains(errs, "chmod 600") {
		t.Errorf("says %s", errs)
	}
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	c.want(0, "list", demodata.DemoProject, "--token-file", secret)
	c.token = demodata.OwnerKey
	c.want(9, "list", demodata.DemoProject, "--api", "http://127.0.0.1:1")
}

// An export that fails, is canceled, or takes too long has a code of its own.
func TestExportctlWaits(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	c := &ctl{service: start(t, w, 0), dir: t.TempDir(), token: demodata.OwnerKey}
	id := c.create(demodata.DemoProject, conversations).ID
	if _, errs := c.want(7, "wait", id, "--timeout", "2s"); !strings.Contains(errs, "exportctl wait "+id) {
		t.Errorf("says %s", errs)
	}
	c.want(0, "cancel", id)
	c.want(6, "wait", id)
	c.want(6, "download", id)
	c.want(1, "cancel", id)
	id = c.create(demodata.DemoProject, conversations).ID
	_, err := c.Admin(t).Exec(t.Context(), `update bulkexport.jobs set state = 'failed', error_code = 'worker_lost',
		error_message = 'Workers were lost.', error_retryable = true, finished_at = now() where id = $1`, id)
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := c.want(5, "wait", id); !strings.Contains(out, "asking again may help") {
		t.Errorf("says %s", out)
	}
}

// Ctrl-C ends the waiting, not the export.
func TestExportctlInterrupted(t *testing.T) {
	t.Parallel()
	c := &ctl{service: start(t, testenv.New(t), 0), dir: t.TempDir(), token: demodata.OwnerKey}
	id := c.create(demodata.DemoProject, conversations).ID
	log := &logBuffer{}
	cmd := c.command("wait", id)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.eventually("it waits", func() bool { return strings.Contains(log.String(), "number 1 in the queue") })
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code says it
	if code := cmd.ProcessState.ExitCode(); code != 130 || !strings.Contains(log.String(), "exportctl wait "+id) {
		t.Errorf("exit code %d: %s", code, log)
	}
	if j := c.get(id); j.State != "queued" {
		t.Errorf("the export is %s", j.State)
	}
}

// A name in another script, through a service that hands its files out itself,
// and a download that an earlier run has begun.
func TestExportctlResumes(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	if err := w.Roles(t).HSet(t.Context(), "course_metadatas", demodata.OddProject, `{"course_owner":"`+demodata.OwnerEmail+`"}`).Err(); err != nil {
		t.Fatal(err)
	}
	fill(t, w, demodata.Options{Seed: 7, Conversations: demodata.Volume{Rows: 100}})
	c := &ctl{service: start(t, w, 1, "DOWNLOADS=stream"), dir: t.TempDir(), token: demodata.OwnerKey}
	c.want(0, "create", demodata.OddProject, "conversations", "--download", "--manifest", "-o", "f.gz")
	out, _ := c.want(0, "list", demodata.OddProject, "--json")
	var j job
	if err := json.Unmarshal([]byte(out), &j); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.dir, "f.gz")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	note, err := json.Marshal(map[string]any{"id": j.ID, "bytes": j.Result.Bytes, "sha256": j.Result.SHA256})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{".part": whole[:100], ".part.json": note} {
		if err := os.WriteFile(path+name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if out, _ := c.want(0, "download", j.ID, "-o", "f.gz", "--json"); !strings.Contains(out, `"resumed":100}`) {
		t.Errorf("says %s", out)
	}
	c.want(0, "verify", "f.gz")
}
