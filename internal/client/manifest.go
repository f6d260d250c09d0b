package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Manifest is what a data package says about a file's bytes and lines;
// docs/file-format.md explains it.
type Manifest struct {
	File      string // its name
	Bytes     int64
	SHA256    string // hexadecimal
	Rows      int64
	BytesRaw  int64
	SHA256Raw string
	Parts     []Part
}

// Part is a piece of the file that ends where a gzip member ends.
type Part struct {
	Number  int    `json:"number"`
	Bytes   int64  `json:"bytes"`
	CRC32C  string `json:"crc32c"` // base64, as S3 has it
	Rows    int64  `json:"rows"`   // that end in it
	FirstID int64  `json:"first_id"`
	LastID  int64  `json:"last_id"`
}

// formatVersion is that of the fields that this package reads.
const formatVersion = 1

// ReadManifest reads a datapackage.json. It is a *Mismatch if the sums in it do
// not add up.
func ReadManifest(text []byte) (Manifest, error) {
	var doc struct {
		Resources []struct {
			Path  string
			Bytes int64
			Hash  string
		}
		Export *struct {
			Version   int `json:"format_version"`
			Rows      int64
			BytesRaw  int64  `json:"bytes_raw"`
			SHA256Raw string `json:"sha256_raw"`
			Parts     []Part
		} `json:"bulk_export"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return Manifest{}, fmt.Errorf("the manifest is not valid JSON: %w", err)
	}
	if doc.Export == nil || len(doc.Resources) == 0 {
		return Manifest{}, errors.New("this is no manifest of an export")
	}
	e, r := doc.Export, doc.Resources[0]
	if e.Version != formatVersion {
		return Manifest{}, fmt.Errorf("the manifest has format %d, and this program knows only %d", e.Version, formatVersion)
	}
	m := Manifest{
		File: r.Path, Bytes: r.Bytes, Rows: e.Rows, BytesRaw: e.BytesRaw,
		SHA256Raw: strings.ToLower(e.SHA256Raw), Parts: e.Parts,
	}
	sum, ok := strings.CutPrefix(r.Hash, "sha256:")
	if m.SHA256 = strings.ToLower(sum); !ok {
		return Manifest{}, errors.New("the manifest has no sha256 of the file")
	}
	return m, m.addsUp()
}

// addsUp compares the manifest with itself.
func (m Manifest) addsUp() error {
	var size, rows int64
	for _, p := range m.Parts {
		size, rows = size+p.Bytes, rows+p.Rows
	}
	switch {
	case size != m.Bytes:
		return mismatch("the manifest contradicts itself: its parts have %d bytes, the file %d", size, m.Bytes)
	case rows != m.Rows:
		return mismatch("the manifest contradicts itself: its parts have %d rows, the file %d", rows, m.Rows)
	case slices.ContainsFunc(m.Parts, func(p Part) bool { return p.Bytes <= 0 || p.Rows < 0 }):
		return mismatch("the manifest contradicts itself: it has a part without bytes")
	}
	return nil
}
