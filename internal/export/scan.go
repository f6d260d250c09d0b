package export

import (
	"bytes"
	"encoding/json"
)

// span is a range of bytes to leave out.
type span struct{ from, to int }

// extraContexts finds the contexts beyond the limit-th of every assistant
// message of a conversation, appends the bytes to leave out to spans and says
// how many contexts they hold. Only direct children of messages[] count; keys
// are compared after unescaping; the last role of a message decides. Every
// other byte of the conversation stays as it is.
//
// The value is valid JSON, because Postgres checked it. Where it is not, it is
// left as it is.
func extraContexts(spans []span, v []byte, limit int) ([]span, int64) {
	s := scanner{v: v, limit: limit, spans: spans}
	s.object(func(key []byte) bool {
		return is(key, "messages") && s.array(func() bool { return s.message() })
	})
	if s.bad {
		return spans[:0], 0
	}
	return s.spans, s.cut
}

type scanner struct {
	v     []byte
	i     int
	bad   bool // no valid JSON
	limit int
	spans []span
	cut   int64
}

// message reads one element of messages[]; false if it is not an object.
func (s *scanner) message() bool {
	kept, cut := len(s.spans), s.cut
	assistant := false
	ok := s.object(func(key []byte) bool {
		switch {
		case is(key, "role"):
			assistant = false
			if s.peek() != '"' {
				return false
			}
			assistant = is(s.str(), "assistant")
			return true
		case is(key, "contexts"):
			return s.contexts()
		}
		return false
	})
	if !assistant {
		s.spans, s.cut = s.spans[:kept], cut
	}
	return ok
}

// contexts reads an array and notes what is beyond the limit.
func (s *scanner) contexts() bool {
	n, end := 0, 0 // end: behind the last element that stays
	ok := s.array(func() bool {
		n++
		s.skip()
		if n == s.limit {
			end = s.i
		}
		return true
	})
	if n > s.limit {
		s.spans = append(s.spans, span{end, s.i - 1})
		s.cut += int64(n - s.limit)
	}
	return ok
}

// object reads an object, calling member with each key; member reads the
// value and returns true, or leaves it to be skipped. It returns false, having
// read nothing, where no object stands.
func (s *scanner) object(member func(key []byte) bool) bool {
	if s.peek() != '{' {
		return false
	}
	s.i++
	for s.peek() != '}' {
		if s.peek() != '"' {
			s.fail()
			return true
		}
		key := s.str()
		s.expect(':')
		s.peek()
		if !member(key) {
			s.skip()
		}
		if s.peek() == ',' {
			s.i++
		} else if s.peek() != '}' {
			s.fail()
			return true
		}
	}
	s.i++
	return true
}

// array reads an array, calling element before each; as object.
func (s *scanner) array(element func() bool) bool {
	if s.peek() != '[' {
		return false
	}
	s.i++
	for s.peek() != ']' {
		if s.bad {
			return true
		}
		if !element() {
			s.skip()
		}
		if s.peek() == ',' {
			s.i++
		} else if s.peek() != ']' {
			s.fail()
			return true
		}
	}
	s.i++
	return true
}

// peek goes to the next token and returns its first byte; 0 at the end.
func (s *scanner) peek() byte {
	for ; s.i < len(s.v); s.i++ {
		switch c := s.v[s.i]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) expect(c byte) {
	if s.peek() != c {
		s.fail()
		return
	}
	s.i++
}

// fail ends the scan: nothing will be cut.
func (s *scanner) fail() { s.bad, s.i = true, len(s.v) }

// str reads a string and returns what stands between its quotes.
func (s *scanner) str() []byte {
	from := s.i + 1
	for at := from; ; {
		q := bytes.IndexByte(s.v[at:], '"')
		if q < 0 {
			s.fail()
			return nil
		}
		at += q + 1
		// A quote behind an odd number of backslashes is escaped.
		slashes := at - 2
		for slashes >= from && s.v[slashes] == '\\' {
			slashes--
		}
		if (at-2-slashes)%2 == 0 {
			s.i = at
			return s.v[from : at-1]
		}
	}
}

// skip passes one value of any kind, without recursion: Postgres accepts
// thousands of levels.
func (s *scanner) skip() {
	depth := 0
	for c := s.peek(); c != 0; c = s.peek() {
		switch c {
		case '"':
			s.str()
		case '{', '[':
			depth++
			s.i++
		case '}', ']':
			depth--
			s.i++
		case ',', ':':
			s.i++
		default:
			s.scalar()
		}
		if depth == 0 {
			return
		}
	}
	s.fail()
}

// scalar passes a number, true, false or null.
func (s *scanner) scalar() {
	for ; s.i < len(s.v); s.i++ {
		switch s.v[s.i] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			return
		}
	}
}

// is compares the inside of a JSON string with a word.
func is(inside []byte, word string) bool {
	if bytes.IndexByte(inside, '\\') < 0 {
		return string(inside) == word
	}
	var s string
	quoted := append(append([]byte{'"'}, inside...), '"')
	return json.Unmarshal(quoted, &s) == nil && s == word
}
