package demodata_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/bulkexport/bulkexport/internal/demodata"
)

const sample = 3000 // rows; every feature must be in so many

// kept is a conversation whose convo is an object.
type kept struct {
	demodata.Conversation
	text    string
	decoded convo
}

type convo struct {
	Messages []message `json:"messages"`
}

type message struct {
	Role     string            `json:"role"`
	Content  json.RawMessage   `json:"content"`
	Contexts []json.RawMessage `json:"contexts"`
}

func objects(t *testing.T, seed uint64) (list []kept) {
	t.Helper()
	for c := range demodata.Conversations(seed, sample) {
		if c.Convo == nil || !strings.HasPrefix(*c.Convo, "{") {
			continue
		}
		k := kept{Conversation: c, text: *c.Convo}
		if err := json.Unmarshal([]byte(k.text), &k.decoded); err != nil {
			t.Fatalf("row %d: %v", c.ID, err)
		}
		list = append(list, k)
	}
	return list
}

func TestEveryFeatureIsInASmallTable(t *testing.T) {
	has := func(re string) func(kept) bool {
		r := regexp.MustCompile(re)
		return func(k kept) bool { return r.MatchString(k.text) }
	}
	features := map[string]func(kept) bool{
		"generation 1": func(k kept) bool {
			return !strings.Contains(k.text, `_email"`) && !strings.Contains(k.text, `userEmail"`)
		},
		"generation 2":            has(`"responseTimeSec"`),
		"generation 3":            has(`"role":"system"`),
		"generation 4":            has(`"finalPromtEngineeredMessage"`),
		"generation 4, tools":     has(`"aiGeneratedArgumentValues"`),
		"generation 5":            has(`"queryRewriteText"`),
		"generation 5, feedback":  has(`"isPositive"`),
		"generation 6":            has(`"agentEvents"`),
		"generation 6, file":      has(`"type":"file"`),
		"e-mail null":             has(`"user_?[eE]mail": ?null`),
		"e-mail empty":            has(`"user_?[eE]mail": ?""`),
		"tool image":              has(`"tool_image_url"`),
		"inline image":            has(`"data:image/png;base64,`),
		"key with a blank":        has(`"course_name ":`),
		"escaped key":             has(`conte\\u0078ts`),
		"NUL":                     has(`\\u0000`),
		"lone surrogate":          has(`\\uDC00\\uD800`),
		"surrogate pair escaped":  has(`\\ud83d\\ude00`),
		"duplicate key":           has(`"content": ?"replaced", ?"content"`),
		"number with a zero":      has(`[\[,]1\.0,`),
		"negative zero":           has(`,-0,`),
		"exponent":                has(`,1e3,`),
		"many digits":             has(`123456789012345678901234567890`),
		"unknown field":           has(`"x_lti"`),
		"LF between tokens":       has(`\{\n`),
		"CR LF between tokens":    has(`\{\r\n\t"`),
		"CR between tokens":       has(`\{\r"`),
		"blanks between tokens":   has(`, "\w+": `),
		"no message":              func(k kept) bool { return k.decoded.Messages != nil && len(k.decoded.Messages) == 0 },
		"first message empty":     firstContent(`""`),
		"first message an image":  firstContent(`[{"type":"image_url"`),
		"assistant above 80":      above80("assistant"),
		"user above 80":           above80("user"),
		"above 80 in no message":  has(`"draft":`),
		"role behind contexts":    has(`\],"content":"[^"\\]*(\\.[^"\\]*)*","role":"assistant"\}`),
		"nobody signed in":        func(k kept) bool { return k.UserEmail == nil },
		"e-mail in mixed case":    func(k kept) bool { return k.UserEmail != nil && *k.UserEmail != strings.ToLower(*k.UserEmail) },
		"no created_at":           func(k kept) bool { return k.CreatedAt == nil },
		"emoji":                   has(`[😀-🚀]`),
		"emoji of several points": has(`👩‍🔬`),
	}
	for _, s := range []string{"Latin", "Cyrillic", "Greek", "Arabic", "Devanagari", "Han", "Hiragana", "Hangul"} {
		features["script "+s] = func(k kept) bool { return strings.ContainsFunc(k.text, in(unicode.Scripts[s])) }
	}
	rows := objects(t, 1)
	for name, is := range features {
		if !slices.ContainsFunc(rows, is) {
			t.Errorf("no row with: %s", name)
		}
	}
}

func in(table *unicode.RangeTable) func(rune) bool {
	return func(r rune) bool { return unicode.Is(table, r) }
}

func firstContent(prefix string) func(kept) bool {
	return func(k kept) bool {
		return len(k.decoded.Messages) > 0 && bytes.HasPrefix(k.decoded.Messages[0].Content, []byte(prefix))
	}
}

func above80(role string) func(kept) bool {
	return func(k kept) bool {
		return slices.ContainsFunc(k.decoded.Messages, func(m message) bool { return m.Role == role && len(m.Contexts) > 80 })
	}
}

// TestValuesThatAreNoConversation: they exist, for any seed, and are few.
func TestValuesThatAreNoConversation(t *testing.T) {
	for seed := range uint64(3) {
		got := map[string]int{}
		for c := range demodata.Conversations(seed, 512) {
			switch {
			case c.Convo == nil:
				got["NULL"]++
			case *c.Convo == "null":
				got["null"]++
			default:
				got[(*c.Convo)[:1]]++
			}
		}
		want := map[string]int{"NULL": 2, "null": 2, `"`: 2, "[": 2, "{": 504}
		if !maps.Equal(got, want) {
			t.Errorf("seed %d: %v", seed, got)
		}
	}
}

func TestIDsRiseWithGaps(t *testing.T) {
	var last, rows int64
	largest := int64(0)
	for c := range demodata.Conversations(4, sample) {
		if c.ID <= last {
			t.Fatalf("id %d after %d", c.ID, last)
		}
		largest = max(largest, c.ID-last)
		last = c.ID
		rows++
	}
	if last < 2*rows || largest < 1000 {
		t.Errorf("%d rows up to id %d, largest gap %d", rows, last, largest)
	}
}

func TestTimesMostlyRise(t *testing.T) {
	var last time.Time
	late, rows := 0, 0
	years := map[int]bool{}
	for c := range demodata.Conversations(4, 2*sample) {
		if c.CreatedAt == nil {
			continue
		}
		if c.CreatedAt.Before(last) {
			late++
		}
		last, rows = *c.CreatedAt, rows+1
		years[last.Year()] = true
	}
	if late == 0 || late > rows/20 || !years[2023] || !years[2026] {
		t.Errorf("%d of %d rows late, years %v", late, rows, years)
	}
}

func TestProjectsHaveTheirShares(t *testing.T) {
	const rows = 8000
	got := map[string]float64{}
	for c := range demodata.Conversations(2, rows) {
		got[c.CourseName] += 100.0 / rows
	}
	if s := got[demodata.SparseProject]; s < 0.7 || s > 1.3 {
		t.Errorf("the sparse project has %.2f %%", s)
	}
	if got[demodata.DemoProject] < 50 || got[demodata.EmptyProject] != 0 || len(got) != 5 {
		t.Errorf("shares %v", got)
	}
}

// TestWeighsLikeProduction: mean length and gzip's ratio are those of real
// conversations, or no measurement on this data means anything.
func TestWeighsLikeProduction(t *testing.T) {
	var lines bytes.Buffer
	rows := 0
	for c := range demodata.Conversations(8, sample) {
		if c.Convo == nil || c.CourseName != demodata.DemoProject {
			continue
		}
		lines.WriteString(strings.NewReplacer("\n", " ", "\r", " ").Replace(*c.Convo))
		lines.WriteByte('\n')
		rows++
	}
	raw := lines.Len()
	gzip := exec.CommandContext(t.Context(), "gzip", "-6")
	gzip.Stdin = &lines
	small, err := gzip.Output()
	if err != nil {
		t.Fatal(err)
	}
	mean, ratio := raw/rows, float64(raw)/float64(len(small))
	t.Logf("%d bytes a row, %.2f : 1", mean, ratio)
	if mean < 14_000 || mean > 19_000 || ratio < 3 || ratio > 4 {
		t.Errorf("%d bytes a row, %.2f : 1", mean, ratio)
	}
}

func BenchmarkConversations(b *testing.B) {
	var bytes, rows int64
	for b.Loop() {
		for c := range demodata.Conversations(uint64(rows), 1000) {
			if c.Convo != nil {
				bytes += int64(len(*c.Convo))
			}
		}
		rows++
	}
	b.SetBytes(bytes / rows)
}
