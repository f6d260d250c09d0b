package demodata

import (
	"math"
	"strconv"
	"sync"
)

// dimensions of an Ada-002 embedding.
const dimensions = 1536

const (
	// chunkBytes is about what one chunk with its embedding takes.
	chunkBytes = 22 << 10
	// documentBytes is the mean length of contexts, by which a volume in bytes
	// becomes a number of rows to spread over time.
	documentBytes = 640 << 10
	mostChunks    = 250
)

// documents makes rows, each from the seed and its own number alone, but for
// its time. The first rows are those whose original files FillOriginals has.
type documents struct {
	seed uint64
	n    int64
	w    emitter
	last documentRow
}

// documentRow is a row as it goes to the server. It lasts until the next.
type documentRow struct {
	id, at    int64
	path      string
	filename  string
	project   *project
	url, base string // empty: NULL
	contexts  []byte
	groups    []int64
}

// row makes the i-th row, of at most so many chunks.
func (g *documents) row(i int64, chunks int) *documentRow {
	r := stream(g.seed, 4, i)
	d := &g.last
	*d = documentRow{
		id: gapped(i, &r), at: moment(i, g.n, &r), project: pickProject(&r), groups: d.groups[:0],
	}
	lang := pickLanguage(&r)
	pages := false
	switch {
	case i < int64(len(originals)):
		d.project, d.filename, d.path = &projects[0], originals[i].filename, originals[i].path
	case r.permille(450):
		d.page(&r, lang)
	default:
		pages = d.file(&r, lang)
	}
	d.groups = appendGroups(d.groups, d.project, &r)
	g.w.reset(layout{})
	g.chunks(&r, lang, min(chunkCount(&r), chunks), pages)
	d.contexts = g.w.b
	return d
}

// page makes the row a web page: it has addresses and no file.
func (d *documentRow) page(r *rng, lang *language) {
	d.base = "https://course.example.edu/"
	d.url = d.base + strconv.FormatUint(r.next()>>40, 36) + "/index.html"
	d.filename = string(lang.title(nil, r))
}

// file makes the row a file, and reports whether it has pages.
func (d *documentRow) file(r *rng, lang *language) (pages bool) {
	kind := pick(r, []string{".pdf", ".pdf", ".pdf", ".pptx", ".docx", ".mp4", ".txt"})
	d.filename = string(lang.title(nil, r)) + kind
	d.path = "courses/" + d.project.name + "/" + string(appendUUID(nil, r)) + "-" + d.filename
	return kind == ".pdf"
}

// chunkCount has a long tail: half of the documents have 8 or fewer, one in
// fifty has mostChunks.
func chunkCount(r *rng) int {
	normal := math.Sqrt(-2*math.Log(1-r.float())) * math.Cos(2*math.Pi*r.float())
	n := math.Round(math.Exp(math.Log(8) + 1.85*normal))
	return int(min(max(n, 1), mostChunks))
}

// chunks writes the passages. Older rows have no chunk_index; pagenumber is ""
// where there are no pages; timestamp is for recordings.
func (g *documents) chunks(r *rng, lang *language, n int, pages bool) {
	w := &g.w
	older := r.permille(300)
	w.open('[')
	for i := range n {
		w.item()
		w.open('{')
		w.key("text")
		w.raw(`"`)
		w.b = lang.passage(w.b, r, r.between(600, 2400))
		w.raw(`"`)
		w.key("pagenumber")
		if pages {
			w.b = strconv.AppendInt(w.b, int64(1+i/2), 10)
		} else {
			w.raw(`""`)
		}
		w.member("timestamp", `""`)
		if !older {
			w.key("chunk_index")
			w.b = strconv.AppendInt(w.b, int64(i), 10)
		}
		w.key("embedding")
		w.b = appendEmbedding(w.b, r)
		w.close('}')
	}
	w.close(']')
}

const (
	floatRuns   = 2048
	floatsOfRun = 32
)

// floats are numbers as Ada-002 prints them, made once and kept in runs with
// their commas. An embedding is a choice of runs: no two are the same, and it
// costs no more than copying.
var floats = sync.OnceValue(func() *[floatRuns][]byte {
	r := stream(1, 6, 0)
	var runs [floatRuns][]byte
	for i := range runs {
		for range floatsOfRun {
			normal := math.Sqrt(-2*math.Log(1-r.float())) * math.Cos(2*math.Pi*r.float())
			runs[i] = strconv.AppendFloat(runs[i], normal/math.Sqrt(dimensions), 'g', 8, 64)
			runs[i] = append(runs[i], ',')
		}
	}
	return &runs
})

func appendEmbedding(b []byte, r *rng) []byte {
	runs := floats()
	b = append(b, '[')
	for range dimensions / floatsOfRun {
		b = append(b, runs[r.below(floatRuns)]...)
	}
	b[len(b)-1] = ']'
	return b
}

// groupNames are those of every project's document groups.
var groupNames = []string{"Lectures", "Übungen & Lösungen", "Лекции", "資料", "محاضرات", `"Old" exams, 50 % \ draft`}

func groupID(p *project, group int) int64 { return 10*p.id + int64(group) }

// appendGroups appends the groups of a document: none for half of them, else
// up to three.
func appendGroups(groups []int64, p *project, r *rng) []int64 {
	n := max(0, r.between(-2, 3))
	first := r.below(len(groupNames))
	for k := range n {
		groups = append(groups, groupID(p, (first+k)%len(groupNames)))
	}
	return groups
}
