package export

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jsontest"
)

// cut applies the spans, as the line writer does.
func cut(v string, limit int) (string, int64) {
	spans, n := extraContexts(nil, []byte(v), limit)
	var b strings.Builder
	at := 0
	for _, s := range spans {
		b.WriteString(v[at:s.from])
		at = s.to
	}
	b.WriteString(v[at:])
	return b.String(), n
}

func TestExtraContexts(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		n        int64
	}{
		"below the limit":    {`{"messages":[{"role":"assistant","contexts":[1,2]}]}`, "", 0},
		"at the limit":       {`{"messages":[{"role":"assistant","contexts":[1,2,3]}]}`, "", 0},
		"beyond":             {`{"messages":[{"role":"assistant","contexts":[1,2,3,4,5],"x":1}]}`, `{"messages":[{"role":"assistant","contexts":[1,2,3],"x":1}]}`, 2},
		"role comes later":   {`{"messages":[{"contexts":[1,2,3,4],"role":"assistant"}]}`, `{"messages":[{"contexts":[1,2,3],"role":"assistant"}]}`, 1},
		"a user's":           {`{"messages":[{"role":"user","contexts":[1,2,3,4]}]}`, "", 0},
		"no role":            {`{"messages":[{"contexts":[1,2,3,4]}]}`, "", 0},
		"last role decides":  {`{"messages":[{"role":"assistant","contexts":[1,2,3,4],"role":"user"}]}`, "", 0},
		"last role, again":   {`{"messages":[{"role":"user","contexts":[1,2,3,4],"role":"assistant"}]}`, `{"messages":[{"role":"user","contexts":[1,2,3],"role":"assistant"}]}`, 1},
		"role is no string":  {`{"messages":[{"role":"assistant","contexts":[1,2,3,4],"role":7}]}`, "", 0},
		"escaped keys":       {`{"m\u0065ssages":[{"r\u006fle":"\u0061ssistant","context\u0073":[1,2,3,4]}]}`, `{"m\u0065ssages":[{"r\u006fle":"\u0061ssistant","context\u0073":[1,2,3]}]}`, 1},
		"only direct":        {`{"messages":[{"role":"assistant","tools":[{"contexts":[1,2,3,4]}],"contexts":[]}]}`, "", 0},
		"not below others":   {`{"x":{"messages":[{"role":"assistant","contexts":[1,2,3,4]}]}}`, "", 0},
		"both of two keys":   {`{"messages":[{"role":"assistant","contexts":[1,2,3,4],"contexts":[5,6,7,8,9]}]}`, `{"messages":[{"role":"assistant","contexts":[1,2,3],"contexts":[5,6,7]}]}`, 3},
		"white space":        {"{ \"messages\" :\r\n[ { \"role\" : \"assistant\" ,\t\"contexts\" : [ 1 , 2\n, 3 , 4 ] } ] }", "{ \"messages\" :\r\n[ { \"role\" : \"assistant\" ,\t\"contexts\" : [ 1 , 2\n, 3] } ] }", 1},
		"brackets in text":   {`{"messages":[{"content":"]}[{\"contexts\":[\\","role":"assistant","contexts":["]",{"a":[1,"}"]},"\\\"]",4]}]}`, `{"messages":[{"content":"]}[{\"contexts\":[\\","role":"assistant","contexts":["]",{"a":[1,"}"]},"\\\"]"]}]}`, 1},
		"several messages":   {`{"messages":[1,null,[{"role":"assistant","contexts":[1,2,3,4]}],{"role":"assistant","contexts":[1,2,3,4]},"x"]}`, `{"messages":[1,null,[{"role":"assistant","contexts":[1,2,3,4]}],{"role":"assistant","contexts":[1,2,3]},"x"]}`, 1},
		"contexts no array":  {`{"messages":[{"role":"assistant","contexts":{"a":[1,2,3,4]}}]}`, "", 0},
		"messages no array":  {`{"messages":{"role":"assistant","contexts":[1,2,3,4]}}`, "", 0},
		"a string":           {`"{\"messages\":[]}"`, "", 0},
		"null":               {`null`, "", 0},
		"array":              {`[{"role":"assistant","contexts":[1,2,3,4]}]`, "", 0},
		"empty":              {`{}`, "", 0},
		"broken: no end":     {`{"messages":[{"role":"assistant","contexts":[1,2,3,4`, "", 0},
		"broken: no colon":   {`{"messages"[{"role":"assistant","contexts":[1,2,3,4]}]}`, "", 0},
		"broken: no comma":   {`{"messages":[{"role":"assistant" "contexts":[1,2,3,4]}]}`, "", 0},
		"broken: open quote": {`{"messages":[{"role":"assistant","contexts":[1,2,3,4],"x`, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			want := c.want
			if want == "" {
				want = c.in
			}
			if got, n := cut(c.in, 3); got != want || n != c.n {
				t.Errorf("cut\n%s\ngave %d cut\n%s\nwant %d cut\n%s", c.in, n, got, c.n, want)
			}
		})
	}
}

// Postgres takes thousands of levels of nesting; the scan must not recurse.
func TestExtraContextsDeep(t *testing.T) {
	deep := strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6)
	in := `{"messages":[{"x":` + deep + `,"role":"assistant","contexts":[1,2,3,4]}]}`
	if got, n := cut(in, 3); n != 1 || len(got) != len(in)-2 {
		t.Errorf("cut %d contexts and %d bytes, want 1 and 2", n, len(in)-len(got))
	}
}

// What the scan leaves must be what a plain decoder would leave.
func FuzzExtraContexts(f *testing.F) {
	f.Add([]byte(`{"messages":[{"role":"assistant","contexts":[1,{"a":"]"},[3],"\\\"",5]}]}`))
	f.Add([]byte(`{"messages":[{"contexts":[ 1,2,3,4 ] , "r\u006fle":"assistant"},{"role":"user","contexts":[1,2,3,4]}],"messages":[]}`))
	f.Add([]byte(`{"a":{"messages":[]},"messages":[null,{"role":"assistant","contexts":[[],[],[],[]],"contexts":[]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		got, n := cut(string(in), 3)
		if !json.Valid(in) {
			return // only that it ends and does not panic
		}
		want, m := plainCut(t, in, 3)
		if n != m {
			t.Fatalf("%d contexts cut, want %d", n, m)
		}
		if !reflect.DeepEqual(decode(t, []byte(got)), want) {
			t.Fatalf("got\n%s\nwant\n%#v", got, want)
		}
	})
}

// plainCut is the rule, by a plain decoder.
func plainCut(t *testing.T, in []byte, limit int) (any, int64) {
	t.Helper()
	tree := decode(t, in)
	n := jsontest.CapContexts(tree, limit)
	return tree, n
}

func decode(t *testing.T, in []byte) any {
	t.Helper()
	tree, err := jsontest.Tree(in)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}
