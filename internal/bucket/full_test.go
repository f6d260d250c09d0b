package bucket_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

// A store that has no space is told from one that refuses, and may get some.
func TestFull(t *testing.T) {
	for answer, want := range map[string]struct {
		status    int
		code      string
		transient bool
	}{
		"XMinioStorageFull":              {http.StatusInsufficientStorage, jobs.CodeStoreFull, true},
		"XMinioAdminBucketQuotaExceeded": {http.StatusBadRequest, jobs.CodeStoreFull, true},
		"QuotaExceeded":                  {http.StatusForbidden, jobs.CodeStoreFull, true},
		"AccessDenied":                   {http.StatusForbidden, jobs.CodeStoreDenied, false},
		"InvalidArgument":                {http.StatusBadRequest, jobs.CodeStore, true},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(want.status)
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code></Error>", answer)
		}))
		b, err := bucket.Open(bucket.Config{Endpoint: srv.URL, Region: "x", PathStyle: true, AccessKeyID: "a", SecretKey: "b", Bucket: "exports"})
		must(t, err)
		_, err = b.Create(t.Context(), "key")
		if err == nil || !strings.HasPrefix(err.Error(), want.code+":") || jobs.IsTransient(err) != want.transient {
			t.Errorf("%s: %v", answer, err)
		}
		srv.Close()
	}
}
