package e2e

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// command runs a subcommand of the worker to its end.
func (s *service) command(args ...string) string {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), filepath.Join(binaries, "worker"), args...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("worker %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (s *service) objects() (keys []string) {
	s.t.Helper()
	for o := range s.S3.ListObjectsIter(s.t.Context(), s.Bucket, minio.ListObjectsOptions{Prefix: "exports/", Recursive: true}) {
		if o.Err != nil {
			s.t.Fatal(o.Err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

// A file goes when its time is over, and its job says so.
func TestRetention(t *testing.T) {
	w := testenv.New(t)
	fill(t, w, demodata.Options{Conversations: demodata.Volume{Rows: 50}})
	s := start(t, w, 1)
	first := s.succeed(s.create(demodata.DemoProject, `{"kind":"conversations"}`).ID)
	second := s.succeed(s.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID)
	if _, err := w.Admin(t).Exec(t.Context(), `update bulkexport.jobs set expires_at = now() where id = $1`, first.ID); err != nil {
		t.Fatal(err)
	}
	before := len(s.objects())
	if out := s.command("sweep", "-dry-run"); !strings.Contains(out, "exports expired           1") {
		t.Errorf("the dry run says:\n%s", out)
	}
	if j := s.get(first.ID); j.State != "succeeded" || len(s.objects()) != before {
		t.Errorf("a dry run changed the job to %s, and left %d of %d objects", j.State, len(s.objects()), before)
	}
	if out := s.command("sweep"); !strings.Contains(out, "exports' data deleted     1") {
		t.Errorf("the sweep says:\n%s", out)
	}
	if j := s.get(first.ID); j.State != "expired" {
		t.Errorf("the job is %s", j.State)
	}
	for _, key := range s.objects() {
		if strings.Contains(key, first.ID) {
			t.Errorf("%s is left", key)
		}
	}
	if a := s.call(http.MethodGet, "/v1/exports/"+first.ID+"/download", demodata.OwnerKey, ""); a.status != http.StatusGone {
		t.Errorf("download: %d", a.status)
	}
	if len(s.download(second.ID)) == 0 {
		t.Error("the other export lost its file")
	}
	if out := s.command("purge", "-project", demodata.DemoProject); !strings.Contains(out, "1 exports") || len(s.download(second.ID)) == 0 {
		t.Errorf("a purge without a word says:\n%s", out)
	}
	s.command("purge", "-project", demodata.DemoProject, "-yes")
	if left := s.objects(); len(left) != 0 {
		t.Errorf("left after the purge: %v", left)
	}
}
