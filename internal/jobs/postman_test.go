package jobs

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// drawer is an outbox in memory, with the clock of the bubble.
type drawer struct {
	posts    []*Post
	expanded []string
	reminded int
	deaf     int // calls of Settle that fail
}

func (d *drawer) Take(_ context.Context, lease time.Duration) (Post, bool, error) {
	var first *Post
	for _, p := range d.posts {
		l := p.First()
		if l.State == LetterDue && !time.Now().Before(l.DueAt) && (first == nil || l.DueAt.Before(first.First().DueAt)) {
			first = p
		}
	}
	if first == nil {
		return Post{}, false, nil
	}
	l := &first.Letters[0]
	l.Tries++
	l.Unsure++
	l.DueAt = time.Now().Add(lease)
	return Post{Letters: slices.Clone(first.Letters), Jobs: first.Jobs}, true, nil
}

func (d *drawer) Settle(ctx context.Context, p Post, s Settlement) error {
	if d.deaf > 0 {
		d.deaf--
		return io.EOF
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l := &d.find(p.First().ID).Letters[0]
	if !l.DueAt.Equal(p.First().DueAt) {
		return nil
	}
	l.State, l.Code, l.DueAt = s.State, s.Code, time.Now().Add(s.Delay)
	if s.Certain {
		l.Unsure--
	}
	if s.Spared {
		l.Tries--
	}
	return nil
}

func (d *drawer) find(id int64) *Post {
	return d.posts[slices.IndexFunc(d.posts, func(p *Post) bool { return p.First().ID == id })]
}

func (d *drawer) Expand(_ context.Context, _ Post, people []string) error {
	d.expanded = people
	return nil
}

func (d *drawer) Remind(context.Context) error { d.reminded++; return nil }

func (d *drawer) GiveUp(_ context.Context, patience time.Duration) error {
	for _, p := range d.posts {
		if l := &p.Letters[0]; l.State == LetterDue && time.Since(l.AskedAt) > patience && !time.Now().Before(l.DueAt) {
			l.State = LetterGivenUp
		}
	}
	return nil
}

func (d *drawer) put(to string, o Outcome) *Letter {
	now := time.Now()
	later := now.Add(time.Hour)
	d.posts = append(d.posts, &Post{
		Letters: []Letter{{ID: int64(len(d.posts) + 1), Job: "j", Recipient: to, Outcome: o, State: LetterDue, AskedAt: now, DueAt: now}},
		Jobs:    []Job{{ID: "j", Spec: Spec{Project: "p"}, State: Succeeded, ExpiresAt: &later}},
	})
	return &d.posts[len(d.posts)-1].Letters[0]
}

// script is a mailer that does what it is told, to each recipient.
type script struct {
	answers map[string]func() error
	sent    map[string][]time.Duration // when, since the start
	start   time.Time
}

func (s *script) Send(_ context.Context, p Post) error {
	to := p.First().Recipient
	s.sent[to] = append(s.sent[to], time.Since(s.start))
	if f := s.answers[to]; f != nil {
		return f()
	}
	return nil
}

// answer is one that is always the same.
func answer(e MailError) func() error { return func() error { return &e } }

// council answers for the roles, and for who is told.
type council struct {
	roles map[string]Role
	err   error
}

func (c *council) Role(_ context.Context, _, email string) (Role, error) {
	return c.roles[email], c.err
}

func (c *council) People(context.Context, string) ([]string, error) {
	return []string{"owner", "admin"}, c.err
}

// post is a Postman and all around it, in a bubble of its own.
type post struct {
	*Postman
	*drawer
	*script
	*council
}

// bubble runs f with a Postman of a project whose people are a, b and c.
func bubble(t *testing.T, f func(t *testing.T, p *post)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &post{
			drawer:  &drawer{},
			script:  &script{answers: map[string]func() error{}, sent: map[string][]time.Duration{}, start: time.Now()},
			council: &council{roles: map[string]Role{"a": RoleOwner, "b": RoleAdmin, "c": RoleAdmin}},
		}
		env := quiet()
		env.Jitter = func() float64 { return 0 }
		p.Postman = NewPostman(PostmanPorts{Outbox: p.drawer, Mailer: p.script, Roles: p.council, People: p.council}, env, true)
		f(t, p)
	})
}

// run lets the Postman work for so long.
func (p *post) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	p.Run(ctx)
}

func TestPostmanSends(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		a, b := p.put("a", LetterReady), p.put("b", LetterFailed)
		p.run(t, 10*time.Second)
		if a.State != LetterSent || b.State != LetterSent || a.Unsure != 0 || len(p.sent["a"]) != 1 || len(p.sent["b"]) != 1 {
			t.Errorf("%+v %+v %v", a, b, p.sent)
		}
		if p.reminded != 1 {
			t.Errorf("looked %d times for files that go soon, want at once", p.reminded)
		}
	})
}

func TestPostmanBacksOff(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		p.answers["a"] = answer(MailError{Code: "refused_451"})
		a, b := p.put("a", LetterReady), p.put("b", LetterReady)
		p.run(t, 4*24*time.Hour)
		if a.State != LetterGivenUp || b.State != LetterSent || len(p.sent["b"]) != 1 {
			t.Errorf("%+v %+v", a, b)
		}
		waits := []time.Duration{0, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 4 * time.Hour}
		tries := p.sent["a"]
		for i, w := range waits[1:] {
			if d := tries[i+1] - tries[i]; d < w || d > w+2*postEvery {
				t.Errorf("wait %d was %v, want %v", i+1, d, w)
			}
		}
		if last := tries[len(tries)-1]; last < 68*time.Hour || last > 72*time.Hour+postEvery {
			t.Errorf("last tried after %v, want some three days", last)
		}
	})
}

func TestPostmanIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		p.answers["a"] = answer(MailError{Code: "refused_550", Refused: true})
		a, b := p.put("a", LetterReady), p.put("b", LetterReady)
		p.run(t, time.Hour)
		if a.State != LetterRefused || a.Code != "refused_550" || len(p.sent["a"]) != 1 || b.State != LetterSent {
			t.Errorf("%+v %+v %v", a, b, p.sent)
		}
	})
}

// A server that is away is left alone by all letters, and no letter pays for it.
func TestPostmanLeavesTheServerAlone(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		down := true
		for _, to := range []string{"a", "b", "c"} {
			p.answers[to] = func() error {
				if down {
					return &MailError{Code: "smtp_unavailable", Away: true}
				}
				return nil
			}
			p.put(to, LetterReady)
		}
		p.run(t, 5*time.Minute)
		if n := len(p.sent["a"]) + len(p.sent["b"]) + len(p.sent["c"]); n < 10 || n > 21 {
			t.Errorf("the server was asked %d times in 5 minutes", n)
		}
		for _, q := range p.posts {
			if l := q.First(); l.State != LetterDue || l.Tries != 0 || l.Unsure != 0 || l.Code != "smtp_unavailable" {
				t.Errorf("%+v", l)
			}
		}
		down = false
		p.run(t, time.Minute)
		for _, q := range p.posts {
			if q.First().State != LetterSent {
				t.Errorf("%+v", q.First())
			}
		}
	})
}

// Where nobody knows whether a mail was taken, there is one more, and no third.
func TestPostmanIsUnsure(t *testing.T) {
	for name, lost := range map[string]func() error{
		"the answer was lost": answer(MailError{Code: CodeUnknown, Unknown: true}),
		"a strange error":     func() error { return io.ErrUnexpectedEOF },
		"a panic":             func() error { panic("of a library") },
	} {
		bubble(t, func(t *testing.T, p *post) {
			p.answers["a"] = lost
			a := p.put("a", LetterReady)
			p.run(t, 4*24*time.Hour)
			if a.State != LetterUnsure || len(p.sent["a"]) != 2 {
				t.Errorf("%s: %s after %d sendings, want unsure after 2", name, a.State, len(p.sent["a"]))
			}
		})
	}
	bubble(t, func(t *testing.T, p *post) {
		a := p.put("a", LetterReady)
		for range 2 { // workers that were killed while they sent
			if _, ok, _ := p.Take(t.Context(), postLease); !ok {
				t.Fatal("nothing to take")
			}
			<-time.After(postLease)
		}
		p.run(t, time.Hour)
		if a.State != LetterUnsure || len(p.sent["a"]) != 0 {
			t.Errorf("%s after two killed workers and %d sendings", a.State, len(p.sent["a"]))
		}
	})
	bubble(t, func(t *testing.T, p *post) {
		p.answers["a"] = func() error { // lost, then surely not taken, then lost
			if len(p.sent["a"]) == 2 {
				return &MailError{Code: "refused_451"}
			}
			return &MailError{Code: CodeUnknown, Unknown: true}
		}
		a := p.put("a", LetterReady)
		p.run(t, 24*time.Hour)
		if a.State != LetterUnsure || len(p.sent["a"]) != 3 {
			t.Errorf("%s after %d sendings, two of which may have arrived", a.State, len(p.sent["a"]))
		}
	})
}

func TestPostmanAsksForTheRole(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		gone, kept := p.put("stranger", LetterReady), p.put("a", LetterReady)
		p.run(t, time.Hour)
		if gone.State != LetterDropped || gone.Code != CodeNoRole || len(p.sent["stranger"]) != 0 || kept.State != LetterSent {
			t.Errorf("%+v %+v %v", gone, kept, p.sent)
		}
	})
	for code, err := range map[string]error{CodeFrozen: ErrFrozen, CodeRoles: &Unavailable{Dependency: "x", Err: io.EOF}} {
		bubble(t, func(t *testing.T, p *post) {
			p.council.err = err
			a := p.put("a", LetterReady)
			p.run(t, 3*time.Hour)
			if a.State != LetterDue || a.Code != code || a.Tries != 0 || a.Unsure != 0 || len(p.sent["a"]) != 0 {
				t.Errorf("%s: %+v", code, a)
			}
			p.council.err = nil
			p.run(t, 2*time.Hour)
			if a.State != LetterSent {
				t.Errorf("%s, and then not any more: %+v", code, a)
			}
		})
	}
}

func TestPostmanAnnounces(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		l := p.put("", LetterAnnounced)
		p.run(t, time.Minute)
		if l.State != LetterSent || !slices.Equal(p.expanded, []string{"owner", "admin"}) || len(p.sent) != 0 {
			t.Errorf("%+v %v %v", l, p.expanded, p.sent)
		}
	})
	bubble(t, func(t *testing.T, p *post) {
		p.tellAdmins = false
		l := p.put("", LetterAnnounced)
		p.run(t, time.Minute)
		if l.State != LetterDropped || l.Code != CodeOff || p.expanded != nil {
			t.Errorf("%+v %v", l, p.expanded)
		}
	})
}

// A file that is gone is not about to go.
func TestPostmanForgetsWhatIsOver(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		gone, over := p.put("a", LetterExpiring), p.put("b", LetterExpiring)
		soon := p.put("c", LetterExpiring)
		p.posts[0].Jobs[0].State = Expired
		past := time.Now().Add(-time.Second)
		p.posts[1].Jobs[0].ExpiresAt = &past
		p.run(t, time.Minute)
		if gone.State != LetterDropped || over.Code != CodeOutdated || soon.State != LetterSent {
			t.Errorf("%+v %+v %+v", gone, over, soon)
		}
	})
}

// What was sent is noted, however long that takes within the lease, and by a
// worker that is told to stop.
func TestPostmanNotesWhatItSent(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		ctx, stop := context.WithCancel(t.Context())
		p.answers["a"] = func() error { stop(); return nil }
		p.deaf = 5
		a := p.put("a", LetterReady)
		p.Run(ctx)
		if a.State != LetterSent {
			t.Errorf("%+v", a)
		}
	})
}

// Without a mail server letters wait, and end.
func TestPostmanWithoutAServer(t *testing.T) {
	bubble(t, func(t *testing.T, p *post) {
		p.Mailer = nil
		a := p.put("a", LetterReady)
		p.run(t, 2*24*time.Hour)
		if a.State != LetterDue || a.Tries != 0 {
			t.Errorf("after two days: %+v", a)
		}
		p.run(t, 2*24*time.Hour)
		if a.State != LetterGivenUp {
			t.Errorf("after four days: %+v", a)
		}
	})
}

// letterStore has one letter.
type letterStore struct{ by Principal }

func (l *letterStore) Resend(_ context.Context, job string, letter int64, by Principal) error {
	if job != "j" || letter != 7 {
		return errors.New("another letter")
	}
	l.by = by
	return nil
}

func (l *letterStore) Letters(context.Context, string) ([]Letter, error) {
	return []Letter{{ID: 7}}, nil
}

func TestLettersOfAJob(t *testing.T) {
	l, j := &letterStore{}, &journal{}
	roles := &council{roles: map[string]Role{"a": RoleAdmin}}
	s := NewService(ServicePorts{Records: oneJob{job: Job{ID: "j", Spec: Spec{Project: "p"}}}, Roles: roles, Letters: l, Journal: j}, quiet(), ServiceOptions{})
	who := Principal{Email: "a"}
	if list, err := s.Letters(t.Context(), who, "j"); err != nil || len(list) != 1 {
		t.Errorf("%v %v", list, err)
	}
	if err := s.Resend(t.Context(), who, "j", 7); err != nil || l.by != who {
		t.Errorf("%v by %v", err, l.by)
	}
	if _, err := s.Letters(t.Context(), Principal{Email: "b"}, "j"); !errors.Is(err, ErrNotFound) || len(j.entries) != 1 {
		t.Errorf("a stranger: %v, %d lines", err, len(j.entries))
	}
}
