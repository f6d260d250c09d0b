package client

import (
	"strconv"
	"strings"
)

// lineChecker reads JSON lines in pieces of any size, and keeps none of them:
// each must be one object that begins with its id, and ids must rise.
type lineChecker struct {
	json  jsonChecker
	line  int64 // that is being read, from 1; 0: none yet
	at    int64 // bytes of it
	head  []byte
	known bool // id is this line's
	id    int64
	last  int64 // id of the line before
	some  bool  // there is a line before
	rows  int64 // that ended in this part
	first int64 // id of the first of them
}

// part begins counting anew.
func (l *lineChecker) part() { l.rows = 0 }

// inside reports whether a line has begun and not ended.
func (l *lineChecker) inside() bool { return l.at > 0 }

// idPrefix begins every line; an id has at most 20 characters.
const (
	idPrefix = `{"id":`
	maxHead  = len(idPrefix) + 21
)

func (l *lineChecker) take(b []byte) error {
	for len(b) > 0 {
		if l.at == 0 {
			l.line++
			l.json.reset()
			l.head, l.known = l.head[:0], false
		}
		if !l.known {
			if err := l.lookForID(b); err != nil {
				return err
			}
		}
		n, ok := l.json.take(b)
		l.at += int64(n)
		switch {
		case ok:
			return nil // the rest is in the next piece
		case b[n] != '\n' || !l.json.complete():
			return mismatch("line %d is not valid JSON, at its byte %d", l.line, l.at+1)
		}
		if err := l.end(); err != nil {
			return err
		}
		b = b[n+1:]
	}
	return nil
}

// lookForID collects the beginning of a line until its id has an end.
func (l *lineChecker) lookForID(b []byte) error {
	l.head = append(l.head, b[:min(len(b), maxHead-len(l.head))]...)
	have := string(l.head)
	if len(have) < len(idPrefix) && strings.HasPrefix(idPrefix, have) {
		return nil
	}
	digits, ok := strings.CutPrefix(have, idPrefix)
	end := strings.IndexAny(digits, ",}")
	if ok && end < 0 && len(l.head) < maxHead {
		return nil
	}
	if ok && end >= 0 {
		var err error
		l.id, err = strconv.ParseInt(digits[:end], 10, 64)
		ok = err == nil
	}
	if !ok || end < 0 {
		return mismatch("line %d does not begin with its id", l.line)
	}
	l.known = true
	return nil
}

// end closes a line.
func (l *lineChecker) end() error {
	switch {
	case l.some && l.id == l.last:
		return mismatch("line %d has the id %d of the line before", l.line, l.id)
	case l.some && l.id < l.last:
		return mismatch("line %d has the id %d, which is below %d on the line before", l.line, l.id, l.last)
	}
	if l.rows == 0 {
		l.first = l.id
	}
	l.rows++
	l.last, l.some, l.at = l.id, true, 0
	return nil
}
