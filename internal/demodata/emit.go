package demodata

// layout is the white space that a client puts between tokens. The column's
// type keeps it.
type layout struct {
	line  string // behind brackets and commas, before the indent
	tab   string // the indent of each level
	comma string // behind a comma instead, where there is no line
	colon string // behind a colon
}

var (
	spaced  = layout{comma: " ", colon: " "}
	layouts = []layout{
		spaced,
		{line: "\n", tab: "  ", colon: " "},
		{line: "\r\n", tab: "\t", colon: " "},
		{line: "\r", colon: "\t "},
		{line: " \n\n\t"},
	}
)

// emitter appends JSON to a buffer. Strings come to it escaped.
type emitter struct {
	b     []byte
	style layout
	depth int
	empty bool // nothing stands in the innermost array or object yet
}

func (e *emitter) reset(style layout) {
	e.b, e.style, e.depth, e.empty = e.b[:0], style, 0, true
}

func (e *emitter) open(bracket byte) {
	e.b = append(e.b, bracket)
	e.depth++
	e.empty = true
}

func (e *emitter) close(bracket byte) {
	e.depth--
	if !e.empty {
		e.newline()
	}
	e.b = append(e.b, bracket)
	e.empty = false
}

// item begins an element of an array.
func (e *emitter) item() {
	if !e.empty {
		e.b = append(e.b, ',')
	}
	if e.style.line != "" {
		e.newline()
	} else if !e.empty {
		e.b = append(e.b, e.style.comma...)
	}
	e.empty = false
}

// key begins a member of an object.
func (e *emitter) key(name string) {
	e.item()
	e.b = append(e.b, '"')
	e.b = append(e.b, name...)
	e.b = append(e.b, '"', ':')
	e.b = append(e.b, e.style.colon...)
}

func (e *emitter) newline() {
	if e.style.line == "" {
		return
	}
	e.b = append(e.b, e.style.line...)
	for range e.depth {
		e.b = append(e.b, e.style.tab...)
	}
}

// raw appends a value as it is.
func (e *emitter) raw(value string) { e.b = append(e.b, value...) }

// str appends a string that needs no escaping.
func (e *emitter) str(s string) {
	e.b = append(e.b, '"')
	e.b = append(e.b, s...)
	e.b = append(e.b, '"')
}

// member appends a member whose value is given as JSON.
func (e *emitter) member(name, value string) {
	e.key(name)
	e.raw(value)
}

// field appends a member whose value is a string that needs no escaping.
func (e *emitter) field(name, s string) {
	e.key(name)
	e.str(s)
}
