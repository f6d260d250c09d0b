// Package deflate writes gzip members (RFC 1952) of text that is mostly decimal
// numbers, such as JSON with embeddings.
//
// General encoders spend their time there on finding the last place where four
// digits stood, and then pay more bits for naming it than the digits cost. What
// repeats in an array of numbers is what stands between the digits: a comma, a
// space, a sign, leading zeros. So this encoder points back at the last number
// that began alike and writes the digits that follow as literals; it neither
// hashes nor compares anything else in an array. Beside arrays it looks for
// repeats as others do, with one candidate.
package deflate

import (
	"encoding/binary"
	"hash/crc32"
)

// Suits reports whether src is mostly digits, by looking at a part of it.
// Numbers with exponents, which Postgres writes in no jsonb, repeat otherwise
// than the encoder expects.
func Suits(src []byte) bool {
	const stride = 61 // odd, so that no period of the numbers' width hides some
	digits, exponents, seen := 0, 0, 0
	for i := 0; i < len(src); i += stride {
		switch b := src[i]; {
		case isDigit(b):
			digits++
		case b == 'e' || b == 'E':
			exponents++
		}
		seen++
	}
	return seen >= 64 && digits*2 > seen && exponents*25 < seen
}

// Encoder makes members. It is not for use by several goroutines at once.
type Encoder struct {
	finder   finder
	literals huffman // and lengths of matches
	dists    huffman
	lengths  huffman // of the other codes' lengths
	w        bitWriter

	literalCounts [maxLiterals]uint32
	distCounts    [maxDists]uint32
	runs          []run
}

// Member appends src, compressed, as one gzip member to dst.
func (e *Encoder) Member(dst, src []byte) []byte {
	// No name and no time: the same rows give the same bytes (RFC 1952, 2.3).
	dst = append(dst, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255)
	e.w.reset(dst)
	e.finder.reset(src)
	for more := true; more; {
		more = e.finder.next()
		e.block(!more)
	}
	dst = e.w.end()
	dst = binary.LittleEndian.AppendUint32(dst, crc32.ChecksumIEEE(src))
	return binary.LittleEndian.AppendUint32(dst, uint32(len(src)))
}

// block writes what was found as one block with codes of its own (RFC 1951,
// 3.2.7).
func (e *Encoder) block(final bool) {
	e.count()
	nLit := e.literals.build(e.literalCounts[:], maxBits)
	nDist := max(1, e.dists.build(e.distCounts[:], maxBits))
	raw := e.finder.at - e.finder.from
	e.w.grow(headerBytes + 2*raw) // no code has more than 15 bits
	bfinal := uint64(0)
	if final {
		bfinal = 1
	}
	e.w.add(bfinal|dynamic<<1, 3)
	e.header(max(nLit, firstLength), nDist)
	e.body()
}

// headerBytes is more than a block's header and its end ever take.
const headerBytes = 1 << 10

// count tells how often each symbol occurs.
func (e *Encoder) count() {
	literals, dists := &e.literalCounts, &e.distCounts
	*literals, *dists = [maxLiterals]uint32{endOfBlock: 1}, [maxDists]uint32{}
	src := e.finder.src[e.finder.from:e.finder.at]
	for _, s := range e.finder.list {
		for _, b := range src[:s.literals] {
			literals[b]++
		}
		src = src[s.literals+uint32(s.length):]
		if s.length > 0 {
			literals[lengthSymbol[s.length-minMatch]]++
			dists[distSymbol(s.dist)]++
		}
	}
}

// header writes both codes by their lengths, run by run.
func (e *Encoder) header(nLit, nDist int) {
	var all [maxLiterals + maxDists]uint8
	copy(all[:], e.literals.length[:nLit])
	copy(all[nLit:], e.dists.length[:nDist])
	e.runs = runLengths(e.runs[:0], all[:nLit+nDist])

	var counts [maxLengths]uint32
	for _, r := range e.runs {
		counts[r.symbol]++
	}
	e.lengths.build(counts[:], maxLengthBits)
	n := maxLengths
	for n > 4 && e.lengths.length[lengthOrder[n-1]] == 0 {
		n--
	}
	e.w.add(uint64(nLit-firstLength)|uint64(nDist-1)<<5|uint64(n-4)<<10, 14)
	for _, s := range lengthOrder[:n] {
		e.w.add(uint64(e.lengths.length[s]), 3)
	}
	for _, r := range e.runs {
		e.w.put(e.lengths.code[r.symbol])
		e.w.add(uint64(r.extra), uint(extraOfRun[r.symbol]))
	}
}

// body writes the sequences and the end of the block. It is what takes longest,
// so that what it writes with stays in registers: it stores eight bytes and
// then steps over those that are full. What comes between two stores has 57
// bits at most: three literals, or one match.
func (e *Encoder) body() {
	src := e.finder.src[e.finder.from:e.finder.at]
	literals, dists := &e.literals.code, &e.dists.code
	e.w.flush()
	out, n, acc, bits := e.w.out, e.w.n, e.w.acc, e.w.bits
	for _, s := range e.finder.list {
		run := src[:s.literals]
		for len(run) >= 3 {
			a, b, c := literals[run[0]], literals[run[1]], literals[run[2]]
			run = run[3:]
			acc |= a.bits() << (bits & 63)
			bits += a.length()
			acc |= b.bits() << (bits & 63)
			bits += b.length()
			acc |= c.bits() << (bits & 63)
			bits += c.length()
			binary.LittleEndian.PutUint64(out[n:], acc)
			n += int(bits >> 3)
			acc >>= bits &^ 7 & 63
			bits &= 7
		}
		for _, b := range run {
			c := literals[b]
			acc |= c.bits() << (bits & 63)
			bits += c.length()
		}
		binary.LittleEndian.PutUint64(out[n:], acc)
		n += int(bits >> 3)
		acc >>= bits &^ 7 & 63
		bits &= 7
		src = src[s.literals+uint32(s.length):]
		if s.length == 0 {
			continue
		}
		symbol := lengthSymbol[s.length-minMatch] - firstLength
		l := literals[firstLength+symbol]
		acc |= (l.bits() | uint64(s.length-lengthBase[symbol])<<l.length()) << (bits & 63)
		bits += l.length() + uint(lengthExtra[symbol])
		symbol = distSymbol(s.dist)
		d := dists[symbol]
		acc |= (d.bits() | uint64(s.dist+1-distBase[symbol])<<d.length()) << (bits & 63)
		bits += d.length() + uint(distExtra[symbol])
		binary.LittleEndian.PutUint64(out[n:], acc)
		n += int(bits >> 3)
		acc >>= bits &^ 7 & 63
		bits &= 7
	}
	e.w.n, e.w.acc, e.w.bits = n, acc, bits
	e.w.put(literals[endOfBlock])
}
