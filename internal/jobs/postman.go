package jobs

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// The limits of the post.
const (
	postEvery   = 2 * time.Second
	remindEvery = time.Minute
	// postLease is longer than a try may take, so that nobody else begins one.
	postLease = 2 * time.Minute
	postLimit = time.Minute
	// awayPause is how long a mail server that takes nothing is left alone.
	awayPause = 15 * time.Second
	// A letter that waited for so long helps nobody.
	postPatience = 3 * 24 * time.Hour
	// digestEvery is how often a person is told of a project's exports.
	digestEvery = 24 * time.Hour
	// maxUnsure tries may have reached a person without our knowing it.
	maxUnsure = 2
)

// postBackoff is the wait after the n-th try; the last one repeats itself.
var postBackoff = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour}

// The codes of letters that were not sent for reasons of ours.
const (
	CodeNoRole   = "no_role"
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
	away       time.Time // until then the mail server is left alone
}

// PostmanPorts are what a Postman works with.
type PostmanPorts struct {
	Outbox Outbox
	Mailer Mailer
	Roles  Roles
	People People
}

// NewPostman makes a Postman. With tellAdmins a project's people are told of
// exports of everything that others made.
func NewPostman(p PostmanPorts, env Env, tellAdmins bool) *Postman {
	return &Postman{PostmanPorts: p, env: env, tellAdmins: tellAdmins}
}

// Run sends until ctx is done. Every worker may run one.
func (p *Postman) Run(ctx context.Context) {
	round, remind := time.NewTicker(postEvery), time.NewTicker(remindEvery)
	defer round.Stop()
	defer remind.Stop()
	for {
		var err error
		select {
		case <-round.C:
			err = p.Round(ctx)
		case <-remind.C:
			err = p.Outbox.Remind(ctx)
		case <-ctx.Done():
			return
		}
		if err != nil && ctx.Err() == nil {
			p.env.Log.Warn("mails wait", "error", err)
		}
	}
}

// Round sends what is due. It ends early where the mail server takes nothing.
func (p *Postman) Round(ctx context.Context) error {
	for ctx.Err() == nil && !p.env.Now().Before(p.away) {
		post, ok, err := p.Outbox.Take(ctx, postLease)
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
	first := post.First()
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
	// What was sent is noted also by a worker that is told to stop.
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancel()
	return p.Outbox.Settle(settle, post, s)
}

// decide says what becomes of a post before it is sent; due without a code is
// one to be sent now.
func (p *Postman) decide(ctx context.Context, post Post) Settlement {
	first := post.First()
	switch {
	case first.Unsure > maxUnsure:
		return Settlement{State: LetterUnsure, Code: CodeUnknown, Certain: true}
	case p.env.Now().Sub(first.AskedAt) > postPatience:
		return Settlement{State: LetterGivenUp, Code: CodeTooOld, Certain: true}
	case first.Outcome == LetterAnnounced:
		return p.announce(ctx, post)
	}
	role, err := p.Roles.Role(ctx, post.Jobs[0].Project, first.Recipient)
	switch {
	case errors.Is(err, ErrFrozen):
		return Settlement{State: LetterDue, Delay: time.Hour, Code: CodeFrozen, Certain: true}
	case err != nil:
		return Settlement{State: LetterDue, Delay: time.Minute, Code: CodeRoles, Certain: true}
	case !role.MayExport():
		return Settlement{State: LetterDropped, Code: CodeNoRole, Certain: true}
	}
	return Settlement{State: LetterDue}
}

// announce turns an announcement into letters.
func (p *Postman) announce(ctx context.Context, post Post) Settlement {
	if !p.tellAdmins {
		return Settlement{State: LetterDropped, Code: CodeOff, Certain: true}
	}
	people, err := p.People.People(ctx, post.Jobs[0].Project)
	if err != nil {
		return Settlement{State: LetterDue, Delay: time.Minute, Code: CodeRoles, Certain: true}
	}
	if err := p.Outbox.Expand(ctx, post, people, digestEvery); err != nil {
		return Settlement{State: LetterDue, Delay: time.Minute, Code: CodeDatabase, Certain: true}
	}
	return Settlement{State: LetterSent, Certain: true}
}

func (p *Postman) send(ctx context.Context, post Post) Settlement {
	ctx, cancel := context.WithTimeout(ctx, postLimit)
	defer cancel()
	first := post.First()
	err := p.Mailer.Send(ctx, post)
	if err == nil {
		return Settlement{State: LetterSent}
	}
	s := Settlement{State: LetterDue, Code: codeOwnError, Delay: p.wait(first.Tries), Certain: true}
	var e *MailError
	if !errors.As(err, &e) {
		return s
	}
	switch s.Code = e.Code; {
	case e.Unknown:
		s.Certain = false
		if first.Unsure >= maxUnsure {
			s.State = LetterUnsure
		}
	case e.Refused:
		s.State = LetterRefused
	case e.Away:
		s.Delay = time.Minute
		p.away = p.env.Now().Add(awayPause)
	}
	return s
}

// wait is the pause after so many tries, spread by a fifth.
func (p *Postman) wait(tries int) time.Duration {
	w := postBackoff[min(max(tries, 1), len(postBackoff))-1]
	return w + time.Duration(p.env.Jitter()*float64(w)/5)
}
