package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// sendLimit is for a whole conversation with the server. An earlier deadline of
// the caller's counts, too.
const sendLimit = 20 * time.Second

// The classes of errors that have no code of the server's.
const (
	codeUnavailable = "smtp_unavailable"
	codeTLS         = "smtp_tls"
	codeAuth        = "smtp_auth"
	codeAnswerLost  = "answer_lost"
	codeBadAddress  = "bad_address"
)

// Send implements jobs.Mailer.
func (m *Mailer) Send(ctx context.Context, p jobs.Post) error {
	msg, err := m.compose(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	// The end of ctx ends the conversation, whatever it is waiting for. So does
	// the end of this: where something failed, a polite end could complete half a
	// mail.
	ended := func() {}
	defer func() { ended() }()
	dial := func(dialing context.Context, network, _ string) (net.Conn, error) {
		conn, err := m.dial(dialing, network)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			ended = func() { stop(); _ = conn.Close() }
		}
		return conn, err
	}
	client, err := mail.NewClient(m.host, append(m.options(), mail.WithDialContextFunc(dial))...)
	if err != nil {
		return &jobs.MailError{Code: codeUnavailable, Away: true}
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return away(err)
	}
	err = client.SendWithSMTPClient(session, msg)
	if msg.IsDelivered() {
		_ = session.Quit()
		return nil
	}
	return classify(err)
}

// dial connects, by TLS where that comes first.
func (m *Mailer) dial(ctx context.Context, network string) (net.Conn, error) {
	var d net.Dialer
	if m.implicit {
		return (&tls.Dialer{NetDialer: &d, Config: m.tls}).DialContext(ctx, network, m.addr)
	}
	return d.DialContext(ctx, network, m.addr)
}

// options of a client. Which way to sign in depends on the server; one that
// sends the password goes over TLS, or stays on this machine.
func (m *Mailer) options() []mail.Option {
	o := []mail.Option{
		mail.WithTLSPolicy(m.policy), mail.WithTLSConfig(m.tls), mail.WithTimeout(sendLimit),
		mail.WithoutNoop(), mail.WithoutRset(),
	}
	if m.implicit {
		o = append(o, mail.WithSSL()) // there is nothing to start
	}
	switch {
	case m.user == "":
		return o
	case m.policy == mail.NoTLS:
		o = append(o, mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthCramMD5, mail.SMTPAuthPlainNoEnc, mail.SMTPAuthLoginNoEnc))
	default:
		o = append(o, mail.WithOpportunisticSMTPAuth(mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthCramMD5))
	}
	return append(o, mail.WithUsername(m.user), mail.WithPassword(m.password))
}

// away is for all that fails before a mail is spoken of. Nothing of the
// server's own words is kept: they may repeat addresses.
func away(err error) error {
	var answer *textproto.Error
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &answer) && answer.Code == 535, errors.Is(err, mail.ErrNoSupportedAuthDiscovered):
		return &jobs.MailError{Code: codeAuth, Away: true}
	case errors.As(err, &answer):
		return &jobs.MailError{Code: "smtp_refused_" + strconv.Itoa(answer.Code), Away: true}
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert):
		return &jobs.MailError{Code: codeTLS, Away: true}
	}
	return &jobs.MailError{Code: codeUnavailable, Away: true}
}

// classify tells what a failed conversation means for the mail.
func classify(err error) error {
	var e *mail.SendError
	if !errors.As(err, &e) {
		return &jobs.MailError{Code: codeAnswerLost, Unknown: true}
	}
	code := e.ErrorCode()
	switch {
	case e.Reason == mail.ErrSMTPMailFrom, e.Reason == mail.ErrConnCheck, code == 421:
		// What is refused is the sender, or everything.
		if code == 0 {
			return &jobs.MailError{Code: codeUnavailable, Away: true}
		}
		return &jobs.MailError{Code: "smtp_refused_" + strconv.Itoa(code), Away: true}
	case e.Reason == mail.ErrSMTPDataClose && code == 0:
		return &jobs.MailError{Code: codeAnswerLost, Unknown: true}
	case code == 0:
		return &jobs.MailError{Code: codeUnavailable}
	}
	return &jobs.MailError{Code: "refused_" + strconv.Itoa(code), Refused: code >= 500}
}

// Ping reports whether the server greets. It does not sign in.
func (m *Mailer) Ping(ctx context.Context) error {
	conn, err := m.dial(ctx, "tcp")
	if err != nil {
		return fmt.Errorf("mail server: %w", err)
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	text := textproto.NewConn(conn)
	if _, _, err := text.ReadResponse(220); err != nil {
		return errors.New("mail server: no greeting")
	}
	_ = text.PrintfLine("QUIT")
	return nil
}
