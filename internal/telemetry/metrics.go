package telemetry

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// namespace begins the name of every metric that is our own.
const namespace = "bulkexport"

// Metrics counts what happens in a process, and shows it with what its
// collectors ask for. No label holds a project, a person or an id: docs/metrics.md
// has them all. It implements jobs.Observer.
type Metrics struct {
	traces   *Traces
	registry *prometheus.Registry
	attempts *prometheus.CounterVec
	moments  map[jobs.Moment]*prometheus.HistogramVec
	stages   *prometheus.CounterVec
	rows     *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	letters  *prometheus.CounterVec
	swept    *prometheus.CounterVec
	freed    prometheus.Counter
	requests *prometheus.HistogramVec
}

var _ jobs.Observer = (*Metrics)(nil)

// Buckets in seconds. Few: each is a series for each of the labels' values.
var (
	lifeBuckets    = []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600}
	requestBuckets = []float64{.01, .05, .25, 1, 5}
)

// NewMetrics makes the metrics of a process, with those of Go and of the process.
// What happens goes to the traces, too; they may be nil.
func NewMetrics(t *Traces) *Metrics {
	m := &Metrics{
		traces:   t,
		registry: prometheus.NewRegistry(),
		attempts: counter("attempts_total", "Attempts that have ended, by how; code is the failure's.", "kind", "outcome", "code"),
		moments:  map[jobs.Moment]*prometheus.HistogramVec{},
		stages:   counter("stage_seconds_total", "What the time of exports goes into. Stages overlap.", "kind", "stage"),
		rows:     counter("rows_total", "Rows written into files.", "kind"),
		bytes:    counter("bytes_total", "Bytes written into files: raw lines, and as stored.", "kind", "as"),
		letters:  counter("letters_total", "Tries to send a letter, by what it tells and what became of it; due will be tried again.", "outcome", "state"),
		swept:    counter("swept_total", "What the sweeper removed.", "what"),
		freed:    prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: "swept_bytes_total", Help: "Bytes of files that the sweeper removed."}),
		requests: histogram("http_request_seconds", "Requests by route, method and class of status.", requestBuckets, "route", "method", "status"),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.attempts, m.stages, m.rows, m.bytes, m.letters, m.swept, m.freed, m.requests)
	for moment, help := range map[jobs.Moment]string{
		jobs.Waited: "From the request until a worker took the job for the first time.", jobs.FirstRows: "From the request until the first rows were in the file.",
		jobs.Linked: "From the request until the file could be fetched.", jobs.Ran: "From an attempt's claim to its end.",
	} {
		m.moments[moment] = histogram(string(moment)+"_seconds", help, lifeBuckets, "kind", "lane")
		m.registry.MustRegister(m.moments[moment])
	}
	m.begin()
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
}

// begin shows every counter at 0: an increase from nothing at all is none to
// Prometheus, and an alert on the first failure would miss it.
func (m *Metrics) begin() {
	for _, kind := range kinds {
		for _, outcome := range []string{"succeeded", "canceled", "drained"} {
			m.attempts.WithLabelValues(kind, outcome, "")
		}
		for _, code := range jobs.Codes {
			m.attempts.WithLabelValues(kind, "failed", code)
			m.attempts.WithLabelValues(kind, "retried", code)
		}
		m.attempts.WithLabelValues(kind, "lost", jobs.CodeWorkerLost)
		for _, s := range stages {
			m.stages.WithLabelValues(kind, s)
		}
		m.rows.WithLabelValues(kind)
		m.bytes.WithLabelValues(kind, "raw")
		m.bytes.WithLabelValues(kind, "stored")
	}
	for _, o := range outcomes {
		for _, s := range letterStates {
			m.letters.WithLabelValues(o, s)
		}
	}
	for what := range swept(jobs.Report{}) {
		m.swept.WithLabelValues(what)
	}
}

// Collect shows what another collector finds, too.
func (m *Metrics) Collect(cs ...prometheus.Collector) { m.registry.MustRegister(cs...) }

// Handler answers /metrics, and leaves everything else to next.
func (m *Metrics) Handler(next http.Handler) http.Handler {
	metrics := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			metrics.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// The values that labels may have. Anything else becomes "other".
var (
	kinds    = []string{string(jobs.Conversations), string(jobs.Documents)}
	lanes    = []string{string(jobs.Large), string(jobs.Small)}
	stages   = []string{string(jobs.StagePlan), string(jobs.StageRead), string(jobs.StageCompress), string(jobs.StageUpload), string(jobs.StageComplete), string(jobs.StageVerify)}
	ends     = []string{"", "succeeded", "failed", "canceled", "retried", "drained", "lost"}
	outcomes = []string{string(jobs.LetterReady), string(jobs.LetterFailed), string(jobs.LetterCanceled), string(jobs.LetterExpiring), string(jobs.LetterAnnounced), string(jobs.LetterExported)}

	letterStates = []string{string(jobs.LetterDue), string(jobs.LetterSent), string(jobs.LetterDropped), string(jobs.LetterRefused), string(jobs.LetterUnsure), string(jobs.LetterGivenUp)}
	methods      = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions}
)

// one keeps a label within its values.
func one[S ~string](of []string, v S) string {
	if !slices.Contains(of, string(v)) {
		return "other"
	}
	return string(v)
}

// code is a failure's as a label; attempts that did not fail have none.
func code(c string) string {
	if c == "" {
		return ""
	}
	return one(jobs.Codes, c)
}

// Moved implements jobs.Observer.
func (m *Metrics) Moved(v jobs.Move) {
	if v.Outcome != "" {
		m.attempts.WithLabelValues(one(kinds, v.Kind), one(ends, v.Outcome), code(v.Code)).Inc()
	}
	m.traces.moved(v)
}

// Took implements jobs.Observer.
func (m *Metrics) Took(k jobs.Kind, l jobs.Lane, moment jobs.Moment, d time.Duration) {
	if h := m.moments[moment]; h != nil {
		h.WithLabelValues(one(kinds, k), one(lanes, l)).Observe(max(0, d.Seconds()))
	}
}

// Spent implements jobs.Observer.
func (m *Metrics) Spent(k jobs.Kind, s jobs.Stage, d time.Duration) {
	m.stages.WithLabelValues(one(kinds, k), one(stages, s)).Add(max(0, d.Seconds()))
}

// Wrote implements jobs.Observer.
func (m *Metrics) Wrote(k jobs.Kind, rows, raw, stored int64) {
	kind := one(kinds, k)
	m.rows.WithLabelValues(kind).Add(float64(max(0, rows)))
	m.bytes.WithLabelValues(kind, "raw").Add(float64(max(0, raw)))
	m.bytes.WithLabelValues(kind, "stored").Add(float64(max(0, stored)))
}

// Lettered implements jobs.Observer.
func (m *Metrics) Lettered(t jobs.Try) {
	m.letters.WithLabelValues(one(outcomes, t.Outcome), one(letterStates, t.State)).Inc()
	m.traces.lettered(t)
}

// Swept implements jobs.Observer.
func (m *Metrics) Swept(r jobs.Report) {
	for what, n := range swept(r) {
		m.swept.WithLabelValues(what).Add(float64(n))
	}
	m.freed.Add(float64(max(0, r.Freed)))
}

func swept(r jobs.Report) map[string]int64 {
	return map[string]int64{
		"expired": int64(r.Expired), "data": int64(r.Deleted), "orphans": int64(len(r.Orphans)), "job_rows": r.Jobs,
		"audit_lines": r.Audit, "idempotency_keys": r.Keys, "workers": r.Workers, "archived_tasks": int64(r.Archived),
	}
}

// Request notes a request: it is told when one begins, and returns it with a
// context of its own, and what to call when it was answered. Its route is the
// mux's pattern: a path holds names of projects.
func (m *Metrics) Request(r *http.Request) (in *http.Request, answered func(status int)) {
	begun := time.Now()
	in, end := m.traces.begin(r)
	return in, func(status int) {
		m.answered(in.Method, in.Pattern, status, time.Since(begun))
		if !strings.HasSuffix(in.Pattern, "z") { // probes come every few seconds
			end(cmp.Or(in.Pattern, none), status)
		}
	}
}

// none is the route of requests that no route takes.
const none = "none"

func (m *Metrics) answered(method, route string, status int, took time.Duration) {
	route = cmp.Or(route, none)
	m.requests.WithLabelValues(route, one(methods, method), strconv.Itoa(status/100)+"xx").Observe(took.Seconds())
}
