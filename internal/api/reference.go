package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// The API's description of itself, for programs and for people. Neither asks
// who reads it: it is the same for everybody, and tells of no data.

// described serves both. They are made once, after all routes are there.
func (s *server) described(mux *http.ServeMux, operations []*huma.Operation) {
	doc := s.api.OpenAPI()
	text, err := json.Marshal(doc)
	mux.Handle("GET /openapi.json", s.fixed(text, err, http.Header{"Content-Type": {"application/openapi+json"}}))
	var page bytes.Buffer
	err = docsPage.Execute(&page, newReference(doc, operations))
	mux.Handle("GET /docs", s.fixed(page.Bytes(), err, http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {"default-src 'none'; style-src " + docsStyleHash + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
	}))
}

func (s *server) fixed(body []byte, err error, header http.Header) http.Handler {
	if err != nil {
		s.cfg.Log.Error("the API's description cannot be made", "error", err)
		return http.NotFoundHandler()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), header)
		if _, err := w.Write(body); err != nil {
			s.cfg.Log.Debug("description not written", "error", err)
		}
	})
}

var (
	//go:embed assets/docs.html
	docsHTML string
	//go:embed assets/docs.css
	docsCSS string

	docsPage = template.Must(template.New("docs").Funcs(template.FuncMap{
		"style": func() template.CSS { return template.CSS(docsCSS) },
	}).Parse(docsHTML))
	docsStyleHash = styleHash(docsCSS)
)

// styleHash lets a page have exactly this style, and no other.
func styleHash(css string) string {
	sum := sha256.Sum256([]byte(css))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// reference is what the page for people shows.
type reference struct {
	Title, About, Version, URL string
	Credentials                []entry
	Operations                 []operation
	Objects                    []object
}

type operation struct {
	ID, Method, Path, Summary string
	Parameters, Body          []entry
	Answers                   []answer
}

type object struct {
	Name   string
	Fields []entry
}

// answer is one that an operation may give.
type answer struct {
	Status, About string
	Types         []string // media types
	Kind          kind     // of JSON
	Headers       []entry
}

// entry is a parameter, a header, or a property.
type entry struct {
	Name, In, About string
	Kind            kind
	Must            bool
}

// kind is a type in words, with the object that it names.
type kind struct{ Before, Object, After string }

func newReference(doc *huma.OpenAPI, operations []*huma.Operation) reference {
	r := reference{Title: doc.Info.Title, About: doc.Info.Description, Version: doc.Info.Version, URL: doc.Servers[0].URL}
	for _, name := range slices.Sorted(maps.Keys(doc.Components.SecuritySchemes)) {
		c := doc.Components.SecuritySchemes[name]
		how := "Authorization: Bearer …"
		if c.In != "" {
			how = c.In + " " + c.Name
		}
		r.Credentials = append(r.Credentials, entry{Name: how, About: c.Description})
	}
	for _, o := range operations {
		r.Operations = append(r.Operations, describe(o, doc.Components.Schemas))
	}
	schemas := doc.Components.Schemas.Map()
	for _, name := range slices.Sorted(maps.Keys(schemas)) {
		r.Objects = append(r.Objects, object{name, properties(schemas[name])})
	}
	return r
}

func describe(o *huma.Operation, schemas huma.Registry) operation {
	v := operation{ID: o.OperationID, Method: o.Method, Path: o.Path, Summary: o.Summary}
	for _, p := range o.Parameters {
		v.Parameters = append(v.Parameters, entry{p.Name, p.In, p.Description, kindOf(p.Schema), p.Required})
	}
	if o.RequestBody != nil {
		for _, m := range o.RequestBody.Content {
			body := m.Schema
			if body.Ref != "" {
				body = schemas.SchemaFromRef(body.Ref)
			}
			v.Body = properties(body)
		}
	}
	for _, status := range slices.Sorted(maps.Keys(o.Responses)) {
		res := o.Responses[status]
		a := answer{Status: cmp.Or(strings.Replace(status, "default", "4xx, 5xx", 1), status), About: res.Description}
		a.Types = slices.Sorted(maps.Keys(res.Content))
		for _, m := range res.Content {
			if m.Schema != nil && m.Schema.Format != "binary" {
				a.Kind = kindOf(m.Schema)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(res.Headers)) {
			h := res.Headers[name]
			a.Headers = append(a.Headers, entry{Name: name, About: h.Schema.Description, Kind: kindOf(h.Schema)})
		}
		v.Answers = append(v.Answers, a)
	}
	return v
}

func properties(s *huma.Schema) (list []entry) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name]
		list = append(list, entry{Name: name, About: p.Description, Kind: kindOf(p), Must: slices.Contains(s.Required, name)})
	}
	return list
}

// kindOf puts a schema into words.
func kindOf(s *huma.Schema) kind {
	if s == nil {
		return kind{}
	}
	if s.Ref != "" {
		return kind{Object: s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]}
	}
	k := kind{Before: s.Type}
	switch choices := slices.Concat(s.OneOf, s.AnyOf); {
	case s.Type == huma.TypeArray:
		k = kindOf(s.Items)
		k.Before = "list of " + k.Before
	case len(choices) > 0: // an object, or null
		for _, c := range choices {
			if c.Ref != "" {
				k = kindOf(c)
			} else {
				k.After += " or " + c.Type
			}
		}
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprint(v)
		}
		k.Before = strings.Join(words, " | ")
	case s.Format != "":
		k.Before += ", " + s.Format
	}
	k.After += limits(s)
	if s.Nullable {
		k.After += " or null"
	}
	return k
}

// limits are those that a caller may run into.
func limits(s *huma.Schema) (text string) {
	if s.Minimum != nil {
		text += fmt.Sprintf(", %v or more", *s.Minimum)
	}
	if s.Maximum != nil {
		text += fmt.Sprintf(", %v at most", *s.Maximum)
	}
	if s.MaxItems != nil {
		text += fmt.Sprintf(", %d at most", *s.MaxItems)
	}
	if s.Default != nil {
		text += fmt.Sprintf(", else %v", s.Default)
	}
	return text
}
