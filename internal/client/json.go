package client

// jsonChecker decides whether bytes that come in pieces are one JSON value (RFC
// 8259). The standard library holds a value, or at least its longest string, in
// memory; a row may have a gigabyte.
type jsonChecker struct {
	state jsonState
	stack []bool // what we are in: true is an object
	key   bool   // the string that we are in is a key
	rest  string // of a literal, or of the hexadecimal digits of an escape
}

type jsonState uint8

const (
	wantValue jsonState = iota
	wantValueOrEnd
	wantKey
	wantKeyOrEnd
	wantColon
	wantNext // a comma or an end; nothing at the top
	inString
	inEscape
	inHex
	inLiteral
	afterMinus
	afterZero
	inInteger
	afterPoint
	inFraction
	afterE
	afterSign
	inExponent
)

// maxDepth bounds the stack; Postgres gives up at a fraction of it.
const maxDepth = 1 << 20

func (j *jsonChecker) reset() { *j = jsonChecker{stack: j.stack[:0]} }

// complete reports whether what came is a whole value.
func (j *jsonChecker) complete() bool {
	if len(j.stack) > 0 {
		return false
	}
	switch j.state {
	case wantNext, afterZero, inInteger, inFraction, inExponent:
		return true
	}
	return false
}

// take reads b up to the first byte that does not belong to a value, or that is a
// line feed, and returns its place; ok means that all of b belongs to it.
func (j *jsonChecker) take(b []byte) (n int, ok bool) {
	for i := 0; i < len(b); i++ {
		if j.state == inString {
			for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
				i++
			}
			if i == len(b) {
				break
			}
		}
		if !j.next(b[i]) {
			return i, false
		}
	}
	return len(b), true
}

func (j *jsonChecker) next(c byte) bool {
	switch j.state {
	case inString:
		return j.inString(c)
	case inEscape, inHex:
		return j.escape(c)
	case inLiteral:
		if c != j.rest[0] {
			return false
		}
		if j.rest = j.rest[1:]; j.rest == "" {
			j.state = wantNext
		}
		return true
	case afterMinus, afterZero, inInteger, afterPoint, inFraction, afterE, afterSign, inExponent:
		if j.number(c) {
			return true
		}
		if j.state == afterMinus || j.state == afterPoint || j.state == afterE || j.state == afterSign {
			return false
		}
		j.state = wantNext
	}
	if c == ' ' || c == '\t' || c == '\r' {
		return true
	}
	return j.structure(c)
}

func (j *jsonChecker) inString(c byte) bool {
	switch {
	case c == '\\':
		j.state = inEscape
	case c == '"' && j.key:
		j.state, j.key = wantColon, false
	case c == '"':
		j.state = wantNext
	default:
		return c >= ' '
	}
	return true
}

func (j *jsonChecker) escape(c byte) bool {
	if j.state == inHex {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
		if j.rest = j.rest[1:]; j.rest == "" {
			j.state = inString
		}
		return true
	}
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		j.state = inString
	case 'u':
		j.state, j.rest = inHex, "0000"
	default:
		return false
	}
	return true
}

// number reports whether c belongs to the number that we are in.
func (j *jsonChecker) number(c byte) bool {
	digit := c >= '0' && c <= '9'
	switch s := j.state; {
	case digit && s == afterMinus:
		j.state = inInteger
		if c == '0' {
			j.state = afterZero
		}
	case digit && s == afterPoint:
		j.state = inFraction
	case digit && (s == afterE || s == afterSign):
		j.state = inExponent
	case digit:
		return s != afterZero
	case c == '.' && (s == afterZero || s == inInteger):
		j.state = afterPoint
	case (c == 'e' || c == 'E') && (s == afterZero || s == inInteger || s == inFraction):
		j.state = afterE
	case (c == '+' || c == '-') && s == afterE:
		j.state = afterSign
	default:
		return false
	}
	return true
}

// structure reads a byte between tokens, or the first of one.
func (j *jsonChecker) structure(c byte) bool {
	switch s := j.state; {
	case c == '"' && (s == wantKey || s == wantKeyOrEnd):
		j.state, j.key = inString, true
	case c == ':' && s == wantColon:
		j.state = wantValue
	case c == '}' && (s == wantKeyOrEnd || s == wantNext && j.in(true)),
		c == ']' && (s == wantValueOrEnd || s == wantNext && j.in(false)):
		j.stack = j.stack[:len(j.stack)-1]
		j.state = wantNext
	case c == ',' && s == wantNext && j.in(true):
		j.state = wantKey
	case c == ',' && s == wantNext && j.in(false):
		j.state = wantValue
	case s == wantValue || s == wantValueOrEnd:
		return j.value(c)
	default:
		return false
	}
	return true
}

func (j *jsonChecker) in(object bool) bool {
	return len(j.stack) > 0 && j.stack[len(j.stack)-1] == object
}

// value reads the first byte of one.
func (j *jsonChecker) value(c byte) bool {
	switch {
	case c == '"':
		j.state = inString
	case c == '{' || c == '[':
		if len(j.stack) == maxDepth {
			return false
		}
		j.stack = append(j.stack, c == '{')
		j.state = wantValueOrEnd
		if c == '{' {
			j.state = wantKeyOrEnd
		}
	case c == '-':
		j.state = afterMinus
	case c == '0':
		j.state = afterZero
	case c >= '1' && c <= '9':
		j.state = inInteger
	case c == 't':
		j.state, j.rest = inLiteral, "rue"
	case c == 'f':
		j.state, j.rest = inLiteral, "alse"
	case c == 'n':
		j.state, j.rest = inLiteral, "ull"
	default:
		return false
	}
	return true
}
