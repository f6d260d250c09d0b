package client

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// exported is a file of two parts, with its manifest.
func exported(parts ...[]string) (file []byte, m Manifest) {
	var raw bytes.Buffer
	id := int64(0)
	for i, lines := range parts {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		p := Part{Number: i + 1, Rows: int64(len(lines)), FirstID: id + 1}
		for _, l := range lines {
			id++
			_, _ = z.Write([]byte(l + "\n"))
			raw.WriteString(l + "\n")
		}
		_ = z.Close()
		p.LastID, p.Bytes = id, int64(b.Len())
		p.CRC32C = base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(b.Bytes(), castagnoli)))
		m.Parts, m.Rows = append(m.Parts, p), m.Rows+p.Rows
		file = append(file, b.Bytes()...)
	}
	m.Bytes, m.SHA256, m.BytesRaw, m.SHA256Raw = int64(len(file)), sumHex(file), int64(raw.Len()), sumHex(raw.Bytes())
	return file, m
}

func TestVerify(t *testing.T) {
	good := [][]string{{`{"id":1,"convo":"\ud800"}`, `{"id":2,"convo":null}`}, {`{"id":3,"convo":[1e999, {"a":1,"a":2}]}`}}
	for name, c := range map[string]struct {
		parts  [][]string
		change func(file []byte, m *Manifest) []byte
		says   string // empty: it is right
	}{
		"as it is":     {good, nil, ""},
		"a byte less":  {good, func(f []byte, _ *Manifest) []byte { return f[:len(f)-1] }, "bytes; the manifest says"},
		"a wrong byte": {good, func(f []byte, _ *Manifest) []byte { f[len(f)-12] ^= 1; return f }, "part 2"},
		"swapped ids":  {[][]string{{`{"id":2}`, `{"id":1}`}}, nil, "line 2 has the id 1, which is below 2"},
		"an id twice":  {[][]string{{`{"id":1}`, `{"id":1}`}}, nil, "line 2 has the id 1 of the line before"},
		"no id":        {[][]string{{`{"a":1}`}}, nil, "line 1 does not begin with its id"},
		"not JSON":     {[][]string{{`{"id":1,"a":01}`}}, nil, "line 1 is not valid JSON"},
		"half a line":  {[][]string{{`{"id":1,"a":`}}, nil, "line 1 is not valid JSON"},
		"more rows": {good, func(f []byte, m *Manifest) []byte { m.Parts[0].Rows++; return f },
			"part 1 (bytes 0 to"},
		"another sum": {good, func(f []byte, m *Manifest) []byte { m.SHA256 = strings.Repeat("0", 64); return f }, "the file has sha256"},
		"other lines": {good, func(f []byte, m *Manifest) []byte { m.SHA256Raw = strings.Repeat("0", 64); return f }, "the lines have sha256"},
		"other ids":   {good, func(f []byte, m *Manifest) []byte { m.Parts[1].LastID = 9; return f }, "has ids 3 to 3; the manifest says 3 to 9"},
	} {
		file, m := exported(c.parts...)
		if c.change != nil {
			file = c.change(file, &m)
		}
		path := filepath.Join(t.TempDir(), "f.jsonl.gz")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		err := Verify(t.Context(), path, m, nil)
		var mismatch *Mismatch
		if c.says == "" && err != nil || c.says != "" && (!errors.As(err, &mismatch) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadManifest(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"no JSON":      {`{`, "not valid JSON"},
		"another file": {`{"resources":[{}]}`, "no manifest of an export"},
		"the future":   {`{"resources":[{}],"bulk_export":{"format_version":2}}`, "format 2"},
		"no sum":       {`{"resources":[{}],"bulk_export":{"format_version":1}}`, "no sha256"},
		"contradiction": {`{"resources":[{"bytes":2,"hash":"sha256:00"}],"bulk_export":{"format_version":1,"parts":[{"bytes":1}]}}`,
			"contradicts itself"},
	} {
		if _, err := ReadManifest([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The checker takes what the standard library takes, in pieces of any size.
func FuzzJSONChecker(f *testing.F) {
	for _, s := range []string{`{"a":[1,-0.5e+7,true,false,null,"\u00e4\n"]}`, `[]`, `{}`, `"\ud800"`, `01`, `[1,]`, `{"a" 1}`, ` 1 `, `"a`, `-`, "\"\x01\"", `1e`, `[[`} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if bytes.ContainsAny(b, "\n") {
			return // ends a line
		}
		var j jsonChecker
		ok := true
		for rest, n := b, 1+size&7; ok && len(rest) > 0; {
			piece := rest[:min(n, len(rest))]
			_, ok = j.take(piece)
			rest = rest[len(piece):]
		}
		if got, want := ok && j.complete(), json.Valid(b); got != want {
			t.Errorf("%q: %v, want %v", b, got, want)
		}
	})
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"a-convo_history.jsonl.gz", "../../etc/passwd", `C:\x.gz`, "a\u202egpj.exe", "CON.txt", "...", "\xff", strings.Repeat("é", 300) + ".gz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := cleanName(s)
		if name == "" {
			return
		}
		if strings.ContainsAny(name, "/\\\x00\r\n") || name == "." || name == ".." || strings.HasPrefix(name, ".") || len(name) > maxName ||
			!utf8.ValidString(name) || filepath.Base(name) != name {
			t.Errorf("%q became %q", s, name)
		}
		if again := cleanName(name); again != name {
			t.Errorf("%q became %q, and that %q", s, name, fmt.Sprint(again))
		}
	})
}
