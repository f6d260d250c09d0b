package deflate

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

func unzip(t testing.TB, member []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(member))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// embeddings are passages as the platform keeps them: some text, many numbers.
func embeddings(passages, dimensions int, format byte) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for i := range passages {
		b = fmt.Appendf(b, `{"text": "passage %d`, i)
		for range 150 {
			b = append(b, ' ')
			for range 1 + rng.IntN(8) {
				b = append(b, "etaoinshrdlu"[rng.IntN(12)])
			}
		}
		b = append(b, `", "embedding": [`...)
		for d := range dimensions {
			if d > 0 {
				b = append(b, ", "...)
			}
			b = strconv.AppendFloat(b, rng.NormFloat64()/50, format, 8, 64)
		}
		b = append(b, "]}, "...)
	}
	return b
}

func standard(t testing.TB, src []byte, level int) int {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(src); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Len()
}

// What this is here for: as small as gzip -6, within a little.
func TestEmbeddings(t *testing.T) {
	for _, format := range []byte{'f', 'g'} {
		src := embeddings(25, 1536, format)
		var e Encoder
		got := e.Member(nil, src)
		if !bytes.Equal(unzip(t, got), src) {
			t.Errorf("%c: another text came out", format)
		}
		if six := standard(t, src, 6); len(got) > six+six/20 {
			t.Errorf("%c: %d bytes of %d; the standard library's level 6 needs %d", format, len(got), len(src), six)
		}
	}
}

// cases are texts at the limits of the format and of what is looked at together.
func cases() map[string][]byte {
	rng := rand.New(rand.NewPCG(3, 4))
	noise := make([]byte, 100<<10)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	m := map[string][]byte{
		"nothing": {}, "one byte": {0}, "noise": noise, "one letter": bytes.Repeat([]byte("a"), 70<<10),
		"zeros": []byte("[" + strings.Repeat("0, ", 40<<10) + "0]"), "broken array": []byte(strings.Repeat("[1, 2, x, [3", 999)),
		"starts inside":  embeddings(2, 3000, 'f')[9000:],
		"far apart":      []byte(strings.Repeat("[0.125, "+strings.Repeat("7", window-8), 3)),
		"high bytes":     bytes.Repeat([]byte("[0.0\xff\x80\xb0, -0.0\xff"), 999),
		"deep exponents": []byte("[" + strings.Repeat("1e-07, -2.5E+10, ", 4000) + "1]"),
	}
	for n := range 40 {
		m[fmt.Sprint("cut at ", n)] = []byte("[0.01, -0.02, 0.03, 0.04, -0.05, 0.06, 0.07]")[:n]
	}
	// Counts like Fibonacci's give the longest codes: more than 15 bits.
	var fib []byte
	for i, a, b := 0, 1, 1; i < 24; i, a, b = i+1, b, a+b {
		fib = append(fib, bytes.Repeat([]byte{byte('A' + i)}, a)...)
	}
	rng.Shuffle(len(fib), func(i, j int) { fib[i], fib[j] = fib[j], fib[i] })
	m["long codes"] = fib
	return m
}

func TestMember(t *testing.T) {
	var e Encoder
	for name, src := range cases() {
		got := e.Member([]byte("before"), src)
		if out := unzip(t, bytes.TrimPrefix(got, []byte("before"))); !bytes.Equal(out, src) {
			t.Errorf("%s: %d bytes in, others out", name, len(src))
		}
		if most := len(src) + len(src)/8 + 200; len(got) > most {
			t.Errorf("%s: %d bytes became %d", name, len(src), len(got))
		}
	}
}

// A code is complete and within its limit, whatever the counts.
func TestCodes(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	var h huffman
	for range 2000 {
		limit := []int{maxBits, maxLengthBits}[rng.IntN(2)]
		counts := make([]uint32, 2+rng.IntN(map[int]int{maxBits: maxLiterals - 2, maxLengthBits: maxLengths - 2}[limit]))
		used := 0
		for i := range counts {
			if rng.IntN(3) > 0 {
				counts[i] = 1 << rng.IntN(20)
				used++
			}
		}
		n := h.build(counts, limit)
		room := 0
		for s, c := range counts {
			if l := int(h.length[s]); (l > 0) != (c > 0) || l > limit || (c > 0 && s >= n) {
				t.Fatalf("symbol %d, which occurs %d times, has %d bits of at most %d", s, c, l, limit)
			} else if l > 0 {
				room += 1 << (limit - l)
			}
		}
		if used > 1 && room != 1<<limit {
			t.Fatalf("%d of %d used", room, 1<<limit)
		}
	}
}

func TestSuits(t *testing.T) {
	for src, want := range map[string]bool{
		"": false, "123": false, strings.Repeat("0.12345, ", 1000): true, strings.Repeat("words and words 123 ", 1000): false,
		string(embeddings(9, 1536, 'f')): true, string(embeddings(9, 1536, 'e')): false,
	} {
		if got := Suits([]byte(src)); got != want {
			t.Errorf("%.20q: %v", src, got)
		}
	}
}

func FuzzMember(f *testing.F) {
	for _, src := range cases() {
		f.Add(src, uint8(1))
	}
	f.Add(embeddings(1, 300, 'f'), uint8(3))
	var e Encoder
	f.Fuzz(func(t *testing.T, piece []byte, times uint8) {
		src := bytes.Repeat(piece, int(times%8))
		if out := unzip(t, e.Member(nil, src)); !bytes.Equal(out, src) {
			t.Errorf("%d bytes in, others out", len(src))
		}
	})
}

func BenchmarkMember(b *testing.B) {
	src := embeddings(25, 1536, 'f')[:512<<10]
	var e Encoder
	var m []byte
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		m = e.Member(m[:0], src)
	}
	b.ReportMetric(float64(len(m))/float64(len(src)), "size/raw")
}
