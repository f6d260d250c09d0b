package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dlclark/regexp2"
	"github.com/minio/minio-go/v7"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// asset fetches what stands beside the file.
func (s *service) asset(id, name string) []byte {
	s.t.Helper()
	a := s.call(http.MethodGet, "/v1/exports/"+id+"/"+name, demodata.AdminKey, "", "Accept", "application/json")
	if a.status != http.StatusOK {
		s.t.Fatalf("%s: %d %s", name, a.status, a.body)
	}
	res, err := http.Get(a.json(s.t)["url"].(string))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s %v", name, res.Status, err)
	}
	return b
}

// manifest is the part of a data package that the tests look at.
type manifest struct {
	Resources []struct {
		Path, Compression, Hash string
		Bytes                   int64
	}
	Export struct {
		Version    int `json:"format_version"`
		Project    string
		From, To   *time.Time
		Membership struct {
			At          time.Time
			HighWater   int64  `json:"high_water_id"`
			OpenWriters *int64 `json:"open_writers"`
		}
		Columns    []string
		Rows       int64
		VerifiedBy string `json:"verified_by"`
		Parts      []struct {
			Number, Bytes, Rows int64
			FirstID             int64 `json:"first_id"`
			LastID              int64 `json:"last_id"`
		}
	} `json:"bulk_export"`
}

func TestManifest(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fillBulky(t, w, 60)
	s := start(t, w, 1)
	// A transaction that has written and not committed when the export begins.
	open, err := w.Admin(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open.Exec(t.Context(), `update "llm-convo-monitor" set summary = 's' where id = 1`); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Add(-time.Second)
	j := s.succeed(s.create(demodata.DemoProject, `{"kind":"conversations","from":"2020-01-01"}`).ID)
	if err := open.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	body := s.asset(j.ID, "manifest")
	profile(t, body)
	var m manifest
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	rows := s.table(demodata.DemoProject)
	r, e := m.Resources[0], m.Export
	if r.Path != j.Result.Filename || r.Bytes != j.Result.Bytes || r.Hash != "sha256:"+j.Result.SHA256 || r.Compression != "gz" {
		t.Errorf("resource %+v", r)
	}
	if e.Version != 1 || e.Project != demodata.DemoProject || e.From == nil || e.To != nil || e.Rows != int64(len(rows)) || len(e.Columns) != 6 || e.VerifiedBy != "crc32c" {
		t.Errorf("%+v", e)
	}
	in := e.Membership
	if in.At.Before(began) || in.At.After(time.Now()) || in.HighWater != rows[len(rows)-1].id || in.OpenWriters == nil || *in.OpenWriters != 1 {
		t.Errorf("membership %+v", in)
	}
	m.parts(t, rows[0].id)
	s.sha256sum(j)
	s.nothingElse(w)
}

// parts must lie side by side and add up to the file.
func (m manifest) parts(t *testing.T, next int64) {
	t.Helper()
	var size, count int64
	for i, p := range m.Export.Parts {
		if p.Number != int64(i+1) || p.FirstID < next || p.LastID < p.FirstID {
			t.Errorf("part %+v behind id %d", p, next)
		}
		next, size, count = p.LastID+1, size+p.Bytes, count+p.Rows
	}
	if len(m.Export.Parts) < 2 || size != m.Resources[0].Bytes || count != m.Export.Rows {
		t.Errorf("%d parts with %d bytes and %d rows", len(m.Export.Parts), size, count)
	}
}

// profile validates a manifest against the published profile of the standard,
// version 2.0 (public domain), kept in testdata.
func profile(t *testing.T, manifest []byte) {
	t.Helper()
	c := jsonschema.NewCompiler()
	// The profile's patterns look ahead, which Go's own do not.
	c.UseRegexpEngine(func(s string) (jsonschema.Regexp, error) {
		re, err := regexp2.Compile(s, regexp2.ECMAScript)
		return pattern{re}, err
	})
	schema, err := c.Compile("testdata/datapackage-2.0.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(manifest))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("no data package: %v", err)
	}
	doc.(map[string]any)["resources"] = []any{}
	if schema.Validate(doc) == nil {
		t.Error("the profile takes anything")
	}
}

// pattern is a regular expression of ECMAScript, as JSON Schema has them.
type pattern struct{ *regexp2.Regexp }

// MatchString implements jsonschema.Regexp.
func (p pattern) MatchString(s string) bool {
	ok, err := p.Regexp.MatchString(s)
	return ok && err == nil
}

// sha256sum checks a download as a person would.
func (s *service) sha256sum(j job) {
	s.t.Helper()
	dir := s.t.TempDir()
	for name, body := range map[string][]byte{j.Result.Filename: s.download(j.ID), "SHA256SUMS": s.asset(j.ID, "checksums")} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	cmd := exec.Command("sha256sum", "--strict", "-c", "SHA256SUMS")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Errorf("sha256sum: %v\n%s", err, out)
	}
}

// nothingElse looks that the bucket holds the file, what describes it, and no
// upload that is still open.
func (s *service) nothingElse(w *testenv.World) {
	s.t.Helper()
	n := 0
	for o := range w.S3.ListObjectsIter(s.t.Context(), w.Bucket, minio.ListObjectsOptions{Prefix: "exports/", Recursive: true}) {
		if o.Err != nil {
			s.t.Fatal(o.Err)
		}
		n++
	}
	for u := range w.S3.ListIncompleteUploads(s.t.Context(), w.Bucket, "", true) {
		s.t.Errorf("left open: %s %v", u.Key, u.Err)
	}
	if n != 3 {
		s.t.Errorf("%d objects, want 3", n)
	}
}
