// Package client calls the API as a person's program does: it asks for exports,
// waits for them, fetches their files and checks them.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config of a Client.
type Config struct {
	URL   string // of the API; may have a path
	Token string // an API key of the platform, or an OpenID Connect token
	// Trouble, if set, is told of a failure that is tried again after a pause.
	Trouble func(err error, pause time.Duration)
}

// Client calls the API for one person. Its methods try again, for a bounded
// time, what may pass by itself. They return *Problem where the API refuses,
// *Unreachable where it does not answer, and the context's cause where that is
// done.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client

	patience time.Duration // for a call, from its first failure on
	outage   time.Duration // for waiting and downloading, since the last sign of life
	pause    time.Duration // before the first repetition
	silence  time.Duration // a body may pause
}

// callTimeout is for one answer of the API; downloads may take longer.
const callTimeout = 30 * time.Second

// New makes a Client. It does not connect.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(cfg.URL, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the API's address must be a URL such as https://export.example.org")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the API's address must have neither a user, nor ?, nor #")
	}
	for _, c := range []byte(cfg.Token) {
		if c <= ' ' || c >= 0x7f {
			return nil, errors.New("the token has characters that no token has")
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	transport.DisableCompression = true // a file is hashed as it is
	return &Client{
		cfg: cfg, base: u,
		// Whoever follows a redirect takes the token along, or shows the address
		// it comes from, which may open the file.
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
		patience: 30 * time.Second, outage: 5 * time.Minute, pause: time.Second, silence: time.Minute,
	}, nil
}

// request is one call of the API.
type request struct {
	method string
	path   string // behind the API's address, escaped
	query  url.Values
	body   any // to be sent as JSON; nil: none
	header map[string]string
}

// answer is what a good call returned.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// maxAnswer bounds what is held of an answer. The largest is a manifest's with
// ten thousand parts, and many rows that could not be read.
const maxAnswer = 256 << 20

// call tries until there is an answer, or patience ends.
func (c *Client) call(ctx context.Context, r request) (answer, error) {
	again := c.retries(c.patience)
	for {
		a, err := c.once(ctx, r)
		if err == nil {
			return a, nil
		}
		if err := again.wait(ctx, err); err != nil {
			return answer{}, err
		}
	}
}

// once makes one call.
func (c *Client) once(ctx context.Context, r request) (answer, error) {
	limited, cancel := context.WithTimeoutCause(ctx, callTimeout, fmt.Errorf("no answer within %s", callTimeout))
	defer cancel()
	req, err := c.request(limited, r)
	if err != nil {
		return answer{}, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, unreachable(ctx, limited, c.base.Host, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch unchanged := res.StatusCode == http.StatusNotModified && r.header["If-None-Match"] != ""; {
	case err != nil:
		return answer{}, unreachable(ctx, limited, c.base.Host, err)
	case len(body) > maxAnswer:
		return answer{}, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	case res.StatusCode >= http.StatusMultipleChoices && !unchanged:
		return answer{}, c.problem(res, body)
	}
	return answer{res.StatusCode, res.Header, body}, nil
}

func (c *Client) request(ctx context.Context, r request) (*http.Request, error) {
	address := c.base.String() + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, body)
	if err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	c.authorise(req)
	req.Header.Set("Accept", "application/json")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// authorise puts the token into a request to the API, and to nobody else.
func (c *Client) authorise(req *http.Request) {
	if c.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
}

// decode reads a good answer.
func (c *Client) decode(a answer, into any) error {
	if err := json.Unmarshal(a.body, into); err != nil {
		return fmt.Errorf("%s does not answer as the API does: is the address right? (%w)", c.base.Host, err)
	}
	return nil
}
