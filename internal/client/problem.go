package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Problem is an answer that refuses (RFC 9457).
type Problem struct {
	Type      string       `json:"type"`
	Title     string       `json:"title"`
	Status    int          `json:"status"`
	Detail    string       `json:"detail,omitempty"`
	Instance  string       `json:"instance,omitempty"`
	Retryable bool         `json:"retryable"`
	Errors    []FieldError `json:"errors,omitempty"`
	// RetryAfter is how long the server asks to wait; 0 if it does not say.
	RetryAfter time.Duration `json:"-"`
}

// FieldError is a field that is wrong and what is allowed there.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error implements error.
func (p *Problem) Error() string {
	text := p.Title
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	for _, f := range p.Errors {
		text += " " + f.Field + ": " + f.Message + "."
	}
	return text
}

// Unreachable is a server that did not answer, or broke off.
type Unreachable struct {
	Host string
	Err  error
}

// Error implements error.
func (e *Unreachable) Error() string { return e.Host + " does not answer: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Unreachable) Unwrap() error { return e.Err }

// Mismatch is a file that is not the one that was exported. It says what the
// first difference is.
type Mismatch struct{ What string }

// Error implements error.
func (m *Mismatch) Error() string { return m.What }

func mismatch(format string, args ...any) error { return &Mismatch{fmt.Sprintf(format, args...)} }

// queueFull is the one 429 that ends with other people's exports, not with time.
const queueFull = "urn:bulkexport:problem:queue-full"

// passing is an error that is tried again, whatever its kind is elsewhere.
type passing struct{ *Problem }

// Unwrap returns the problem.
func (p passing) Unwrap() error { return p.Problem }

// temporary says whether the same request may succeed soon.
func temporary(err error) bool {
	var pass passing
	if errors.As(err, &pass) {
		return true
	}
	var p *Problem
	if errors.As(err, &p) {
		switch p.Status {
		case http.StatusTooManyRequests:
			return p.Type != queueFull
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return p.Retryable && p.Status >= http.StatusInternalServerError
	}
	var u *Unreachable
	return errors.As(err, &u)
}

// unreachable tells why a host gave no answer. The caller's own end comes first,
// then that of limited, the context of this one request. The address is left
// out: a link opens a file.
func unreachable(ctx, limited context.Context, host string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if limited.Err() != nil {
		err = context.Cause(limited)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &Unreachable{host, err}
}

// problem reads a refusal of the API, or of something before it.
func (c *Client) problem(res *http.Response, body []byte) *Problem {
	p := &Problem{}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if kind != "application/problem+json" || json.Unmarshal(body, p) != nil || p.Title == "" {
		*p = Problem{Type: "about:blank", Title: http.StatusText(res.StatusCode),
			Detail: fmt.Sprintf("%s answers with status %d, and not as the API does. Is the address right?", c.base.Host, res.StatusCode)}
		if to, err := res.Location(); err == nil && res.StatusCode < http.StatusBadRequest {
			p.Detail = fmt.Sprintf("%s sends us to %s. Use the address where the API itself answers.", c.base.Host, origin(to))
		}
	}
	p.Status = res.StatusCode
	p.RetryAfter = retryAfter(res.Header.Get("Retry-After"), time.Now())
	return p
}

// origin of a URL; what stands behind it may be a secret.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// longest bounds what a server may ask us to wait.
const longest = 24 * time.Hour

// retryAfter reads a Retry-After header (RFC 9110, 10.2.3): seconds, or a date.
// It is 0 where there is none to be read.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(n, uint64(longest/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), longest)
	}
	return 0
}

// retries decides whether and when something that failed is tried again.
type retries struct {
	c     *Client
	limit time.Duration // since the last success
	next  time.Duration
	until time.Time // zero while nothing has failed
}

func (c *Client) retries(limit time.Duration) *retries { return &retries{c: c, limit: limit} }

// maxPause is the longest that we wait of our own accord.
const maxPause = 30 * time.Second

// worked forgets earlier failures.
func (r *retries) worked() { r.next, r.until = 0, time.Time{} }

// wait pauses before another try: as long as the server asks, else twice as
// long each time. It returns err, what went wrong, where another try is useless
// or comes too late.
func (r *retries) wait(ctx context.Context, err error) error {
	if !temporary(err) {
		return err
	}
	if r.until.IsZero() {
		r.until, r.next = time.Now().Add(r.limit), r.c.pause
	}
	pause := r.next + rand.N(r.next/4+1)
	r.next = min(2*r.next, maxPause)
	var p *Problem
	if errors.As(err, &p) && p.RetryAfter > 0 {
		pause = p.RetryAfter
	}
	if time.Now().Add(pause).After(r.until) {
		return err
	}
	if r.c.cfg.Trouble != nil {
		r.c.cfg.Trouble(err, pause)
	}
	return sleep(ctx, pause)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
