package deflate

import "math/bits"

// The alphabets of RFC 1951, 3.2.5 to 3.2.7.
const (
	endOfBlock    = 256
	firstLength   = 257
	maxLiterals   = 286
	maxDists      = 30
	maxLengths    = 19
	maxBits       = 15
	maxLengthBits = 7
	dynamic       = 2

	minMatch = 3
	maxMatch = 258
	window   = 32 << 10
)

// lengthOrder is in which code lengths of code lengths are written.
var lengthOrder = [maxLengths]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

var extraOfRun = [maxLengths]uint8{16: 2, 17: 3, 18: 7}

var (
	lengthBase, lengthExtra = bases(29, minMatch, 4)
	distBase, distExtra     = bases(maxDists, 1, 2)
	lengthSymbol            = lengthSymbols()
)

// bases computes what a table in the RFC lists: a group of symbols, twice a
// first one, for each number of extra bits.
func bases(n, first, group int) (base []uint16, extra []uint8) {
	for s, next := 0, first; s < n; s++ {
		bits := max(0, s/group-1)
		base, extra = append(base, uint16(next)), append(extra, uint8(bits))
		next += 1 << bits
	}
	if first == minMatch { // 258 has a symbol of its own
		base[n-1], extra[n-1] = maxMatch, 0
	}
	return base, extra
}

func lengthSymbols() (symbols [maxMatch - minMatch + 1]uint16) {
	for s, base := range lengthBase {
		for l := int(base); l <= maxMatch; l++ {
			symbols[l-minMatch] = uint16(firstLength + s)
		}
	}
	return symbols
}

// distSymbol is that of a distance less one. Beyond 4, each power of two has two
// symbols.
func distSymbol(d uint16) uint16 {
	if d < 4 {
		return d
	}
	top := uint16(bits.Len16(d)) - 1
	return 2*top + d>>(top-1)&1
}
