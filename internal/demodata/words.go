package demodata

import (
	"math"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

const (
	lexiconSize = 5000
	drawBits    = 15 // a draw of a word takes so many random bits
	riverSize   = 768 << 10
)

// language draws words with the frequencies of a real one (Zipf), so that its
// text compresses like one.
type language struct {
	draw  [1 << drawBits]uint16 // frequent words stand in many places
	words []string              // with the space behind
	upper []string              // the same at the beginning of a sentence
	// follow is the word that often comes behind a word: set phrases.
	follow []uint16
	stops  []string

	// river is text made beforehand, cut into passages at sentences: that is
	// how retrieved passages come, again and again the same, and copying them
	// is what makes gigabytes quick.
	river     []byte
	sentences []int32
}

// languages are made once, from a seed of their own: other data does not mean
// other languages.
var languages = sync.OnceValue(func() []*language {
	list := make([]*language, len(scripts))
	for i := range scripts {
		r := stream(1, 1, int64(i))
		list[i] = newLanguage(&r, &scripts[i])
	}
	return list
})

func newLanguage(r *rng, s *script) *language {
	l := &language{stops: s.stops, follow: make([]uint16, lexiconSize)}
	seen := map[string]bool{"": true}
	for len(l.words) < lexiconSize {
		w := s.word(r, 1+min(len(l.words)/120, s.syllables-1)) // frequent words are short
		if seen[w] && !r.permille(5) {
			continue
		}
		seen[w] = true
		l.words = append(l.words, w+s.space)
		l.upper = append(l.upper, capital(w, s.upper)+s.space)
	}
	l.weigh()
	for i := range l.follow {
		l.follow[i] = l.draw[r.below(len(l.draw))]
	}
	for len(l.river) < riverSize {
		l.sentences = append(l.sentences, int32(len(l.river)))
		l.river = l.sentence(l.river, r)
	}
	return l
}

func (s *script) word(r *rng, most int) string {
	var w strings.Builder
	for range r.between(1, most) {
		w.WriteString(pick(r, s.onset))
		w.WriteString(pick(r, s.nucleus))
		w.WriteString(pick(r, s.coda))
	}
	return w.String()
}

func capital(w string, has bool) string {
	if !has {
		return w
	}
	first, n := utf8.DecodeRuneInString(w)
	return string(unicode.ToUpper(first)) + w[n:]
}

// weigh fills draw: the word of rank k gets places in proportion to 1/k.
func (l *language) weigh() {
	var total float64
	weight := func(rank int) float64 { return 1 / math.Pow(float64(rank)+2.7, 1.02) }
	for i := range l.words {
		total += weight(i)
	}
	at, sum := 0, 0.0
	for i := range l.words {
		sum += weight(i)
		for ; float64(at) < sum/total*float64(len(l.draw)) && at < len(l.draw); at++ {
			l.draw[at] = uint16(i)
		}
	}
}

// sentence appends one sentence, escaped for JSON: now and then with a
// quotation, a line break, a list, a tab or an emoji.
func (l *language) sentence(b []byte, r *rng) []byte {
	bits := r.next()
	n := 5 + int(bits&15)
	w := l.draw[bits>>16&(1<<drawBits-1)]
	b = append(b, l.upper[w]...)
	for range n {
		bits = r.next()
		if bits>>60 < phrase {
			w = l.follow[w]
		} else {
			w = l.draw[bits&(1<<drawBits-1)]
		}
		b = append(b, l.words[w]...)
	}
	if b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	b = append(b, pick(r, l.stops)...)
	return l.flourish(b, r)
}

// phrase is how often, of 16, a word is followed by the same one as always.
const phrase = 4

func (l *language) flourish(b []byte, r *rng) []byte {
	switch k := r.below(64); {
	case k < 6:
		return append(b, `\n`...)
	case k < 9:
		return append(b, `\n\n- `...)
	case k < 11:
		b = append(b, ` \"`...)
		b = append(b, l.words[l.draw[r.below(len(l.draw))]]...)
		return append(b, `\" `...)
	case k == 11:
		b = append(b, ' ')
		b = append(b, pick(r, emoji)...)
	case k == 12:
		return append(b, `\t`...)
	case k == 13:
		return append(b, ` C:\\temp\/x <a href='#'>&amp; \u00e9 \u2028 `...)
	}
	return append(b, ' ')
}

// text appends about n bytes of sentences nobody has written before.
func (l *language) text(b []byte, r *rng, n int) []byte {
	for end := len(b) + n; len(b) < end; {
		b = l.sentence(b, r)
	}
	return b
}

// passage appends about n bytes of the river.
func (l *language) passage(b []byte, r *rng, n int) []byte {
	return l.cut(b, r.below(len(l.sentences)), n)
}

// excerpt is a passage from near a topic. Questions of one conversation find
// the same sources again, which is why such rows compress well.
func (l *language) excerpt(b []byte, r *rng, topic, n int) []byte {
	return l.cut(b, (topic+r.below(topicWidth))%len(l.sentences), n)
}

// topicWidth is how many sentences the sources of a conversation have.
const topicWidth = 320

func (l *language) cut(b []byte, from, n int) []byte {
	start, to := int(l.sentences[from]), from+1
	for to < len(l.sentences) && int(l.sentences[to])-start < n {
		to++
	}
	if to == len(l.sentences) {
		return append(b, l.river[start:]...)
	}
	return append(b, l.river[start:l.sentences[to]]...)
}

// title appends a few words on one line.
func (l *language) title(b []byte, r *rng) []byte {
	w := l.draw[r.below(len(l.draw))]
	b = append(b, l.upper[w]...)
	for range r.between(1, 4) {
		b = append(b, l.words[l.draw[r.below(len(l.draw))]]...)
	}
	if b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}
