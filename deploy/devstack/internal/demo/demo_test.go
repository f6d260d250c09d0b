package demo

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// service pretends to be API and object store. It is queued at the first poll,
// running at the second, and over at the third.
type service struct {
	*httptest.Server
	file   []byte
	result map[string]any
	state  string // the last
	polls  int
	looks  int // into the inbox; the mail is there at the second
}

func start(t *testing.T, file []byte) *service {
	t.Helper()
	sum := sha256.Sum256(file)
	s := &service{file: file, state: "succeeded", result: map[string]any{
		"filename": "demo.jsonl.gz", "rows": 2, "bytes": len(file), "bytes_raw": 1, "sha256": hex.EncodeToString(sum[:]),
	}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/projects/{project}/exports", s.authorised(func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("project") != "a/b" {
			http.Error(w, "which project?", http.StatusNotFound)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		s.job(w, "queued")
	}))
	mux.HandleFunc("GET /v1/exports/{id}", s.authorised(func(w http.ResponseWriter, _ *http.Request) {
		s.polls++
		s.job(w, []string{"queued", "running", s.state}[min(s.polls, 3)-1])
	}))
	mux.HandleFunc("GET /v1/exports/{id}/download", s.authorised(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"url": s.URL + "/store?secret"})
	}))
	mux.HandleFunc("GET /api/messages", func(w http.ResponseWriter, _ *http.Request) {
		s.looks++
		text := "See http://h/exports/j0\r\n"
		if s.looks > 1 {
			text = "See http://h/exports/j1\r\n\r\nBye\r\n"
		}
		_ = json.NewEncoder(w).Encode([]map[string]any{{"to": []string{"c@d"}, "subject": "FYI", "text": "http://h/exports/j1"}, {
			"to": []string{"a@b"}, "subject": "Ready", "text": text, "headers": []map[string]string{{"name": "From", "value": "Export <e@b>"}},
		}})
	})
	mux.HandleFunc("GET /store", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			http.Error(w, "the key has come along", http.StatusBadRequest)
			return
		}
		_, _ = w.Write(s.file)
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *service) authorised(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer uc_key" || r.Header.Get("Accept") != "application/json" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func (s *service) job(w http.ResponseWriter, state string) {
	job := map[string]any{"id": "j1", "requested_by": "a@b", "state": state, "phase": nil, "progress": map[string]any{"rows": 1, "rows_total": 2}}
	if state == "succeeded" {
		job["result"] = s.result
	}
	_ = json.NewEncoder(w).Encode(job)
}

// run returns what the demo has printed.
func (s *service) run(t *testing.T) (string, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	runErr := Run(t.Context(), Options{API: s.URL, Key: "uc_key", Project: "a/b", Inbox: s.URL, Folder: filepath.Join(t.TempDir(), "downloads"), Out: out})
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b), runErr
}

func zip(t *testing.T, members ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, m := range members {
		z := gzip.NewWriter(&b)
		if _, err := z.Write([]byte(m)); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestRun(t *testing.T) {
	s := start(t, zip(t, `{"id":1}`+"\n", `{"id":2}`+"\n"))
	out, err := s.run(t)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"export j1", "  queued, 1 rows\n", "  running, 1 rows\n", "  succeeded, 1 rows\n", `"state": "succeeded"`,
		"\n  {\"id\":1}\n", "downloads/demo.jsonl.gz\n", fmt.Sprintf("2 rows, %d bytes of gzip", len(s.file)),
		"  From: Export <e@b>\n  To: a@b\n  Subject: Ready\n\n  See http://h/exports/j1\n\n  Bye\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	if strings.Contains(out, "secret") {
		t.Error("the link is shown, which opens the data by itself")
	}
}

func TestRunFindsOut(t *testing.T) {
	rows := zip(t, "{}\n{}\n")
	for name, c := range map[string]struct {
		change func(*service)
		want   string
	}{
		"a failed export":   {func(s *service) { s.state = "failed" }, "the export is failed"},
		"other bytes":       {func(s *service) { s.file = zip(t, "{}\n{ }\n") }, "the job says"},
		"a wrong checksum":  {func(s *service) { s.result["sha256"] = "00" }, "the job says"},
		"a wrong row count": {func(s *service) { s.result["rows"] = 3 }, "has 2 rows, the job says 3"},
		"no download": {func(s *service) {
			s.Config.Handler.(*http.ServeMux).HandleFunc("GET /v1/exports/j1/download", http.NotFound)
		}, "404"},
	} {
		s := start(t, rows)
		c.change(s)
		if _, err := s.run(t); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTruncatedFileIsNoFile(t *testing.T) {
	file := zip(t, strings.Repeat("{}\n", 1000))
	path := filepath.Join(t.TempDir(), "f.gz")
	if err := os.WriteFile(path, file[:len(file)-4], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := inspect(path); err == nil {
		t.Error("no error")
	}
}

func TestBeginning(t *testing.T) {
	for in, want := range map[string]string{
		"":                               "",
		"short\nnext":                    "short",
		strings.Repeat("x", shown):       strings.Repeat("x", shown),
		strings.Repeat("x", shown) + "y": strings.Repeat("x", shown) + " …",
	} {
		if got := beginning([]byte(in)); got != want {
			t.Errorf("%.20q…: %.20q…", in, got)
		}
	}
	for pad := range 4 {
		got := beginning([]byte(strings.Repeat("x", pad) + strings.Repeat("😀", shown)))
		if !utf8.ValidString(got) || len(got) > shown+len(" …") || !strings.HasSuffix(got, "😀 …") {
			t.Errorf("%d: %q", pad, got[len(got)-12:])
		}
	}
}
