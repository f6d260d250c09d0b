package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// sink is where a download goes.
type sink interface {
	io.Writer
	// restart goes back to the beginning. What is written from now on is of the
	// version that the server names by this entity tag.
	restart(etag string) error
}

// fetch is one download, over as many connections and links as it takes.
type fetch struct {
	c         *Client
	id, asset string
	size      int64 // -1: as the server says
	to        sink
	progress  func(bytes int64)
	note      func(text string)

	sum      hash.Hash // of what is there
	done     int64
	etag     string // of what is there; empty: unknown
	link     *link  // nil: to be asked for
	refusals int    // of links, since a byte came
	restarts int
}

func (c *Client) fetch(id, asset string, size int64, to sink) *fetch {
	return &fetch{
		c: c, id: id, asset: asset, size: size, to: to, sum: sha256.New(),
		progress: func(int64) {}, note: func(string) {},
	}
}

// A link that was just made may be refused this often, and a file may have to be
// fetched from its beginning so often.
const (
	maxRefusals = 3
	maxRestarts = 5
)

// errAtOnce asks for another try without a pause.
var errAtOnce = errors.New("again")

// run goes on until all is there. Whether it is right is for the caller to check.
func (f *fetch) run(ctx context.Context) error {
	again := f.c.retries(f.c.outage)
	for f.size < 0 || f.done < f.size {
		before := f.done
		err := f.attempt(ctx)
		if f.done > before {
			again.worked()
			f.refusals = 0
		}
		var end final
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errAtOnce):
			continue
		case errors.As(err, &end):
			return end.error
		}
		if err := again.wait(ctx, err); err != nil {
			return err
		}
	}
	return nil
}

// attempt uses one connection. It is nil when all is there.
func (f *fetch) attempt(ctx context.Context) error {
	if f.link == nil {
		l, err := f.c.link(ctx, f.id, f.asset)
		if err != nil {
			return final{err} // it has had its own repetitions
		}
		f.link = &l
	}
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, own, err := f.request(limited)
	if err != nil {
		return err
	}
	res, err := f.c.http.Do(req)
	if err != nil {
		return unreachable(ctx, limited, req.URL.Host, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusOK:
		err = f.begin(res)
	case res.StatusCode == http.StatusPartialContent && f.done > 0:
		err = f.goOn(res)
	case own:
		err = f.refusedByAPI(res)
	default:
		err = f.refusedByStore(res)
	}
	if err != nil {
		return err
	}
	body := f.c.watch(res.Body, cancel)
	defer body.alarm.Stop()
	err = f.copy(ctx, body)
	var broken *brokenOff
	if errors.As(err, &broken) {
		return unreachable(ctx, limited, req.URL.Host, broken.error)
	}
	return err
}

// request asks for what is missing. The token goes along only where the API
// hands the file out itself.
func (f *fetch) request(ctx context.Context) (req *http.Request, own bool, err error) {
	u, err := url.Parse(f.link.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, false, errors.New("the API's link is no address")
	}
	if own = f.link.ExpiresAt == nil; own && !f.c.leadsToAPI(u) {
		return nil, false, fmt.Errorf("the API hands the file out itself, and says that it does so at %s: use that address for the API instead of %s",
			origin(u), f.c.base)
	}
	if req, err = http.NewRequestWithContext(ctx, http.MethodGet, f.link.URL, nil); err != nil {
		return nil, false, errors.New("the API's link is no address")
	}
	if own {
		f.c.authorise(req)
	}
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Accept-Encoding", "identity")
	if f.done > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.done))
		if strings.HasPrefix(f.etag, `"`) { // weak ones do not match by RFC 9110, 13.1.1
			req.Header.Set("If-Match", f.etag)
		}
	}
	return req, own, nil
}

// leadsToAPI reports whether u is below the address that we were given for the
// API, and so may see the token.
func (c *Client) leadsToAPI(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && strings.EqualFold(u.Host, c.base.Host) && u.User == nil &&
		strings.HasPrefix(u.EscapedPath(), c.base.EscapedPath()+"/") && path.Clean(u.Path) == u.Path
}

// begin takes the file from its beginning, also from a server that was asked
// for the rest and does not know how.
func (f *fetch) begin(res *http.Response) error {
	if f.done > 0 {
		if err := f.startOver("the server sends the file from its beginning"); err != nil {
			return err
		}
	}
	switch n := res.ContentLength; {
	case f.size < 0:
		f.size = n
	case n >= 0 && n != f.size:
		return mismatch("the file that is offered has %d bytes; the export has %d", n, f.size)
	}
	f.etag = res.Header.Get("ETag")
	return f.to.restart(f.etag)
}

// goOn takes the rest, if it is the rest of what is there.
func (f *fetch) goOn(res *http.Response) error {
	if !strings.HasPrefix(res.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", f.done)) {
		return f.fromStart("the server sends another range than was asked for")
	}
	if tag := res.Header.Get("ETag"); tag != "" && f.etag != "" && tag != f.etag {
		return f.fromStart("the file has changed")
	}
	return nil
}

// startOver forgets what is there.
func (f *fetch) startOver(why string) error {
	if f.restarts++; f.restarts > maxRestarts {
		return final{fmt.Errorf("given up after %d new beginnings: %s", maxRestarts, why)}
	}
	f.note("starting over: " + why)
	f.done, f.etag = 0, ""
	f.sum.Reset()
	f.progress(0)
	return nil
}

// fromStart asks for the file from its beginning.
func (f *fetch) fromStart(why string) error {
	if err := f.startOver(why); err != nil {
		return err
	}
	return errAtOnce
}

// refusedByAPI reads a refusal of the API that hands the file out itself.
func (f *fetch) refusedByAPI(res *http.Response) error {
	if changed(res.StatusCode) && f.done > 0 {
		return f.fromStart("the file has changed")
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		body = nil // the status says enough
	}
	return f.c.problem(res, body)
}

// refusedByStore reads a refusal of the object store. Its own words are left
// out: they may quote the link.
func (f *fetch) refusedByStore(res *http.Response) error {
	p := &Problem{
		Type: "about:blank", Title: "The object store refuses the file", Status: res.StatusCode,
		Detail:     fmt.Sprintf("%s answers %d %s.", res.Request.URL.Host, res.StatusCode, http.StatusText(res.StatusCode)),
		RetryAfter: retryAfter(res.Header.Get("Retry-After"), time.Now()),
	}
	switch {
	case changed(res.StatusCode) && f.done > 0:
		return f.fromStart("the file has changed")
	case res.StatusCode == http.StatusBadRequest, res.StatusCode == http.StatusUnauthorized,
		res.StatusCode == http.StatusForbidden, res.StatusCode == http.StatusNotFound:
		// The link has expired, or the file has gone: the API knows.
		f.link = nil
		if f.refusals++; f.refusals == 1 {
			return errAtOnce
		}
		if f.refusals <= maxRefusals {
			return passing{p}
		}
	}
	return p
}

// changed reports the two answers to a range of a file that is another now.
func changed(status int) bool {
	return status == http.StatusPreconditionFailed || status == http.StatusRequestedRangeNotSatisfiable
}

// copyBuffer is for one read of a body.
const copyBuffer = 256 << 10

// copy takes a body until all is there. Only what the server breaks off is a
// *brokenOff, and worth another try.
func (f *fetch) copy(ctx context.Context, body io.Reader) error {
	buf := make([]byte, copyBuffer)
	for f.size < 0 || f.done < f.size {
		if ctx.Err() != nil { // the body may give what it holds for a while yet
			return context.Cause(ctx)
		}
		room := len(buf)
		if f.size >= 0 {
			room = int(min(int64(room), f.size-f.done))
		}
		n, err := body.Read(buf[:room])
		if n > 0 {
			if _, err := f.to.Write(buf[:n]); err != nil {
				return err
			}
			f.sum.Write(buf[:n])
			f.done += int64(n)
			f.progress(f.done)
		}
		switch {
		case err == io.EOF && f.size < 0:
			return nil
		case err == io.EOF && f.done < f.size:
			return &brokenOff{io.ErrUnexpectedEOF}
		case err != nil && err != io.EOF:
			return &brokenOff{err}
		}
	}
	return nil
}

// brokenOff is an end of the body before its time.
type brokenOff struct{ error }

// final hides what an error is from those who would try again.
type final struct{ error }

// watched is a body that may not pause for longer than the client's patience
// with silence. Who reads it may.
type watched struct {
	body    io.Reader
	silence time.Duration
	alarm   *time.Timer
}

func (c *Client) watch(body io.Reader, cancel context.CancelCauseFunc) *watched {
	alarm := time.AfterFunc(c.silence, func() { cancel(fmt.Errorf("nothing came for %s", c.silence)) })
	return &watched{body, c.silence, alarm}
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	w.alarm.Reset(w.silence)
	n, err := w.body.Read(p)
	w.alarm.Stop()
	return n, err
}

// check compares what is there with what it should be.
func (f *fetch) check(r Result) error {
	if sum := hex.EncodeToString(f.sum.Sum(nil)); sum != strings.ToLower(r.SHA256) {
		return mismatch("the file that came has sha256 %s; the export has %s", sum, r.SHA256)
	}
	return nil
}
