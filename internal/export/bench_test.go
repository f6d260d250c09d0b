package export

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// words is text that repeats as prose does: some words often, most of them seldom.
func words(rng *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		w := rng.IntN(1 + rng.IntN(4000))
		for range 2 + w%7 {
			b.WriteByte("etaoinshrdlucmfw"[w&15])
			w = w*31 + 7
		}
		b.WriteByte(' ')
	}
	return b.String()[:n]
}

// benchConversation has about 16 KB, as the platform's have on average.
func benchConversation(rng *rand.Rand, contexts int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"id":"c1","messages":[`)
	for i := range 12 {
		if i > 0 {
			b.WriteByte(',')
		}
		role := "user"
		if i%2 == 1 {
			role = "assistant"
		}
		fmt.Fprintf(&b, `{"id":"m%d","role":%q,"content":"%s","contexts":[`, i, role, words(rng, 1200))
		for c := range contexts {
			if c > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"s3_path":"courses/a/%d.pdf","text":"%s"}`, c, words(rng, 100))
		}
		b.WriteString(`]}`)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

// benchDocument has passages of text and embedding, some 700 KB.
func benchDocument(rng *rand.Rand) []byte {
	var b bytes.Buffer
	b.WriteByte('[')
	for i := range 33 {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, `{"text": "%s", "embedding": [0.1`, words(rng, 1200))
		for range 1535 {
			fmt.Fprintf(&b, ", %.8f", rng.NormFloat64()/50)
		}
		b.WriteString("]}")
	}
	b.WriteByte(']')
	return b.Bytes()
}

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 1)) }

func BenchmarkScan(b *testing.B) {
	rng := newRand()
	for name, v := range map[string][]byte{
		"plain": benchConversation(rng, 0), "contexts": benchConversation(rng, 80), "cut": benchConversation(rng, 100),
	} {
		b.Run(name, func(b *testing.B) {
			var spans []span
			b.SetBytes(int64(len(v)))
			for b.Loop() {
				spans, _ = extraContexts(spans[:0], v, jobs.MaxContexts)
			}
		})
	}
}

func BenchmarkLines(b *testing.B) {
	rng := newRand()
	for name, c := range map[string]struct {
		kind  jobs.Kind
		value []byte
	}{"conversations": {jobs.Conversations, benchConversation(rng, 8)}, "documents": {jobs.Documents, benchDocument(rng)}} {
		b.Run(name, func(b *testing.B) {
			pool := newChunks(2)
			w := newLineWriter(c.kind.Columns(), pool, func(c *chunk) error { c.recycle(); return nil })
			row := make(jobs.Row, len(c.kind.Columns()))
			for i := range row {
				row[i] = []byte("some text")
			}
			row[0], row[1], row[len(row)-1] = number(7), number(8), c.value
			if c.kind == jobs.Documents {
				row[len(row)-2] = []byte("[]")
			}
			b.SetBytes(int64(len(c.value)))
			for b.Loop() {
				if err := w.row(context.Background(), row); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompressor(b *testing.B) {
	rng := newRand()
	var text, numbers []byte
	for len(text) < chunkSize {
		text = append(text, benchConversation(rng, 8)...)
	}
	for len(numbers) < chunkSize {
		numbers = append(numbers, benchDocument(rng)...)
	}
	text, numbers = text[:chunkSize], numbers[:chunkSize]
	for _, level := range []int{1, 2, 5, 6} {
		for name, raw := range map[string][]byte{"text": text, "numbers": numbers} {
			b.Run(fmt.Sprintf("%s-%d", name, level), func(b *testing.B) {
				z, err := NewCompressor(level)
				if err != nil {
					b.Fatal(err)
				}
				var member []byte
				b.SetBytes(int64(len(raw)))
				for b.Loop() {
					if member, err = z.Member(member[:0], raw); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(len(member))/float64(len(raw)), "size/raw")
			})
		}
	}
}
