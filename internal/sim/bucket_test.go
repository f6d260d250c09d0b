package sim

import (
	"fmt"
	"slices"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// bucket stands in for the object store. It is not fenced: whatever arrives
// takes effect, however late. Its methods are effects.
type bucket struct {
	w       *world
	uploads map[string]*upload // open ones, by id
	objects map[string][]span  // by key
	made    int
	down    bool
}

type upload struct {
	key   string
	parts map[int]span
}

// span is what a part holds: the rows from ≤ id < to, and its entity tag.
type span struct{ from, to int64 }

func (s span) etag() string { return fmt.Sprintf("%d-%d", s.from, s.to) }

func newBucket(w *world) *bucket {
	return &bucket{w: w, uploads: make(map[string]*upload), objects: make(map[string][]span)}
}

func (b *bucket) create(key string) string {
	b.made++
	id := fmt.Sprintf("upload-%d", b.made)
	b.uploads[id] = &upload{key: key, parts: make(map[int]span)}
	return id
}

func (b *bucket) putPart(id string, number int, s span) (string, error) {
	u := b.uploads[id]
	if u == nil {
		return "", jobs.ErrUploadGone
	}
	u.parts[number] = s
	return s.etag(), nil
}

// complete joins exactly the parts that are named, or says that one is not there.
func (b *bucket) complete(id string, parts []jobs.Part) error {
	u := b.uploads[id]
	if u == nil {
		return jobs.ErrUploadGone
	}
	var whole []span
	for _, p := range parts {
		s, ok := u.parts[p.Number]
		if !ok || s.etag() != p.ETag {
			return jobs.ErrUploadGone
		}
		whole = append(whole, s)
	}
	delete(b.uploads, id)
	b.objects[u.key] = whole
	b.w.moved("%s appears: %d parts", u.key, len(whole))
	return nil
}

func (b *bucket) put(key string, s span) {
	b.objects[key] = []span{s}
	b.w.moved("%s is put", key)
}

// verify compares what stands at a key with what was sent.
func (b *bucket) verify(key string, parts []jobs.Part) error {
	same := slices.EqualFunc(b.objects[key], parts, func(s span, p jobs.Part) bool { return s.etag() == p.ETag })
	if len(parts) == 0 || !same {
		return jobs.ErrUploadGone
	}
	return nil
}

func (b *bucket) discard(u jobs.Upload) {
	b.w.moved("%s is discarded", u.Key)
	b.w.checkDiscard(u)
	delete(b.uploads, u.ID)
	delete(b.objects, u.Key)
}

// whole reports whether an object holds each row up to size once.
func (b *bucket) whole(key string, size int64) bool {
	object, ok := b.objects[key]
	next := int64(0)
	for _, s := range object {
		if s.from != next {
			return false
		}
		next = s.to
	}
	return ok && next == size
}
