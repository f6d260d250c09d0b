package demodata

import (
	"iter"
	"time"
)

// Conversation is one row of "llm-convo-monitor".
type Conversation struct {
	ID         int64
	CreatedAt  *time.Time // some are NULL
	ConvoID    string
	CourseName string
	UserEmail  *string // NULL if nobody was signed in
	Convo      *string // the JSON text; a few are NULL
}

// Conversations yields the first n rows that Fill makes of the same seed for a
// volume of n rows, in the order of ids. It needs no database.
func Conversations(seed uint64, n int64) iter.Seq[Conversation] {
	return func(yield func(Conversation) bool) {
		g := conversations{seed: seed, n: n}
		for i := range n {
			if !yield(g.row(i).public()) {
				return
			}
		}
	}
}

// generations of convo, by the time from which clients wrote them.
var generations = []time.Time{
	earliest,
	time.Date(2023, 7, 10, 0, 0, 0, 0, time.UTC),
	time.Date(2023, 12, 4, 0, 0, 0, 0, time.UTC),
	time.Date(2024, 5, 13, 0, 0, 0, 0, time.UTC),
	time.Date(2024, 9, 2, 0, 0, 0, 0, time.UTC),
	time.Date(2025, 1, 20, 0, 0, 0, 0, time.UTC),
}

// conversationBytes is the mean length of convo, by which a volume in bytes
// becomes a number of rows to spread over time.
const conversationBytes = 16 << 10

// conversations makes rows. Each depends on the seed, its own number and, for
// its time, on how many there are to be.
type conversations struct {
	seed  uint64
	n     int64
	jsonb bool // leave out what jsonb cannot store
	w     convoWriter
	last  conversationRow
}

// conversationRow is a row as it goes to the server. It lasts until the next.
type conversationRow struct {
	id         int64
	at         int64 // microseconds since 1970
	dated      bool
	convoID    []byte
	project    *project
	email      []byte // empty: nobody signed in
	convo      []byte
	convoIsSet bool
}

func (g *conversations) row(i int64) *conversationRow {
	r := stream(g.seed, 2, i)
	c := &g.last
	c.id = gapped(i, &r)
	c.at = moment(i, g.n, &r)
	c.dated = !r.permille(4)
	c.project = pickProject(&r)
	c.convoID = appendUUID(c.convoID[:0], &r)
	c.email = appendEmail(c.email[:0], &r)
	q := quirkOf(g.seed, i)
	if g.jsonb && (q == quirkNUL || q == quirkSurrogate) {
		q = quirkNone
	}
	c.convoIsSet = q != quirkNull
	c.convo = nil
	if c.convoIsSet {
		c.convo = g.w.write(c, generationOf(c.at, &r), q, r)
	}
	return c
}

func (c *conversationRow) public() Conversation {
	p := Conversation{ID: c.id, ConvoID: string(c.convoID), CourseName: c.project.name}
	if c.dated {
		at := time.UnixMicro(c.at).UTC()
		p.CreatedAt = &at
	}
	if len(c.email) > 0 {
		email := string(c.email)
		p.UserEmail = &email
	}
	if c.convoIsSet {
		convo := string(c.convo)
		p.Convo = &convo
	}
	return p
}

// gapped is the id of the i-th row. An upsert that meets an existing row burns
// a value of the sequence, so ids have gaps, and now and then a large one.
func gapped(i int64, r *rng) int64 {
	return 1 + 3*i + int64(r.below(3)) + i/997*1500
}

// moment is when the i-th of n rows was begun: in the order of ids, but for a
// few whose client sent them late.
func moment(i, n int64, r *rng) int64 {
	from, span := earliest.UnixMicro(), latest.Sub(earliest).Microseconds()
	step := span / max(n, 1)
	at := from + min(i*step, span-step) + int64(r.float()*float64(step))
	if r.permille(30) {
		at -= int64(r.float() * 6 * float64(time.Hour.Microseconds()))
	}
	return max(at, from)
}

// generationOf is what wrote the row last: the client of its time or, if the
// conversation went on later, a newer one.
func generationOf(at int64, r *rng) int {
	g := 1
	for g < len(generations) && at >= generations[g].UnixMicro() {
		g++
	}
	if r.permille(120) {
		g = r.between(g, len(generations))
	}
	return g
}

func pickProject(r *rng) *project {
	n := uint64(r.below(1000))
	for i := range projects {
		if n < projects[i].share {
			return &projects[i]
		}
		n -= projects[i].share
	}
	return &projects[0]
}

// appendEmail appends nothing for a third of the rows.
func appendEmail(b []byte, r *rng) []byte {
	k := r.below(100)
	switch {
	case k < 34:
		return b
	case k < 37:
		b = append(b, "Student-"...)
	default:
		b = append(b, "student-"...)
	}
	b = appendPadded(b, r.below(2500), 4)
	if k == 36 {
		return append(b, "@Example.EDU"...)
	}
	return append(b, "@example.edu"...)
}

// appendPadded appends n with leading zeros, width digits wide.
func appendPadded(b []byte, n, width int) []byte {
	for range width {
		b = append(b, '0')
	}
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

// appendUUID appends a random UUID (version 4).
func appendUUID(b []byte, r *rng) []byte {
	const digits = "0123456789abcdef"
	var bits uint64
	for i := range 36 {
		if i%16 == 0 {
			bits = r.next()
		}
		switch i {
		case 8, 13, 18, 23:
			b = append(b, '-')
		case 14:
			b = append(b, '4')
		case 19:
			b = append(b, digits[8|bits&3])
		default:
			b = append(b, digits[bits&15])
		}
		bits >>= 4
	}
	return b
}
