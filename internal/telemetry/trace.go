package telemetry

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Traces sends spans: the request, below it the export that it made, below that
// its attempts and its mails. A nil one sends nothing. No attribute holds a
// project, a person or what an export contains.
//
// Spans of exports are made when they end. Nothing is held meanwhile: an attempt
// whose worker died is told by whoever takes the job back.
type Traces struct {
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	parent   propagation.TraceContext
}

// NewTraces sends to an OTLP receiver at endpoint, such as http://collector:4318;
// an empty one is no tracing. The sampler and the headers come from the standard
// variables OTEL_*.
func NewTraces(ctx context.Context, endpoint, program string, log *slog.Logger) (*Traces, error) {
	if endpoint == "" {
		return nil, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces not sent", "error", err) }))
	return newTraces(sdk.NewBatchSpanProcessor(exporter), program), nil
}

func newTraces(p sdk.SpanProcessor, program string) *Traces {
	t := &Traces{provider: sdk.NewTracerProvider(sdk.WithSpanProcessor(p), sdk.WithIDGenerator(spanIDs{}),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", "bulkexport-"+program))))}
	t.tracer = t.provider.Tracer("bulkexport")
	return t
}

// flushLimit is how long the last spans may take.
const flushLimit = 3 * time.Second

// Close sends what is left.
func (t *Traces) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushLimit)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // its errors go to the log
}

// begin starts a request's span, and lets the job that it makes join the trace.
// end is told the route: a path holds names.
func (t *Traces) begin(r *http.Request) (in *http.Request, end func(route string, status int)) {
	if t == nil {
		return r, func(string, int) {}
	}
	ctx := t.parent.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, "request", trace.WithSpanKind(trace.SpanKindServer))
	carrier := propagation.MapCarrier{}
	t.parent.Inject(ctx, carrier)
	ctx = jobs.WithTrace(ctx, carrier.Get("traceparent"))
	return r.WithContext(ctx), func(route string, status int) {
		span.SetName(route)
		span.SetAttributes(attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

// moved makes the spans of what has ended.
func (t *Traces) moved(v jobs.Move) {
	request, export, ok := t.spans(v.Job, v.Trace)
	if !ok {
		return
	}
	now := time.Now()
	if v.Outcome != "" {
		ctx, span := t.tracer.Start(export, "attempt", trace.WithTimestamp(v.Begun), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.Int("attempt", v.Attempt), attribute.String("outcome", v.Outcome), attribute.String("code", v.Code), attribute.Int64("rows", v.Rows)))
		for _, s := range v.Steps {
			_, step := t.tracer.Start(ctx, string(s.Phase), trace.WithTimestamp(s.From))
			step.End(trace.WithTimestamp(s.Till))
		}
		mark(span, v.Code)
		span.End(trace.WithTimestamp(now))
	}
	if v.To.Final() && v.To != jobs.Expired {
		id := trace.SpanContextFromContext(export).SpanID()
		_, span := t.tracer.Start(context.WithValue(request, spanIDKey{}, id), "export", trace.WithTimestamp(v.Made), trace.WithAttributes(
			attribute.String("job", v.Job), attribute.String("kind", string(v.Kind)), attribute.String("lane", string(v.Lane)), attribute.String("state", string(v.To))))
		mark(span, v.Code)
		span.End(trace.WithTimestamp(now))
	}
}

func (t *Traces) lettered(v jobs.Try) {
	_, export, ok := t.spans(v.Job, v.Trace)
	if !ok {
		return
	}
	_, span := t.tracer.Start(export, "mail", trace.WithTimestamp(v.Begun), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("outcome", string(v.Outcome)), attribute.String("state", string(v.State)), attribute.String("code", v.Code)))
	mark(span, v.Code)
	span.End()
}

func mark(span trace.Span, code string) {
	if code != "" {
		span.SetStatus(codes.Error, code)
	}
}

// spans are contexts below the request that made a job, and below the job. Its
// span is made last and is the others' parent: the job's id is its id, too.
func (t *Traces) spans(job, traceparent string) (request, export context.Context, ok bool) {
	if t == nil || traceparent == "" {
		return nil, nil, false
	}
	request = t.parent.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	parent := trace.SpanContextFromContext(request)
	digits := strings.ReplaceAll(job, "-", "")
	id, err := hex.DecodeString(digits[len(digits)/2:])
	if !parent.IsValid() || err != nil || len(id) != len(trace.SpanID{}) {
		return nil, nil, false
	}
	return request, trace.ContextWithRemoteSpanContext(context.Background(), parent.WithSpanID(trace.SpanID(id))), true
}

type spanIDKey struct{}

// spanIDs are random, but for spans whose id is known beforehand.
type spanIDs struct{}

// NewIDs implements sdk.IDGenerator.
func (g spanIDs) NewIDs(ctx context.Context) (id trace.TraceID, span trace.SpanID) {
	for !id.IsValid() {
		fill(id[:8])
		fill(id[8:])
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID implements sdk.IDGenerator.
func (spanIDs) NewSpanID(ctx context.Context, _ trace.TraceID) (id trace.SpanID) {
	if known, ok := ctx.Value(spanIDKey{}).(trace.SpanID); ok {
		return known
	}
	for !id.IsValid() {
		fill(id[:])
	}
	return id
}

func fill(b []byte) {
	v := rand.Uint64()
	for i := range b {
		b[i] = byte(v >> (8 * i))
	}
}
