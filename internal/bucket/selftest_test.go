package bucket_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

const selfTestKey = "exports/self-test/n/data.jsonl.gz"

func TestSelfTest(t *testing.T) {
	b, w := open(t)
	lacks, err := b.SelfTest(t.Context(), selfTestKey)
	// The test's own store keeps no versions and says so by refusing the question.
	if err != nil || len(lacks) > 1 || (len(lacks) == 1 && !strings.Contains(lacks[0], "does not tell whether")) {
		t.Errorf("%q, %v", lacks, err)
	}
	nothingLeft(t, w)
}

func nothingLeft(t *testing.T, w *testenv.World) {
	t.Helper()
	for o := range w.S3.ListObjectsIter(t.Context(), w.Bucket, minio.ListObjectsOptions{Recursive: true}) {
		t.Errorf("left behind: %s %v", o.Key, o.Err)
	}
	for u := range w.S3.ListIncompleteUploads(t.Context(), w.Bucket, "", true) {
		t.Errorf("left open: %s %v", u.Key, u.Err)
	}
}

// another is a store that differs in one thing from the real one behind it.
type another struct {
	name   string
	want   string // in the error or a lack
	fatal  bool
	in     func(*http.Request)               // changes what the store gets
	out    func(*http.Response)              // changes what the client gets
	answer func(*http.Request) (int, string) // instead of the store, unless 0
}

func asked(r *http.Request, key string) bool { _, ok := r.URL.Query()[key]; return ok }

var others = []another{
	{name: "no checksums", want: "no checksum", out: func(r *http.Response) {
		r.Header.Del("X-Amz-Checksum-Crc32c")
		r.Header.Del("X-Amz-Checksum-Type")
	}},
	{name: "no ranges", want: "Range", in: func(r *http.Request) { r.Header.Del("Range") }},
	{name: "no names", want: "name", out: func(r *http.Response) { r.Header.Del("Content-Disposition") }},
	{name: "versions", want: "versioning is Enabled", answer: func(r *http.Request) (int, string) {
		if asked(r, "versioning") {
			return 200, `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`
		}
		return 0, ""
	}},
	{name: "locks", want: "object lock", answer: func(r *http.Request) (int, string) {
		if asked(r, "object-lock") {
			return 200, `<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>`
		}
		return 0, ""
	}},
	{name: "refuses unequal parts", want: "parts of unequal size", fatal: true, answer: func(r *http.Request) (int, string) {
		if r.Method == http.MethodPost && asked(r, "uploadId") {
			return 400, `<Error><Code>InvalidPart</Code><Message>All non-trailing parts must have the same length.</Message></Error>`
		}
		return 0, ""
	}},
	{name: "refuses links", want: "presigned", fatal: true, answer: func(r *http.Request) (int, string) {
		if asked(r, "X-Amz-Signature") {
			return 403, `<Error><Code>AccessDenied</Code></Error>`
		}
		return 0, ""
	}},
	{name: "deletes nothing", want: "still there", fatal: true, answer: func(r *http.Request) (int, string) {
		if r.Method == http.MethodDelete {
			return 204, ""
		}
		return 0, ""
	}},
}

// What a store lacks is named, and nothing is left behind or leaks.
func TestSelfTestNamesWhatIsLacking(t *testing.T) {
	for _, o := range others {
		t.Run(o.name, func(t *testing.T) {
			w := testenv.New(t)
			cfg := config(t, w)
			cfg.Endpoint = o.before(t, cfg.Endpoint)
			b, err := bucket.Open(cfg)
			must(t, err)
			lacks, err := b.SelfTest(t.Context(), selfTestKey)
			if (err != nil) != o.fatal {
				t.Fatalf("%v", err)
			}
			said := strings.Join(lacks, "\n")
			if o.fatal {
				said = err.Error()
			}
			if !strings.Contains(said, o.want) || strings.Contains(said, "X-Amz") {
				t.Errorf("%q does not say %q", said, o.want)
			}
			if o.name != "deletes nothing" {
				nothingLeft(t, w)
			}
		})
	}
}

// before puts it before the real store and returns its URL.
func (o another) before(t *testing.T, endpoint string) string {
	t.Helper()
	target, err := url.Parse(endpoint)
	must(t, err)
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which is signed
			if o.in != nil {
				o.in(r.Out)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if o.out != nil {
				o.out(r)
			}
			return nil
		},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if o.answer != nil {
			if code, body := o.answer(r); code != 0 {
				w.WriteHeader(code)
				_, _ = io.WriteString(w, body)
				return
			}
		}
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}
