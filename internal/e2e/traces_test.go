package e2e

import (
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// receiver takes spans by OTLP.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	raw   []byte
	spans []*otlp.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		var got collector.ExportTraceServiceRequest
		if err != nil || req.URL.Path != "/v1/traces" || proto.Unmarshal(b, &got) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.raw = append(r.raw, b...)
		for _, rs := range got.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.raw)
}

// tree is a trace's spans, each with its parent's name.
func (r *receiver) tree(trace string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names, found := map[string]string{}, map[string]string{}
	for _, s := range r.spans {
		names[string(s.SpanId)] = s.Name
	}
	for _, s := range r.spans {
		if hex.EncodeToString(s.TraceId) == trace {
			found[s.Name] = names[string(s.ParentSpanId)]
		}
	}
	return found
}

// One trace leads from the caller's request to the mail, through both programs.
func TestTrace(t *testing.T) {
	t.Parallel()
	w, r := testenv.New(t), newReceiver(t)
	fill(t, w, demodata.Options{Seed: 3, Conversations: demodata.Volume{Rows: 50}})
	s := start(t, w, 1, "OTEL_EXPORTER_OTLP_ENDPOINT="+r.URL, "OTEL_BSP_SCHEDULE_DELAY=200",
		"SMTP_URL="+testenv.Var(t, "SMTP_URL"), "MAIL_FROM=exports@example.edu")
	const trace = "0af7651916cd43dd8448eb211c80319c"
	a := s.call(http.MethodPost, exportsOf(demodata.DemoProject), demodata.OwnerKey, conversations,
		"traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	s.succeed(s.decode(a).ID)
	const request = "POST /v1/projects/{project}/exports"
	want := map[string]string{
		request: "", "export": request, "attempt": "export", "mail": "export",
		"planning": "attempt", "streaming": "attempt", "completing": "attempt", "verifying": "attempt",
	}
	var got map[string]string
	defer func() { t.Logf("%v", got) }()
	s.eventually("the trace is whole", func() bool {
		got = r.tree(trace)
		return maps.Equal(got, want)
	})
	s.nowhere(map[string]string{"traces": r.text()}, map[string]string{
		"the owner": demodata.OwnerEmail, "the owner's key": demodata.OwnerKey, "the project": demodata.DemoProject,
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.ContainsFunc(r.spans, func(s *otlp.Span) bool { return s.Name == "attempt" && len(s.Attributes) > 0 }) {
		t.Error("attempts have no attributes")
	}
}
