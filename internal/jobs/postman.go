package jobs

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"time"
)

// The limits of the post.
const (
	postEvery = 2 * time.Second
	tidyEvery = time.Minute
	// postLease is longer than a try may take, so that nobody else begins one.
	postLease = 2 * time.Minute
	postLimit = 20 * time.Second
	// settleLimit is how long a process tries to note what came of a try; within the lease.
	settleLimit = 30 * time.Second
	// awayPause is how long a mail server that takes nothing is left alone, and a
	// role store that does not answer.
	awayPause = 15 * time.Second
	// A letter that waited for so long helps nobody.
	postPatience = 3 * 24 * time.Hour
	// maxUnsure tries may have reached a person without our knowing it.
	maxUnsure = 2
)

// postBackoff is the wait after the n-th try; the last one repeats itself.
var postBackoff = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour}

// The codes of letters that were not sent for reasons of ours.
const (
	CodeNoRole   = "no_role"
	CodeOutdated = "outdated"
	CodeFrozen   = "project_frozen"
	CodeRoles    = "roles_unavailable"
	CodeTooOld   = "too_old"
	CodeUnknown  = "answer_lost"
	CodeOff      = "not_wanted"
	codeOwnError = "internal"
)

// Postman sends what is in the outbox, to people who still have a role.
type Postman struct {
	PostmanPorts
	env        Env
	tellAdmins bool
	away       time.Time // until then nothing is tried
}

// PostmanPorts are what a Postman works with.
type PostmanPorts struct {
	Outbox Outbox
	Mailer Mailer // nil: nothing is sent, and letters are given up in time
	Roles  Roles
	People People
}

// NewPostman makes a Postman. With tellAdmins a project's people are told of
// exports of everything that others made.
func NewPostman(p PostmanPorts, env Env, tellAdmins bool) *Postman {
	return &Postman{PostmanPorts: p, env: env, tellAdmins: tellAdmins}
}

// Run sends until ctx is done. Any number of processes may run one.
func (p *Postman) Run(ctx context.Context) {
	round, tidy := time.NewTicker(postEvery), time.NewTicker(tidyEvery)
	defer round.Stop()
	defer tidy.Stop()
	next := p.tidy
	for {
		if err := next(ctx); err != nil && ctx.Err() == nil {
			p.env.Log.Warn("mails wait", "error", err)
		}
		select {
		case <-round.C:
			next = p.Round
		case <-tidy.C:
			next = p.tidy
		case <-ctx.Done():
			return
		}
	}
}

// tidy writes letters that no job writes, and ends those that nobody sends.
func (p *Postman) tidy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return errors.Join(p.Outbox.Remind(ctx), p.Outbox.GiveUp(ctx, postPatience))
}

// Round sends what is due. It ends early where the mail server takes nothing.
func (p *Postman) Round(ctx context.Context) error {
	for p.Mailer != nil && ctx.Err() == nil && !p.env.Now().Before(p.away) {
		call, cancel := context.WithTimeout(ctx, callLimit)
		post, ok, err := p.Outbox.Take(call, postLease)
		cancel()
		if err != nil || !ok {
			return err
		}
		if err := p.deliver(ctx, post); err != nil {
			return err
		}
	}
	return nil
}

// deliver sends a post, or says why not, and settles it.
func (p *Postman) deliver(ctx context.Context, post Post) error {
	first, begun := post.First(), p.env.Now()
	s := p.decide(ctx, post)
	if s.State == LetterDue && s.Code == "" {
		s = p.send(ctx, post)
	}
	log := []any{"letter", first.ID, "job", first.Job, "outcome", first.Outcome, "state", s.State, "try", first.Tries}
	if s.Code != "" {
		log = append(log, "code", s.Code)
	}
	level := slog.LevelInfo
	if s.State != LetterSent && s.State != LetterDropped {
		level = slog.LevelWarn
	}
	p.env.Log.Log(ctx, level, "letter", log...)
	p.env.seen().Lettered(Try{Job: first.Job, Outcome: first.Outcome, State: s.State, Code: s.Code, Begun: begun, Trace: post.Jobs[0].Trace})
	return p.settle(ctx, post, s)
}

// settle notes what came of a try, also for a process that is told to stop, and
// again and again: a mail that is not known to be sent is sent twice.
func (p *Postman) settle(ctx context.Context, post Post, s Settlement) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	for {
		call, stop := context.WithTimeout(ctx, callLimit)
		err := p.Outbox.Settle(call, post, s)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

// decide says what becomes of a post before it is sent; due without a code is
// one to be sent now.
func (p *Postman) decide(ctx context.Context, post Post) Settlement {
	first := post.First()
	switch {
	case first.Unsure > maxUnsure:
		return Settlement{State: LetterUnsure, Code: CodeUnknown, Certain: true}
	case p.env.Now().Sub(post.Letters[len(post.Letters)-1].AskedAt) > postPatience: // the newest
		return Settlement{State: LetterGivenUp, Code: CodeTooOld, Certain: true}
	case first.Outcome == LetterAnnounced:
		return p.announce(ctx, post)
	}
	role, err := p.Roles.Role(ctx, post.Jobs[0].Project, first.Recipient)
	switch {
	case errors.Is(err, ErrFrozen): // it may open again
		return Settlement{State: LetterDue, Delay: time.Hour, Code: CodeFrozen, Certain: true, Spared: true}
	case err != nil:
		return p.rest(CodeRoles)
	case !role.MayExport():
		return Settlement{State: LetterDropped, Code: CodeNoRole, Certain: true}
	case first.Outcome == LetterExpiring && !p.has(post.Jobs[0]):
		return Settlement{State: LetterDropped, Code: CodeOutdated, Certain: true}
	}
	return Settlement{State: LetterDue}
}

// has tells whether the file of an export is still there.
func (p *Postman) has(j Job) bool {
	return j.State == Succeeded && j.ExpiresAt != nil && p.env.Now().Before(*j.ExpiresAt)
}

// rest leaves everything alone for a while: what failed is not the letter's.
func (p *Postman) rest(code string) Settlement {
	p.away = p.env.Now().Add(awayPause)
	return Settlement{State: LetterDue, Delay: awayPause, Code: code, Certain: true, Spared: true}
}

// announce turns an announcement into letters.
func (p *Postman) announce(ctx context.Context, post Post) Settlement {
	if !p.tellAdmins {
		return Settlement{State: LetterDropped, Code: CodeOff, Certain: true}
	}
	people, err := p.People.People(ctx, post.Jobs[0].Project)
	if err != nil {
		return p.rest(CodeRoles)
	}
	if err := p.Outbox.Expand(ctx, post, people); err != nil {
		return p.rest(CodeDatabase)
	}
	return Settlement{State: LetterSent, Certain: true}
}

func (p *Postman) send(ctx context.Context, post Post) Settlement {
	// A conversation that has begun is ended also by a process that is told to stop:
	// nobody would know whether the mail was taken.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), postLimit)
	defer cancel()
	first := post.First()
	err := p.hand(ctx, post)
	if err == nil {
		return Settlement{State: LetterSent, Certain: true}
	}
	e := &MailError{Code: codeOwnError, Unknown: true}
	errors.As(err, &e)
	s := Settlement{State: LetterDue, Code: e.Code, Delay: p.wait(first.Tries), Certain: !e.Unknown}
	switch {
	case e.Away:
		return p.rest(e.Code)
	case e.Unknown && first.Unsure >= maxUnsure:
		s.State = LetterUnsure
	case e.Refused:
		s.State = LetterRefused
	}
	return s
}

// hand gives a post to the mailer; a panic there costs the try, not the process.
func (p *Postman) hand(ctx context.Context, post Post) (err error) {
	defer func() {
		if recover() != nil { // the value may name people; the stack does not
			p.env.Log.Error("mailing panicked", "letter", post.First().ID, "stack", string(debug.Stack()))
			err = errors.New("panic in the mailer")
		}
	}()
	return p.Mailer.Send(ctx, post)
}

// wait is the pause after so many tries, spread by a fifth.
func (p *Postman) wait(tries int) time.Duration {
	w := postBackoff[min(max(tries, 1), len(postBackoff))-1]
	return w + time.Duration(p.env.Jitter()*float64(w)/5)
}
