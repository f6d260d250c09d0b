package bucket_test

import (
	"slices"
	"testing"

	"github.com/bulkexport/bulkexport/internal/bucket"
	"github.com/bulkexport/bulkexport/internal/jobs"
)

func TestOwner(t *testing.T) {
	b, _ := open(t)
	s, other := bucket.Shelf{Bucket: b, Prefix: "a/"}, bucket.Shelf{Bucket: b, Prefix: "b/"}
	if id, err := s.Owner(t.Context()); id != "" || err != nil {
		t.Fatal(id, err)
	}
	must(t, s.Claim(t.Context(), "me"))
	if id, err := s.Owner(t.Context()); id != "me" || err != nil {
		t.Error(id, err)
	}
	if id, err := other.Owner(t.Context()); id != "" || err != nil {
		t.Error("a prefix is not apart from the other", id, err)
	}
}

func TestListAndRemove(t *testing.T) {
	b, _ := open(t)
	s := bucket.Shelf{Bucket: b, Prefix: "a/"}
	data := noise(t, 10)
	for _, key := range []string{"a/exports/job/n/data", "a/exports/foreign", "a/else/job/n/data", "exports/job/n/data"} {
		_, err := b.Put(t.Context(), key, "text/plain", part(1, data), data)
		must(t, err)
	}
	id, err := b.Create(t.Context(), "a/exports/job/m/data")
	must(t, err)
	list := func() (all []jobs.Stray) {
		must(t, s.List(t.Context(), func(f jobs.Stray) { all = append(all, f) }))
		return all
	}
	all := list()
	want := []jobs.UploadName{{Job: "job", Nonce: "n"}, {Job: "job", Nonce: "m"}}
	if len(all) != 2 || !slices.Equal([]jobs.UploadName{all[0].UploadName, all[1].UploadName}, want) || all[1].UploadID != id {
		t.Fatalf("listed %+v", all)
	}
	for _, f := range all {
		if f.At.IsZero() {
			t.Errorf("no time: %+v", f)
		}
		must(t, s.Remove(t.Context(), f))
		must(t, s.Remove(t.Context(), f)) // another was quicker
	}
	if left := list(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}
