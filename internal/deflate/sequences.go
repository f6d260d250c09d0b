package deflate

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// sequence is some literals, and then a match; the last one of a block may have
// none.
type sequence struct {
	literals     uint32
	length, dist uint16 // dist - 1
}

const (
	blockSequences = 16 << 10 // at which a block ends
	longArray      = 1 << 10  // bytes of numbers that are worth a block of their own
	worthBlock     = 256      // bytes before or of them that are
	hashBits       = 14
	prefixBits     = 10
)

// finder finds the sequences of one member, block by block.
type finder struct {
	src   []byte
	at    int
	from  int // of the block
	begun int // of the literals
	list  []sequence

	hash    [1 << hashBits]int32   // 1 + where four bytes last stood, outside of arrays
	prefix  [1 << prefixBits]int32 // 1 + where a number last began like this
	numbers bool                   // at stands inside an array
}

func (f *finder) reset(src []byte) {
	f.src, f.at, f.numbers = src, 0, false
	f.hash, f.prefix = [1 << hashBits]int32{}, [1 << prefixBits]int32{}
	if len(src) > 0 { // which may begin in the middle of an array
		f.numbers = isDigit(src[0]) || src[0] == ',' || src[0] == '-' || src[0] == '.' || src[0] == ' '
	}
}

// next finds the sequences of the next block; false when it is the last.
func (f *finder) next() bool {
	f.list = f.list[:0]
	f.from, f.begun = f.at, f.at
	for full := false; f.at < len(f.src) && !full; {
		if f.numbers {
			full = f.array()
		} else {
			full = f.text()
		}
	}
	if f.begun < f.at {
		f.list = append(f.list, sequence{literals: uint32(f.at - f.begun)})
	}
	return f.at < len(f.src)
}

// match ends a sequence: length bytes at the place i stand also dist before it.
func (f *finder) match(i, length, dist int) {
	f.list = append(f.list, sequence{uint32(i - f.begun), uint16(length), uint16(dist - 1)})
	f.begun = i + length
}

// array reads numbers up to the array's end; true when the block should end.
// Eight bytes are looked at together, as long as there are so many.
func (f *finder) array() (full bool) {
	src, i := f.src, f.at
	for i+16 <= len(src) && len(f.list) < blockSequences {
		word := binary.LittleEndian.Uint64(src[i:])
		n := bits.TrailingZeros64(notBetween(word)) / 8 // before the first digit but zero; 8 if there is none
		if n >= minMatch {
			f.piece(i, n, word)
		}
		i += n
		digits := bits.TrailingZeros64(notDigits(binary.LittleEndian.Uint64(src[i:]))) / 8
		i += digits
		if n+digits > 0 {
			continue
		}
		if b := src[i]; b != 'e' && b != 'E' { // of an exponent
			f.numbers = false
			break
		}
		i++
	}
	if i+16 > len(src) {
		i, f.numbers = len(src), false // not worth the care
	}
	f.at = i
	return f.at-f.from >= worthBlock
}

const eachByte = 0x0101010101010101

// notBetween marks, by its highest bit, each byte that is '1' or more. Smaller
// ones are what stands between the digits of two numbers: comma, space, signs,
// point, zeros.
func notBetween(word uint64) uint64 {
	return (word&(0x7f*eachByte) + (0x80-'1')*eachByte | word) & (0x80 * eachByte)
}

// notDigits marks each byte that is no digit.
func notDigits(word uint64) uint64 {
	word ^= '0' * eachByte
	return (word&(0x7f*eachByte) + (0x80-10)*eachByte | word) & (0x80 * eachByte)
}

func isDigit(b byte) bool { return b-'0' < 10 }

// piece makes the first n bytes of word, which stand at i and begin a number, a
// match with the last number that began alike.
func (f *finder) piece(i, n int, word uint64) {
	mask := ^uint64(0) >> (64 - 8*n)
	kind := word & mask * 0x9e3779b97f4a7c15 >> (64 - prefixBits)
	last := int(f.prefix[kind]) - 1
	f.prefix[kind] = int32(i + 1)
	if last >= 0 && i-last <= window && (binary.LittleEndian.Uint64(f.src[last:])^word)&mask == 0 {
		f.match(i, n, i-last)
	}
}

// text reads up to an array of numbers; true when the block should end.
func (f *finder) text() (full bool) {
	src, i := f.src, f.at
	for i+8 <= len(src) && len(f.list) < blockSequences {
		if beginsArray(src[i:]) {
			f.at, f.numbers = i+1, true
			return i-f.from >= worthBlock && arrayLength(src[i:]) >= longArray
		}
		h := binary.LittleEndian.Uint32(src[i:]) * 2654435761 >> (32 - hashBits)
		last := int(f.hash[h]) - 1
		f.hash[h] = int32(i + 1)
		if last < 0 || i-last > window {
			i++
			continue
		}
		n := common(src[last:], src[i:])
		if j := bytes.IndexByte(src[i:i+n], '['); j >= 0 && beginsArray(src[i+j:]) {
			n = j // not over the array's start
		}
		if n < 4 || (n == 4 && i-last > window/4) { // which would cost more than it saves
			i++
			continue
		}
		f.match(i, n, i-last)
		i += n
	}
	if i+8 > len(src) {
		i = len(src)
	}
	f.at = i
	return len(f.list) >= blockSequences
}

func beginsArray(src []byte) bool {
	return len(src) > 1 && src[0] == '[' && (isDigit(src[1]) || src[1] == '-')
}

// arrayLength is how far the array at the start of src reaches, up to longArray.
func arrayLength(src []byte) int {
	src = src[:min(len(src), longArray)]
	if n := bytes.IndexByte(src, ']'); n >= 0 {
		return n
	}
	return len(src)
}

// common is how many bytes a and b begin with alike, at most maxMatch. b is the
// shorter one.
func common(a, b []byte) int {
	n, most := 0, min(len(b), maxMatch)
	for n+8 <= most {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < most && a[n] == b[n] {
		n++
	}
	return n
}
