package deflate

import (
	"math/bits"
	"slices"
)

// code is what is written for a symbol, with its length in the lowest bits.
type code uint32

const codeLengthBits = 4

func (c code) bits() uint64 { return uint64(c >> codeLengthBits) }
func (c code) length() uint { return uint(c & (1<<codeLengthBits - 1)) }

// huffman is a canonical code (RFC 1951, 3.2.2); the codes' bits are reversed,
// as they are written.
type huffman struct {
	code   [maxLiterals]code
	length [maxLiterals]uint8

	order  []uint32 // symbols that occur, the rarest first
	weight []uint32
	parent []uint16
}

const maxSymbolBits = 9

// build makes the code of least size for symbols that occur so often, none
// longer than limit bits, and returns 1 + the highest symbol.
func (h *huffman) build(counts []uint32, limit int) (n int) {
	h.order = h.order[:0]
	for s, c := range counts {
		h.length[s] = 0
		if c > 0 {
			h.order = append(h.order, c<<maxSymbolBits|uint32(s))
			n = s + 1
		}
	}
	switch len(h.order) {
	case 0:
		return 0
	case 1: // one code of one bit is allowed, none is not
		s := h.order[0] & (1<<maxSymbolBits - 1)
		h.length[s], h.code[s] = 1, 1
		return n
	}
	slices.Sort(h.order)
	perLength := h.depths(limit)
	limitKraft(&perLength, limit)
	i := len(h.order)
	for length := 1; length <= limit; length++ {
		for range perLength[length] {
			i--
			h.length[h.order[i]&(1<<maxSymbolBits-1)] = uint8(length)
		}
	}
	h.assign(perLength, n)
	return n
}

// depths builds the tree from two queues, leaves and inner nodes, both sorted
// by weight, and counts the leaves of each depth; those beyond the limit count
// as if at the limit.
func (h *huffman) depths(limit int) (perLength [maxBits + 1]int) {
	n := len(h.order)
	h.weight, h.parent = h.weight[:0], slices.Grow(h.parent[:0], 2*n)[:2*n-1]
	for _, o := range h.order {
		h.weight = append(h.weight, o>>maxSymbolBits)
	}
	leaf, inner := 0, n
	lightest := func(end int) int {
		if leaf < n && (inner >= end || h.weight[leaf] <= h.weight[inner]) {
			leaf++
			return leaf - 1
		}
		inner++
		return inner - 1
	}
	for node := n; node < 2*n-1; node++ {
		a := lightest(node)
		b := lightest(node)
		h.weight = append(h.weight, h.weight[a]+h.weight[b])
		h.parent[a], h.parent[b] = uint16(node), uint16(node)
	}
	depth := h.weight // no longer needed
	depth[2*n-2] = 0
	for node := 2*n - 3; node >= 0; node-- {
		depth[node] = depth[h.parent[node]] + 1
		if node < n {
			perLength[min(int(depth[node]), limit)]++
		}
	}
	return perLength
}

// limitKraft lengthens codes until there is room for all of those that were cut
// to the limit (Kraft's inequality).
func limitKraft(perLength *[maxBits + 1]int, limit int) {
	used := 0
	for length := 1; length <= limit; length++ {
		used += perLength[length] << (limit - length)
	}
	for ; used > 1<<limit; used-- {
		// One code of the limit goes; one shorter code becomes two that are one
		// bit longer, in place of itself and of the one that went.
		perLength[limit]--
		length := limit - 1
		for perLength[length] == 0 {
			length--
		}
		perLength[length]--
		perLength[length+1] += 2
	}
}

// assign numbers the codes.
func (h *huffman) assign(perLength [maxBits + 1]int, n int) {
	var next [maxBits + 1]uint16
	first := 0
	for length := 1; length <= maxBits; length++ {
		first = (first + perLength[length-1]) << 1
		next[length] = uint16(first)
	}
	for s, length := range h.length[:n] {
		if length > 0 {
			h.code[s] = code(bits.Reverse16(next[length])>>(16-length))<<codeLengthBits | code(length)
			next[length]++
		}
	}
}

// run is a code length, or several alike.
type run struct{ symbol, extra uint8 }

// runLengths appends code lengths as RFC 1951, 3.2.7 has them: 16 repeats the
// last one 3 to 6 times, 17 and 18 are 3 to 10 and 11 to 138 zeros.
func runLengths(runs []run, lengths []uint8) []run {
	for i := 0; i < len(lengths); {
		l, n := lengths[i], 1
		for i+n < len(lengths) && lengths[i+n] == l {
			n++
		}
		i += n
		if l > 0 {
			runs = append(runs, run{symbol: l})
			n--
		}
		for n >= 3 {
			r, took := run{16, 0}, min(n, 6)
			switch {
			case l == 0 && n >= 11:
				r.symbol, took = 18, min(n, 138)
				r.extra = uint8(took - 11)
			case l == 0:
				r.symbol, took = 17, n
				r.extra = uint8(took - 3)
			default:
				r.extra = uint8(took - 3)
			}
			runs = append(runs, r)
			n -= took
		}
		for range n {
			runs = append(runs, run{symbol: l})
		}
	}
	return runs
}
