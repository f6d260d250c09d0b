package jobs

import (
	"context"
	"time"
)

// Outcome is what a letter tells of an export.
type Outcome string

// The outcomes. An announcement is no letter to anybody yet: it becomes one to
// each of the people of its project, of LetterExported.
const (
	LetterReady     Outcome = "ready"
	LetterFailed    Outcome = "failed"
	LetterCanceled  Outcome = "canceled"
	LetterExpiring  Outcome = "expiring"
	LetterAnnounced Outcome = "announced"
	LetterExported  Outcome = "exported"
)

// LetterState is what became of a letter.
type LetterState string

// The states. All but LetterDue are final, until somebody asks for it once more.
const (
	LetterDue     LetterState = "due"
	LetterSent    LetterState = "sent"
	LetterDropped LetterState = "dropped"  // nobody is to have it: no role any more, or no news any more
	LetterRefused LetterState = "refused"  // by the mail server, for good
	LetterUnsure  LetterState = "unsure"   // sent twice, never heard of
	LetterGivenUp LetterState = "given_up" // tried for days
)

// Letter is one mail to one person about one export.
type Letter struct {
	ID        int64
	Job       string
	Recipient string
	Outcome   Outcome
	State     LetterState
	// Tries counts the claims that were the letter's own; Unsure those of which
	// nobody knows how they ended.
	Tries, Unsure int
	// Edition rises when somebody asks for it once more: that is another mail.
	Edition int
	// Code is the class of the last error; it names nobody.
	Code    string
	AskedAt time.Time
	// DueAt is when it is tried next; while it is claimed, when the claim ends.
	DueAt  time.Time
	SentAt *time.Time // when a mail server last took it
}

// Post is a letter that was claimed, and what goes out with it: those of later
// exports to the same person, where they go as one.
type Post struct {
	Letters    []Letter // the first is the oldest, and names the mail
	Jobs       []Job    // what they are about, in the same order
	CanceledBy string
}

// First is the letter that names the mail.
func (p Post) First() Letter { return p.Letters[0] }

// Settlement is what becomes of a post.
type Settlement struct {
	State LetterState
	Delay time.Duration // before the next try, of one that stays due
	Code  string
	// Certain: this try surely brought nobody a mail.
	Certain bool
	// Spared: the try was not the letter's own and does not count.
	Spared bool
}

// Outbox holds the letters. All its clocks are the database's.
type Outbox interface {
	// Take claims what is due for so long, and counts the try; false if nothing
	// is. Who does not settle it in time loses it to the next claim. A person is
	// told of a project's exports once in DigestEvery, of all of them then.
	Take(ctx context.Context, lease time.Duration) (Post, bool, error)
	// Settle ends a try. It changes nothing if another claim has come since.
	Settle(ctx context.Context, p Post, s Settlement) error
	// Expand turns an announcement into letters to people, all but those who get
	// one about the export anyway.
	Expand(ctx context.Context, p Post, people []string) error
	// Remind writes letters about files that go soon and that nobody has fetched.
	Remind(ctx context.Context) error
	// GiveUp ends letters that have been due for longer than patience.
	GiveUp(ctx context.Context, patience time.Duration) error
}

// DigestEvery is how often a person is told of a project's exports.
const DigestEvery = 24 * time.Hour

// Letters is what people see of the letters about a job.
type Letters interface {
	// Letters are those to people, in the order of their making.
	Letters(ctx context.Context, job string) ([]Letter, error)
	// Resend makes one that is not due be sent once more; ErrNotFound if the job
	// has no such letter.
	Resend(ctx context.Context, job string, letter int64, by Principal) error
}

// Mailer sends mails. Its errors are *MailError; of any other nobody knows
// whether the mail was sent.
type Mailer interface {
	Send(ctx context.Context, p Post) error
}

// MailError is why a mail was not sent, as far as is known. It names nobody.
type MailError struct {
	Code string
	// Refused: this recipient will never get it. Away: the mail server takes
	// nothing from anybody. Unknown: it may have been sent.
	Refused, Away, Unknown bool
}

func (e *MailError) Error() string { return "mail not sent: " + e.Code }

// People knows who is to be told what happens in a project: its owner and admins.
type People interface {
	People(ctx context.Context, project string) ([]string, error)
}

// Letters are what was written to people about an export.
func (s *Service) Letters(ctx context.Context, p Principal, id string) ([]Letter, error) {
	if _, err := s.job(ctx, p, id, ActionGet); err != nil {
		return nil, err
	}
	return s.ServicePorts.Letters.Letters(ctx, id)
}

// Resend sends a letter about an export once more. One that is on its way stays so.
func (s *Service) Resend(ctx context.Context, p Principal, id string, letter int64) error {
	if _, err := s.job(ctx, p, id, ActionResend); err != nil {
		return err
	}
	return s.ServicePorts.Letters.Resend(ctx, id, letter, p)
}
