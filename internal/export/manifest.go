package export

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// manifestVersion is that of our own fields; docs/file-format.md explains them.
const manifestVersion = 1

// manifest is a Frictionless Data Package (version 2), with our own fields
// beside the standard's. It is made from what the row knows as of completing,
// so that writing it again writes the same bytes.
type manifest struct {
	Schema    string     `json:"$schema"`
	Name      string     `json:"name"`
	ID        string     `json:"id"`
	Created   time.Time  `json:"created"`
	Resources []resource `json:"resources"`
	Export    details    `json:"bulk_export"`
}

// resource is the file, as the standard describes one.
type resource struct {
	Name        string `json:"name"`
	Path        string `json:"path"`
	Format      string `json:"format"`
	MediaType   string `json:"mediatype"`
	Compression string `json:"compression"`
	Encoding    string `json:"encoding"`
	Bytes       int64  `json:"bytes"`
	Hash        string `json:"hash"`
}

type details struct {
	Version     int             `json:"format_version"`
	Project     string          `json:"project"`
	Kind        jobs.Kind       `json:"kind"`
	From        *time.Time      `json:"from"`
	To          *time.Time      `json:"to"`
	Membership  jobs.Membership `json:"membership"`
	Columns     []string        `json:"columns"`
	ColumnsLeft []string        `json:"columns_left_out"`
	Rows        int64           `json:"rows"`
	RowsPlanned int64           `json:"rows_planned"`
	Deleted     int64           `json:"deleted"`
	Appeared    int64           `json:"appeared"`
	Skipped     []jobs.Skipped  `json:"skipped"`
	ContextsCut int64           `json:"contexts_cut"`
	BytesRaw    int64           `json:"bytes_raw"`
	SHA256Raw   string          `json:"sha256_raw"`
	VerifiedBy  jobs.Proof      `json:"verified_by"`
	Parts       []jobs.Part     `json:"parts"`
}

// describe puts manifest and checksums beside the file, last of all.
func (f *file) describe(ctx context.Context, j jobs.Job, r jobs.Result) error {
	m := manifest{
		Schema: "https://datapackage.org/profiles/2.0/datapackage.json",
		Name:   "export-" + j.ID, ID: j.ID, Created: f.total.Membership.At.UTC(),
		Resources: []resource{{
			Name: string(j.Kind), Path: r.Filename, Format: "jsonl", MediaType: contentType, Compression: "gz", Encoding: "utf-8",
			Bytes: r.Bytes, Hash: "sha256:" + r.SHA256,
		}},
		Export: details{
			Version: manifestVersion, Project: j.Project, Kind: j.Kind, From: j.From, To: j.To, Membership: f.total.Membership,
			ColumnsLeft: j.Kind.LeftOut(), Rows: r.Rows, RowsPlanned: f.total.Planned, Deleted: r.Deleted, Appeared: r.Appeared,
			Skipped: append([]jobs.Skipped{}, f.allSkipped...), ContextsCut: r.ContextsCut,
			BytesRaw: r.BytesRaw, SHA256Raw: r.SHA256Raw, VerifiedBy: f.proof, Parts: f.parts,
		},
	}
	for _, c := range j.Kind.Columns() {
		m.Export.Columns = append(m.Export.Columns, c.Name)
	}
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	body = append(body, '\n')
	if err := f.beside(ctx, f.upload.Manifest(), "application/json", body); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	sums := fmt.Appendf(nil, "%s  %s\n", r.SHA256, r.Filename)
	if err := f.beside(ctx, f.upload.Checksums(), "text/plain; charset=utf-8", sums); err != nil {
		return fmt.Errorf("checksums: %w", err)
	}
	return nil
}

func (f *file) beside(ctx context.Context, key, contentType string, body []byte) error {
	if !f.session.Holds() {
		return jobs.ErrFenced
	}
	_, err := f.e.bucket.Put(ctx, key, contentType, jobs.Part{Number: 1, Bytes: int64(len(body)), CRC32C: crc32c(body)}, body)
	return err
}
