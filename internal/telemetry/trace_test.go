package telemetry

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

const (
	callers  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	callerID = "0af7651916cd43dd8448eb211c80319c"
	tracedID = "0197a3c0-0000-7000-8000-0123456789ab"
)

// The spans of an export make one tree, whoever sends them in whatever order.
func TestSpansAreOneTree(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	m := NewMetrics(newTraces(recorder, "test"))
	r := httptest.NewRequest(http.MethodPost, "/v1/projects/secret/exports", nil)
	r.Header.Set("Traceparent", callers)
	in, answered := m.Request(r)
	in.Pattern = "POST /v1/projects/{project}/exports"
	kept := jobs.TraceOf(in.Context())
	answered(http.StatusAccepted)

	begun := time.Now().Add(-time.Minute)
	m.Moved(jobs.Move{Job: tracedID, To: jobs.Queued, Trace: kept})
	m.Moved(jobs.Move{Job: tracedID, From: jobs.Queued, To: jobs.Running, Attempt: 1, Begun: begun, Trace: kept})
	m.Moved(jobs.Move{Job: tracedID, From: jobs.Running, To: jobs.Queued, Attempt: 1, Outcome: "retried", Code: jobs.CodeStore, Begun: begun, Trace: kept})
	m.Moved(jobs.Move{Job: tracedID, From: jobs.Running, To: jobs.Succeeded, Attempt: 2, Outcome: "succeeded", Made: begun, Begun: begun, Trace: kept,
		Steps: []jobs.StepTime{{Phase: jobs.Planning, From: begun, Till: begun.Add(time.Second)}}})
	m.Lettered(jobs.Try{Job: tracedID, Outcome: jobs.LetterReady, State: jobs.LetterSent, Begun: begun, Trace: kept})
	m.Moved(jobs.Move{Job: tracedID, From: jobs.Succeeded, To: jobs.Expired, Trace: kept})

	parents := map[string]string{}
	names := map[string]string{"b7ad6b7169203331": "caller"}
	for _, s := range recorder.Ended() {
		names[s.SpanContext().SpanID().String()] = s.Name()
	}
	for _, s := range recorder.Ended() {
		if got := s.SpanContext().TraceID().String(); got != callerID {
			t.Errorf("%s is in trace %s", s.Name(), got)
		}
		parents[s.Name()] += names[s.Parent().SpanID().String()] + ";"
	}
	want := map[string]string{
		"POST /v1/projects/{project}/exports": "caller;", "export": "POST /v1/projects/{project}/exports;",
		"attempt": "export;export;", "planning": "attempt;", "mail": "export;",
	}
	for name, parent := range want {
		if parents[name] != parent {
			t.Errorf("%s is below %q, want %q", name, parents[name], parent)
		}
	}
	if len(parents) != len(want) {
		t.Errorf("spans %v", parents)
	}
}

// Rows of requests that were not traced, or by nobody knows whom, send nothing.
func TestNoTraceNoSpans(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	m := NewMetrics(newTraces(recorder, "test"))
	for _, odd := range []string{"", "00-zz", "00-00000000000000000000000000000000-0000000000000000-01"} {
		m.Moved(jobs.Move{Job: tracedID, To: jobs.Failed, Outcome: "failed", Trace: odd})
		m.Lettered(jobs.Try{Job: tracedID, Trace: odd})
	}
	m.Moved(jobs.Move{Job: "odd", To: jobs.Failed, Outcome: "failed", Trace: callers})
	r := httptest.NewRequest(http.MethodGet, "/readyz", nil)
	in, answered := m.Request(r)
	in.Pattern = "GET /readyz"
	answered(http.StatusOK)
	if n := len(recorder.Ended()); n != 0 {
		t.Errorf("%d spans", n)
	}
	var none *Traces
	none.Close()
	NewMetrics(nil).Moved(jobs.Move{Job: tracedID, To: jobs.Failed, Outcome: "failed", Trace: callers})
}
