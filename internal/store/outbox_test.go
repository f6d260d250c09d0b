package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// post is the lease of a letter here.
const post = 2 * time.Minute

// over makes an export of everything that somebody asked for, with these people
// to be told, and ends it.
func (f *fixture) over(project, by string, s jobs.State, told ...string) string {
	f.t.Helper()
	n := newJob(project)
	n.RequestedBy, n.Notify = by, append([]string{}, told...)
	j := f.create(n)
	f.exec(`update bulkexport.jobs set dispatch = 1 where id = $1`, j.ID)
	c, ok, err := f.Claim(f.t.Context(), jobs.Ticket{Job: j.ID, Dispatch: 1}, "w", lease)
	if err != nil || !ok {
		f.t.Fatal(ok, err)
	}
	must(f.t, f.BeginUpload(f.t.Context(), c.Fence, jobs.Upload{Nonce: "n", Key: "k"}))
	e := jobs.Ending{State: s, Retention: 72 * time.Hour}
	if s == jobs.Succeeded {
		e.Result = &jobs.Result{Filename: "f", SHA256: "s", SHA256Raw: "r"}
	} else {
		e.Failure = &jobs.Failure{Code: "c", Message: "m"}
	}
	_, err = f.End(f.t.Context(), c.Fence, e)
	must(f.t, err)
	return j.ID
}

func (f *fixture) take() (jobs.Post, bool) {
	f.t.Helper()
	p, ok, err := f.Take(f.t.Context(), post)
	must(f.t, err)
	return p, ok
}

// took takes what must be there.
func (f *fixture) took() jobs.Post {
	f.t.Helper()
	p, ok := f.take()
	if !ok {
		f.t.Fatal("nothing is due")
	}
	return p
}

func (f *fixture) settle(p jobs.Post, s jobs.Settlement) {
	f.t.Helper()
	must(f.t, f.Settle(f.t.Context(), p, s))
}

var wasSent = jobs.Settlement{State: jobs.LetterSent, Certain: true}

// letters are those of a job, by recipient and outcome.
func (f *fixture) letters(job string) map[string]jobs.Letter {
	f.t.Helper()
	list, err := f.Letters(f.t.Context(), job)
	must(f.t, err)
	m := map[string]jobs.Letter{}
	for _, l := range list {
		m[l.Recipient+" "+string(l.Outcome)] = l
	}
	return m
}

func TestLettersOfEndings(t *testing.T) {
	f := open(t)
	ready := f.over("p", "a", jobs.Succeeded, "b")
	failed := f.over("p", "a", jobs.Failed)
	if l := f.letters(ready); len(l) != 2 || l["a ready"].State != jobs.LetterDue || l["b ready"].ID == 0 {
		t.Errorf("ready: %v", l)
	}
	if l := f.letters(failed); len(l) != 1 || l["a failed"].ID == 0 {
		t.Errorf("failed: %v", l)
	}
	if n := f.count(`select count(*) from bulkexport.outbox where outcome = 'announced'`); n != 1 {
		t.Errorf("%d announcements, want that of the success", n)
	}
	bounded := f.over("q", "a", jobs.Failed)
	f.exec(`delete from bulkexport.outbox where job_id = $1`, bounded)
	f.exec(`update bulkexport.jobs set state = 'running', worker = 'w', lease_until = now() + interval '1 minute', from_at = now() where id = $1`, bounded)
	_, err := f.End(t.Context(), jobs.Fence{Job: bounded, Attempt: 1}, jobs.Ending{State: jobs.Succeeded, Result: &jobs.Result{SHA256: "s"}})
	must(t, err)
	if n := f.count(`select count(*) from bulkexport.outbox where job_id = $1`, bounded); n != 1 {
		t.Errorf("%d letters of an export with dates, want the requester's", n)
	}
}

func TestTakeAndSettle(t *testing.T) {
	f := open(t)
	id := f.over("p", "a", jobs.Failed)
	p := f.took()
	first := p.First()
	if len(p.Jobs) != 1 || p.Jobs[0].ID != id || p.Jobs[0].Failure.Code != "c" || first.Tries != 1 || first.Unsure != 1 {
		t.Errorf("%+v", p)
	}
	if _, ok := f.take(); ok {
		t.Error("taken twice")
	}
	f.settle(p, jobs.Settlement{State: jobs.LetterDue, Code: "refused_451", Delay: time.Minute, Certain: true})
	if l := f.letters(id)["a failed"]; l.State != jobs.LetterDue || l.Tries != 1 || l.Unsure != 0 || l.Code != "refused_451" || time.Until(l.DueAt) < 50*time.Second {
		t.Errorf("%+v", l)
	}
	f.settle(p, wasSent) // its claim is over
	if l := f.letters(id)["a failed"]; l.State != jobs.LetterDue {
		t.Errorf("settled twice: %+v", l)
	}
	f.due()
	spared := f.took()
	f.settle(spared, jobs.Settlement{State: jobs.LetterDue, Code: "smtp_unavailable", Certain: true, Spared: true})
	if l := f.letters(id)["a failed"]; l.Tries != 1 || l.Unsure != 0 {
		t.Errorf("it was not spared: %+v", l)
	}
	// A worker that was killed: its claim runs out, and counts as unsure.
	f.took()
	f.due()
	p = f.took()
	if p.First().Unsure != 2 || p.First().Tries != 3 {
		t.Errorf("after a claim that ran out: %+v", p.First())
	}
	f.settle(p, wasSent)
	if l := f.letters(id)["a failed"]; l.State != jobs.LetterSent || l.SentAt == nil || l.Code != "" {
		t.Errorf("%+v", l)
	}
	if _, ok := f.take(); ok {
		t.Error("what was sent is due")
	}
}

// due lets every wait and every claim run out.
func (f *fixture) due() {
	f.t.Helper()
	f.exec(`update bulkexport.outbox set due_at = now() - interval '1 second' where state = 'due'`)
}

// Many workers at once take each letter once.
func TestTakeIsExclusive(t *testing.T) {
	f := open(t)
	const letters = 60
	var people []string
	for i := range letters - 1 {
		people = append(people, fmt.Sprintf("p%d@example.edu", i))
	}
	f.over("p", "a", jobs.Failed, people...)
	var mu sync.Mutex
	taken := map[int64]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				p, ok, err := f.Take(context.Background(), post)
				if err != nil {
					t.Error(err)
				}
				if err != nil || !ok {
					return
				}
				mu.Lock()
				taken[p.First().ID]++
				again := taken[p.First().ID] > 1
				mu.Unlock()
				if again {
					return
				}
			}
		})
	}
	wg.Wait()
	for id, n := range taken {
		if n != 1 {
			t.Fatalf("letter %d was taken %d times, want once", id, n)
		}
	}
	for { // what others were just locking was passed over
		p, ok := f.take()
		if !ok {
			break
		}
		taken[p.First().ID]++
	}
	if len(taken) != letters {
		t.Errorf("%d letters taken, want %d", len(taken), letters)
	}
}

func TestResend(t *testing.T) {
	f := open(t)
	id := f.over("p", "a", jobs.Failed)
	l := f.letters(id)["a failed"]
	by := jobs.Principal{Email: "b@example.edu", Remote: "192.0.2.1"}
	must(t, f.Resend(t.Context(), id, l.ID, by)) // it is due: nothing happens
	if got := f.letters(id)["a failed"]; got != l {
		t.Errorf("%+v, want %+v", got, l)
	}
	held := f.took()
	f.exec(`update bulkexport.outbox set state = 'given_up', tries = 9, unsure = 1, last_error = 'x', asked_at = now() - interval '4 days' where id = $1`, l.ID)
	must(t, f.Resend(t.Context(), id, l.ID, by))
	f.settle(held, wasSent) // by who still has it
	got := f.letters(id)["a failed"]
	if got.State != jobs.LetterDue || got.Tries != 0 || got.Unsure != 0 || got.Code != "" || got.Edition != l.Edition+1 || time.Since(got.AskedAt) > time.Minute {
		t.Errorf("%+v", got)
	}
	if n := f.count(`select count(*) from bulkexport.audit where action = 'resend' and actor = $1 and remote = '192.0.2.1' and project = 'p' and job_id = $2`, by.Email, id); n != 1 {
		t.Errorf("%d lines in the audit, want 1", n)
	}
	other := f.over("q", "a", jobs.Succeeded)
	var announced int64
	must(t, f.db.QueryRow(t.Context(), `update bulkexport.outbox set state = 'sent' where outcome = 'announced' returning id`).Scan(&announced))
	for name, c := range map[string]struct {
		job    string
		letter int64
	}{"another job's": {other, l.ID}, "none": {id, 1 << 40}, "no job's": {uuid.NewString(), l.ID}, "an announcement": {other, announced}} {
		if err := f.Resend(t.Context(), c.job, c.letter, by); !errors.Is(err, jobs.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// announced expands the next announcement.
func (f *fixture) announced(people ...string) {
	f.t.Helper()
	p := f.took()
	if p.First().Outcome != jobs.LetterAnnounced {
		f.t.Fatalf("%+v", p.First())
	}
	must(f.t, f.Expand(f.t.Context(), p, people))
	must(f.t, f.Expand(f.t.Context(), p, people)) // the worker was killed in between
	f.settle(p, wasSent)
}

// exported makes an export of everything, and tells people of it.
func (f *fixture) exported(project string, people ...string) string {
	f.t.Helper()
	id := f.over(project, "a", jobs.Succeeded, "b")
	f.exec(`update bulkexport.outbox set state = 'sent' where outcome = 'ready'`)
	f.exec(`update bulkexport.outbox set due_at = now() - interval '1 hour' where outcome = 'announced' and state = 'due'`) // first of all
	f.announced(people...)
	return id
}

func jobIDs(p jobs.Post) (ids []string) {
	for i, j := range p.Jobs {
		if j.ID != p.Letters[i].Job {
			ids = append(ids, "mixed up")
		}
		ids = append(ids, j.ID)
	}
	return ids
}

// An admin is told of a project's exports at once, and then once a day.
func TestDigest(t *testing.T) {
	f := open(t)
	first := f.exported("p", "a", "b", "o", "c")
	if l := f.letters(first); len(l) != 4 || l["o exported"].ID == 0 || l["c exported"].ID == 0 {
		t.Fatalf("who asked or was told is told again, or nobody is: %v", l)
	}
	f.exec(`update bulkexport.outbox set state = 'dropped' where recipient = 'c'`)
	p := f.took()
	// While it is under way, another export ends: it waits, and is not sent along.
	second := f.exported("p", "o")
	if q, ok := f.take(); ok {
		t.Fatalf("a second mail at the same time: %+v", q)
	}
	f.settle(p, wasSent)
	f.due()
	if q, ok := f.take(); ok {
		t.Fatalf("a second mail on the same day: %+v", q)
	}
	third := f.exported("p", "o")
	if l := f.letters(third)["o exported"]; time.Until(l.DueAt) < 23*time.Hour {
		t.Errorf("due at %v, want a day later", l.DueAt)
	}
	elsewhere := f.exported("q", "o")
	if p := f.took(); !slices.Equal(jobIDs(p), []string{elsewhere}) {
		t.Errorf("another project's: %v", jobIDs(p))
	}
	f.exec(`update bulkexport.outbox set sent_at = now() - interval '25 hours' where state = 'sent'`)
	f.due()
	f.exec(`update bulkexport.outbox set state = 'sent', sent_at = now() where job_id = $1`, elsewhere)
	p = f.took()
	if !slices.Equal(jobIDs(p), []string{second, third}) || p.First().Job != second {
		t.Errorf("digest of %v, want %v", jobIDs(p), []string{second, third})
	}
	f.settle(p, wasSent)
	for _, id := range []string{second, third} {
		if l := f.letters(id)["o exported"]; l.State != jobs.LetterSent || l.SentAt == nil {
			t.Errorf("%+v", l)
		}
	}
}

// What may have arrived goes out once more with the same exports in it: the
// reader's program takes it for the same mail.
func TestDigestIsRepeatedAsItWas(t *testing.T) {
	f := open(t)
	one := f.exported("p", "o")
	two := f.exported("p", "o")
	p := f.took()
	if !slices.Equal(jobIDs(p), []string{one, two}) {
		t.Fatalf("%v", jobIDs(p))
	}
	f.settle(p, jobs.Settlement{State: jobs.LetterDue, Code: "answer_lost"})
	three := f.exported("p", "o")
	f.due()
	if p = f.took(); !slices.Equal(jobIDs(p), []string{one, two}) || p.First().Unsure != 2 {
		t.Errorf("repeated with %v, want %v", jobIDs(p), []string{one, two})
	}
	f.settle(p, jobs.Settlement{State: jobs.LetterDue, Code: "refused_451", Certain: true})
	f.due()
	if p = f.took(); !slices.Equal(jobIDs(p), []string{one, two}) {
		t.Errorf("then %v", jobIDs(p))
	}
	f.settle(p, jobs.Settlement{State: jobs.LetterUnsure, Code: "answer_lost"})
	f.due()
	if p, ok := f.take(); ok {
		t.Errorf("a mail right after one that may have arrived: %v", jobIDs(p))
	}
	f.exec(`update bulkexport.outbox set due_at = now() - interval '25 hours' where state = 'unsure'`)
	if p = f.took(); !slices.Equal(jobIDs(p), []string{three}) {
		t.Errorf("a day later %v", jobIDs(p))
	}
	// Surely not sent: the next try takes along what came in.
	f.settle(p, jobs.Settlement{State: jobs.LetterDue, Code: "refused_451", Certain: true})
	four := f.exported("p", "o")
	f.due()
	if p = f.took(); !slices.Equal(jobIDs(p), []string{three, four}) {
		t.Errorf("%v", jobIDs(p))
	}
	// Somebody asks for one: it goes alone and at once.
	f.settle(p, wasSent)
	must(t, f.Resend(t.Context(), three, f.letters(three)["o exported"].ID, jobs.Principal{Email: "o"}))
	if p = f.took(); !slices.Equal(jobIDs(p), []string{three}) {
		t.Errorf("asked for anew: %v", jobIDs(p))
	}
}

// A letter never waits for one that is not sent any more.
func TestRiderOfNoMail(t *testing.T) {
	f := open(t)
	one := f.exported("p", "o")
	two := f.exported("p", "o")
	f.took()
	f.exec(`update bulkexport.outbox set state = 'given_up' where job_id = $1 and outcome = 'exported'`, one)
	f.due()
	if p := f.took(); !slices.Equal(jobIDs(p), []string{two}) {
		t.Errorf("%v", jobIDs(p))
	}
}

func TestRemind(t *testing.T) {
	f := open(t)
	soon := f.over("p", "a", jobs.Succeeded, "b")
	later := f.over("p", "a", jobs.Succeeded)
	fetched := f.over("p", "a", jobs.Succeeded)
	short := f.over("p", "a", jobs.Succeeded)
	gone := f.over("p", "a", jobs.Succeeded)
	f.exec(`update bulkexport.jobs set finished_at = now() - interval '49 hours', expires_at = now() + interval '23 hours' where id = any($1)`, []string{soon, fetched})
	f.exec(`update bulkexport.jobs set expires_at = now() + interval '25 hours' where id = $1`, later)
	f.exec(`update bulkexport.jobs set finished_at = now() - interval '30 minutes', expires_at = now() + interval '30 minutes' where id = $1`, short)
	f.exec(`update bulkexport.jobs set state = 'expired', expires_at = now() + interval '1 hour' where id = $1`, gone)
	must(t, f.Record(t.Context(), jobs.AuditEntry{Actor: "b", Action: string(jobs.File), Project: "p", Job: fetched}))
	must(t, f.Record(t.Context(), jobs.AuditEntry{Actor: "b", Action: jobs.ActionCreate, Project: "p", Job: soon}))
	for range 2 {
		must(t, f.Remind(t.Context()))
	}
	if l := f.letters(soon); len(l) != 4 || l["a expiring"].ID == 0 || l["b expiring"].ID == 0 {
		t.Errorf("%v", l)
	}
	if n := f.count(`select count(*) from bulkexport.outbox where outcome = 'expiring'`); n != 2 {
		t.Errorf("%d letters, want 2", n)
	}
	f.exec(`update bulkexport.jobs set expires_at = now() + interval '14 minutes' where id = $1`, short) // of 44
	must(t, f.Remind(t.Context()))
	if l := f.letters(short); l["a expiring"].ID == 0 {
		t.Errorf("in the last third of its time: %v", l)
	}
}

func TestGiveUp(t *testing.T) {
	f := open(t)
	old, young := f.over("p", "a", jobs.Failed), f.over("p", "a", jobs.Failed)
	f.exec(`update bulkexport.outbox set asked_at = now() - interval '73 hours' where job_id = $1`, old)
	must(t, f.GiveUp(t.Context(), 72*time.Hour))
	if l := f.letters(old)["a failed"]; l.State != jobs.LetterGivenUp || l.Code != jobs.CodeTooOld {
		t.Errorf("%+v", l)
	}
	if l := f.letters(young)["a failed"]; l.State != jobs.LetterDue {
		t.Errorf("%+v", l)
	}
}

// A program of the version before writes into the outbox as ever.
func TestOldBinariesWriteLetters(t *testing.T) {
	f := open(t)
	j := f.create(newJob("p"))
	f.exec(`insert into bulkexport.outbox (job_id, recipient, outcome) values ($1, 'z', 'ready') on conflict do nothing`, j.ID)
	if p := f.took(); p.First().Recipient != "z" || p.First().Edition != 1 {
		t.Errorf("%+v", p.First())
	}
}

// What was written long before anybody sent mails is not sent when that begins.
func TestOldLettersAreNoNews(t *testing.T) {
	f := open(t)
	j := f.create(newJob("p"))
	f.exec(`alter table bulkexport.outbox drop column state, drop column unsure, drop column edition, drop column asked_at, drop column carrier`)
	f.exec(`drop index bulkexport.outbox_exported, bulkexport.audit_job`)
	f.exec(`create index outbox_due on bulkexport.outbox (due_at) where sent_at is null`)
	f.exec(`insert into bulkexport.outbox (job_id, recipient, outcome, created_at) values ($1, 'old', 'ready', now() - interval '9 days'), ($1, 'new', 'ready', now())`, j.ID)
	for _, name := range []string{"00006_mails.sql", "00007_digests.sql"} {
		sql, err := os.ReadFile("migrations/" + name)
		must(t, err)
		f.exec(string(sql))
	}
	must(t, f.GiveUp(t.Context(), 72*time.Hour))
	if l := f.letters(j.ID); l["old ready"].State != jobs.LetterGivenUp || l["new ready"].State != jobs.LetterDue {
		t.Errorf("%v", l)
	}
}

// Who is told that an export was canceled is told by whom.
func TestCanceledByIsTold(t *testing.T) {
	f := open(t)
	j := f.create(newJob("p"))
	_, err := f.RequestCancel(t.Context(), j.ID, jobs.Principal{Email: "b@example.edu"})
	must(t, err)
	if p := f.took(); p.CanceledBy != "b@example.edu" || !strings.HasPrefix(p.First().Recipient, "a@") || p.First().Outcome != jobs.LetterCanceled {
		t.Errorf("%+v", p)
	}
}
