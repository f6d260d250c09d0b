package export_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// world is a job row and a bucket that outlive the attempts. Its n-th call is
// the last that the first attempt makes: killed before it has an effect, or
// after that and before its answer.
type world struct {
	store // of the published object, and the check of cuts
	killAt,
	calls int
	after bool // the call that kills takes effect
	dead  bool

	attempt int
	upload  *jobs.Upload
	resume  *jobs.Cut
	uploads map[string]map[int][]byte // open ones
	objects map[string][]byte
	plans   []jobs.Range
	between func() // the first two attempts
	drained error
	starts  int  // of uploads
	fenced  bool // the row has moved on; no beat has told it yet
}

var errKilled = errors.New("the worker is dead")

// call counts a call of the first attempt, and lets do have its effect.
func (w *world) call(do func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return errKilled
	}
	if w.calls++; w.calls == w.killAt {
		w.dead = true
		if w.after {
			_ = do()
		}
		return errKilled
	}
	return do()
}

func (w *world) Claim(_ context.Context, t jobs.Ticket, _ string, _ time.Duration) (jobs.Claim, bool, error) {
	if w.attempt++; w.attempt == 2 && w.between != nil {
		w.between()
	}
	c := jobs.Claim{Job: jobs.Job{ID: t.Job, Spec: jobs.Spec{Project: "p", Kind: jobs.Conversations}}, Fence: jobs.Fence{Job: t.Job, Attempt: w.attempt}}
	switch {
	case w.resume != nil:
		c.Resume = &jobs.Resume{Upload: *w.upload, Cut: *w.resume}
	default:
		c.Abandoned = w.upload
	}
	return c, true, nil
}

func (w *world) Renew(context.Context, jobs.Fence, jobs.Beat) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return false, jobs.ErrFenced
	}
	return false, nil
}

func (w *world) BeginUpload(_ context.Context, _ jobs.Fence, u jobs.Upload) error {
	return w.call(func() error {
		if w.fenced {
			return jobs.ErrFenced
		}
		w.upload, w.resume = &u, nil
		return nil
	})
}

func (w *world) Commit(_ context.Context, _ jobs.Fence, c jobs.Cut) error {
	return w.call(func() error {
		if w.resume != nil {
			c.Parts = append(w.resume.Parts[:len(w.resume.Parts):len(w.resume.Parts)], c.Parts...)
			c.Skipped = append(w.resume.Skipped[:len(w.resume.Skipped):len(w.resume.Skipped)], c.Skipped...)
		}
		if !c.Final {
			var prefix []byte
			for _, p := range c.Parts {
				prefix = append(prefix, w.uploads[w.upload.ID][p.Number]...)
			}
			w.check(c, prefix)
		}
		w.resume = &c
		return nil
	})
}

func (w *world) End(_ context.Context, _ jobs.Fence, e jobs.Ending) (jobs.State, error) {
	err := w.call(func() error { w.ending = &e; return nil })
	if err != nil {
		err = jobs.ErrFenced
	}
	return e.State, err
}

func (w *world) Create(context.Context, string) (id string, err error) {
	err = w.call(func() error {
		w.starts++
		id = fmt.Sprint("upload-", w.starts)
		w.uploads[id] = map[int][]byte{}
		return nil
	})
	return id, err
}

func (w *world) PutPart(_ context.Context, u jobs.Upload, p jobs.Part, data []byte) (etag string, err error) {
	err = w.call(func() error {
		if w.upload == nil || w.upload.Nonce != u.Nonce {
			w.t.Error("bytes were sent before the row named the upload")
		}
		open := w.uploads[u.ID]
		if open == nil {
			return fmt.Errorf("%w: no such upload", jobs.ErrUploadGone)
		}
		if open[p.Number] != nil {
			w.t.Errorf("part %d was written twice", p.Number)
		}
		open[p.Number] = bytes.Clone(data)
		etag = fmt.Sprint("etag-", p.Number)
		return nil
	})
	return etag, err
}

func (w *world) Complete(_ context.Context, u jobs.Upload, parts []jobs.Part) error {
	return w.call(func() error {
		open := w.uploads[u.ID]
		if open == nil {
			return fmt.Errorf("%w: no such upload", jobs.ErrUploadGone)
		}
		var object []byte
		for _, p := range parts {
			object = append(object, open[p.Number]...)
		}
		delete(w.uploads, u.ID)
		w.objects[u.Key] = object
		return nil
	})
}

func (w *world) Put(_ context.Context, key, _ string, _ jobs.Part, data []byte) (string, error) {
	return "etag", w.call(func() error { w.objects[key] = bytes.Clone(data); return nil })
}

func (w *world) Verify(_ context.Context, key string, parts []jobs.Part) (jobs.Proof, error) {
	return jobs.ByChecksum, w.call(func() error {
		var n int
		for _, p := range parts {
			n += int(p.Bytes)
		}
		if object, ok := w.objects[key]; !ok || len(object) != n {
			return fmt.Errorf("%w: another object", jobs.ErrUploadGone)
		}
		return nil
	})
}

func (w *world) Discard(_ context.Context, u jobs.Upload) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.upload != nil && w.upload.Nonce == u.Nonce && w.ending == nil {
		w.t.Errorf("%s is removed, and the row names it", u.Key)
	}
	delete(w.uploads, u.ID)
	delete(w.objects, u.Key)
	return nil
}
