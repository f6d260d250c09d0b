package deflate

import "encoding/binary"

// bitWriter writes bits, the least significant first (RFC 1951, 3.1.1).
type bitWriter struct {
	out  []byte // its length is its capacity
	n    int    // bytes written
	acc  uint64
	bits uint
}

func (w *bitWriter) reset(out []byte) {
	*w = bitWriter{out: out[:cap(out)], n: len(out)}
}

// grow makes room for n bytes.
func (w *bitWriter) grow(n int) {
	if len(w.out)-w.n < n+8 {
		out := make([]byte, len(w.out)+n+8+len(w.out)/2)
		copy(out, w.out[:w.n])
		w.out = out
	}
}

// add writes the n lowest bits of v, at most 15; the others must be zero.
func (w *bitWriter) add(v uint64, n uint) {
	w.acc |= v << (w.bits & 63)
	w.bits += n
	if w.bits >= 48 {
		binary.LittleEndian.PutUint64(w.out[w.n:], w.acc)
		w.n += 6
		w.acc >>= 48
		w.bits -= 48
	}
}

// flush leaves less than a byte's bits.
func (w *bitWriter) flush() {
	binary.LittleEndian.PutUint64(w.out[w.n:], w.acc)
	w.n += int(w.bits >> 3)
	w.acc >>= w.bits &^ 7
	w.bits &= 7
}

// put writes a code.
func (w *bitWriter) put(c code) { w.add(c.bits(), c.length()) }

// end fills the last byte and returns what was written.
func (w *bitWriter) end() []byte {
	out := w.out[:w.n]
	for w.bits > 0 {
		out = append(out, byte(w.acc))
		w.acc >>= 8
		w.bits -= min(w.bits, 8)
	}
	return out
}
