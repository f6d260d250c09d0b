package demodata

import "math/bits"

// rng is splitmix64: its whole state is one word, so that giving every row a
// generator of its own costs nothing, and its output never changes with Go's
// version.
type rng uint64

// stream returns the generator of the i-th row of a kind of rows.
func stream(seed, kind uint64, i int64) rng {
	r := rng(seed ^ kind*0xd6e8feb86659fd93)
	return rng(r.next() ^ uint64(i)*0x9e3779b97f4a7c15)
}

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (r *rng) below(n int) int {
	hi, _ := bits.Mul64(r.next(), uint64(n))
	return int(hi)
}

// between returns a number from lo to hi.
func (r *rng) between(lo, hi int) int { return lo + r.below(hi-lo+1) }

// permille is true n times in a thousand.
func (r *rng) permille(n int) bool { return r.below(1000) < n }

// float returns a number from 0 to 1, without the latter.
func (r *rng) float() float64 { return float64(r.next()>>11) / (1 << 53) }

func pick[T any](r *rng, from []T) T { return from[r.below(len(from))] }
