package e2e

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
)

// contract is the API's own description of itself, which every answer that the
// tests see must keep to.
var contract struct {
	sync.Mutex
	validator.Validator
}

// conforms fails the test if an answer is not one that /openapi.json describes.
func (s *service) conforms(req *http.Request, a answer) {
	s.t.Helper()
	if !strings.HasPrefix(strings.TrimPrefix(req.URL.Path, s.base), "/v1/") {
		return // probes, pages and the document itself
	}
	contract.Lock()
	defer contract.Unlock()
	if contract.Validator == nil {
		s.readContract()
	}
	res := &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)), Request: req}
	plain := req.Clone(req.Context())
	plain.URL.Path, plain.URL.RawPath = strings.TrimPrefix(plain.URL.Path, s.base), strings.TrimPrefix(plain.URL.RawPath, s.base)
	if ok, errs := contract.ValidateHttpResponse(plain, res); !ok {
		if a.status == http.StatusNotFound && errs[0].IsPathMissingError() || a.status == http.StatusMethodNotAllowed {
			return // no such address: nothing describes it
		}
		for _, e := range errs {
			s.t.Errorf("%s %s: %d is not as described: %s: %s %v", req.Method, req.URL.Path, a.status, e.Message, e.Reason, e.SchemaValidationErrors)
		}
	}
}

func (s *service) readContract() {
	s.t.Helper()
	res, err := http.Get(s.url + "/openapi.json")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		s.t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		s.t.Fatal(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		s.t.Fatalf("/openapi.json is no valid document: %v", errs)
	}
	contract.Validator = v
}
