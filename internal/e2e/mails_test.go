package e2e

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// mailProject belongs to the demo's owner; its admins are the demo's, and two
// more who do not sign in.
const mailProject = "mailed"

// mailing is a service that sends mails to the stack's mail server.
type mailing struct {
	*service
	db *pgx.Conn
}

// newMailing starts one without workers; mails go to smtp.
func newMailing(t *testing.T, smtp string, extra ...string) *mailing {
	t.Helper()
	w := testenv.New(t)
	m := &mailing{db: w.Admin(t)}
	if _, err := m.db.Exec(t.Context(), `insert into "llm-convo-monitor" (convo_id, course_name, convo) values ('c', $1, '{"messages":[]}')`, mailProject); err != nil {
		t.Fatal(err)
	}
	m.service = start(t, w, 0, append(extra, "SMTP_URL="+smtp, "MAIL_FROM=Bulk Export <exports@example.edu>")...)
	m.staff(demodata.AdminEmail, "c@example.edu", "d@example.edu")
	return m
}

// staff are the project's admins from now on.
func (m *mailing) staff(admins ...string) {
	m.t.Helper()
	course := fmt.Sprintf(`{"course_owner":%q,"course_admins":["%s"]}`, demodata.OwnerEmail, strings.Join(admins, `","`))
	if err := m.Roles(m.t).HSet(m.t.Context(), "course_metadatas", mailProject, course).Err(); err != nil {
		m.t.Fatal(err)
	}
}

// ask asks for everything as the owner, with c to be told.
func (m *mailing) ask() string {
	m.t.Helper()
	return m.create(mailProject, `{"kind":"conversations","notify":["c@example.edu"]}`).ID
}

// letters are the states of those about a job, by recipient and outcome.
func (m *mailing) letters(id string) map[string]string {
	m.t.Helper()
	rows, err := m.db.Query(m.t.Context(), `select recipient || ' ' || outcome, state || coalesce(' ' || last_error, '') from bulkexport.outbox where job_id = $1`, id)
	if err != nil {
		m.t.Fatal(err)
	}
	letters := map[string]string{}
	var who, state string
	if _, err := pgx.ForEachRow(rows, []any{&who, &state}, func() error { letters[who] = state; return nil }); err != nil {
		m.t.Fatal(err)
	}
	return letters
}

// hurry lets waits and claims run out.
func (m *mailing) hurry() {
	m.t.Helper()
	if _, err := m.db.Exec(m.t.Context(), `update bulkexport.outbox set due_at = now() - interval '1 second' where state = 'due'`); err != nil {
		m.t.Fatal(err)
	}
}

// become waits until the letters about a job are in these states.
func (m *mailing) become(id string, want map[string]string) {
	m.t.Helper()
	var got map[string]string
	m.eventually("letters", func() bool {
		got = m.letters(id)
		return maps.Equal(got, want) || m.t.Context().Err() != nil
	})
}

// arrived are who got mails about a job, sorted, with the first words of each.
func (m *mailing) arrived(id string) (list []string) {
	m.t.Helper()
	for _, mail := range testenv.Inbox(m.t, m.url+"/exports/"+id) {
		title, _, _ := strings.Cut(mail.Text, "\r\n")
		list = append(list, strings.Join(mail.To, ",")+": "+strings.TrimSpace(title))
	}
	slices.Sort(list)
	return list
}

func (m *mailing) mails(id string, want ...string) {
	m.t.Helper()
	slices.Sort(want)
	if got := m.arrived(id); !slices.Equal(got, want) {
		m.t.Errorf("mails\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const (
	saysReady    = ": Your export is ready"
	saysExported = ": Somebody exported your project's data"
)

// everybodyReady is what becomes of the letters about an export that ask made.
func everybodyReady() map[string]string {
	return map[string]string{
		demodata.OwnerEmail + " ready": "sent", "c@example.edu ready": "sent", " announced": "sent",
		demodata.AdminEmail + " exported": "sent", "d@example.edu exported": "sent",
	}
}

var everybodyMailed = []string{
	demodata.OwnerEmail + saysReady, "c@example.edu" + saysReady, demodata.AdminEmail + saysExported, "d@example.edu" + saysExported,
}

// Who asked, who joined and who was named get one mail each, and the project's
// other people another one; with two that send, and again with a person's word.
func TestMails(t *testing.T) {
	t.Parallel()
	m := newMailing(t, testenv.Var(t, "SMTP_URL"))
	id := m.ask()
	if a := m.call(http.MethodPost, exportsOf(mailProject), demodata.AdminKey, `{"kind":"conversations"}`); a.status != http.StatusOK {
		t.Fatalf("joined: %d %s", a.status, a.body)
	}
	m.api2()
	m.worker()
	m.become(id, map[string]string{
		demodata.OwnerEmail + " ready": "sent", demodata.AdminEmail + " ready": "sent", "c@example.edu ready": "sent",
		" announced": "sent", "d@example.edu exported": "sent",
	})
	m.mails(id, demodata.OwnerEmail+saysReady, demodata.AdminEmail+saysReady, "c@example.edu"+saysReady, "d@example.edu"+saysExported)
	if p := m.get(id); p.State != "succeeded" {
		t.Errorf("%+v", p)
	}

	// On the same day: the next ones wait.
	next := m.succeed(m.create(mailProject, `{"kind":"conversations","fresh":true}`).ID).ID
	m.become(next, map[string]string{
		demodata.OwnerEmail + " ready": "sent", " announced": "sent",
		demodata.AdminEmail + " exported": "sent", "c@example.edu exported": "sent", "d@example.edu exported": "due",
	})
	m.mails(next, demodata.OwnerEmail+saysReady, demodata.AdminEmail+saysExported, "c@example.edu"+saysExported)
}

func TestMailOfACancel(t *testing.T) {
	t.Parallel()
	m := newMailing(t, testenv.Var(t, "SMTP_URL"))
	id := m.ask()
	if a := m.call(http.MethodPost, "/v1/exports/"+id+"/cancel", demodata.AdminKey, ""); a.status != http.StatusAccepted {
		t.Fatalf("%d %s", a.status, a.body)
	}
	m.worker()
	m.become(id, map[string]string{demodata.OwnerEmail + " canceled": "sent", "c@example.edu canceled": "sent"})
	for _, mail := range testenv.Inbox(t, m.url+"/exports/"+id) {
		if !strings.Contains(mail.Text, "was canceled by "+demodata.AdminEmail+".") {
			t.Errorf("%s", mail.Text)
		}
	}
}

// Who has lost the role meanwhile gets nothing.
func TestNoMailWithoutRole(t *testing.T) {
	t.Parallel()
	m := newMailing(t, testenv.Var(t, "SMTP_URL"))
	id := m.ask()
	m.staff(demodata.AdminEmail)
	m.worker()
	m.become(id, map[string]string{
		demodata.OwnerEmail + " ready": "sent", "c@example.edu ready": "dropped no_role", " announced": "sent", demodata.AdminEmail + " exported": "sent",
	})
	m.mails(id, demodata.OwnerEmail+saysReady, demodata.AdminEmail+saysExported)
}

func TestMailsOfAQuietInstallation(t *testing.T) {
	t.Parallel()
	m := newMailing(t, testenv.Var(t, "SMTP_URL"), "MAIL_TELL_ADMINS=false")
	id := m.ask()
	m.worker()
	m.become(id, map[string]string{demodata.OwnerEmail + " ready": "sent", "c@example.edu ready": "sent", " announced": "dropped not_wanted"})
	m.mails(id, demodata.OwnerEmail+saysReady, "c@example.edu"+saysReady)
}

// The mail server is away for all of an export, and longer.
func TestMailServerDown(t *testing.T) {
	t.Parallel()
	p, smtp := behindProxy(t, testenv.Var(t, "SMTP_URL"), 0)
	p.close()
	m := newMailing(t, smtp)
	id := m.ask()
	second := m.api2()
	m.worker()
	m.succeed(id)
	m.eventually("both find out", func() bool {
		return strings.Contains(m.api.log.String()+second.log.String(), `"code":"smtp_unavailable"`)
	})
	m.mails(id)
	m.probes(http.StatusOK, `"mail":"failing"`, `"status":"degraded"`)
	p.open()
	m.probes(http.StatusOK, `"mail":"ok"`, `"status":"ready"`)
	m.hurry()
	m.become(id, everybodyReady())
	m.mails(id, everybodyMailed...)
}

// api2 is another API, which sends mails as well.
func (m *mailing) api2() *process {
	m.t.Helper()
	return m.run("api", "HTTP_ADDR="+freeAddr(m.t), "METRICS_ADDR="+freeAddr(m.t))
}

// probes waits until the API's readiness says so.
func (m *mailing) probes(status int, says ...string) {
	m.t.Helper()
	m.eventually("probes say "+strings.Join(says, " "), func() bool {
		res, err := http.Get(m.url + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		return err == nil && res.StatusCode == status && !slices.ContainsFunc(says, func(w string) bool { return !strings.Contains(string(b), w) })
	})
}

// relay stands before the real mail server and speaks its language.
type relay struct {
	target string
	// refuse is an address that is not known here.
	refuse string

	mu      sync.Mutex
	lose    int // answers to mails that nobody will hear
	holding chan struct{}
	held    chan struct{} // closed when an answer is held back
}

func newRelay(t *testing.T) (*relay, string) {
	t.Helper()
	u, err := url.Parse(testenv.Var(t, "SMTP_URL"))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{target: u.Host}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.converse(c)
		}
	}()
	return r, "smtp://" + l.Addr().String()
}

// converse passes lines on, one answer for each.
func (r *relay) converse(c net.Conn) {
	defer c.Close()
	up, err := net.Dial("tcp", r.target)
	if err != nil {
		return
	}
	defer up.Close()
	in, out := bufio.NewReader(c), bufio.NewReader(up)
	answer := func() (string, error) {
		for text := ""; ; {
			line, err := out.ReadString('\n')
			text += line
			if err != nil || len(line) < 4 || line[3] == ' ' {
				return text, err
			}
		}
	}
	text, err := answer()
	for data := false; err == nil; {
		if _, err = c.Write([]byte(text)); err != nil {
			return
		}
		line, _ := in.ReadString('\n')
		if line == "" {
			return
		}
		if r.refuse != "" && strings.HasPrefix(line, "RCPT") && strings.Contains(line, r.refuse) {
			text = "550 5.1.1 " + r.refuse + " is not known here\r\n"
			continue
		}
		for data && line != ".\r\n" && line != "" {
			_, _ = up.Write([]byte(line))
			line, _ = in.ReadString('\n')
		}
		if line == "" {
			return
		}
		_, _ = up.Write([]byte(line))
		text, err = answer()
		if data && r.loses() {
			return
		}
		data = strings.HasPrefix(line, "DATA")
	}
}

// loses tells whether the answer to a mail is lost. One that is held back is
// lost when the test ends.
func (r *relay) loses() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lose == 0 {
		return false
	}
	r.lose--
	if r.held != nil {
		close(r.held)
		r.held = nil
		holding := r.holding
		r.mu.Unlock()
		<-holding
		r.mu.Lock()
	}
	return true
}

// same fails the test unless n mails came to who, with one Message-ID.
func (m *mailing) same(id, who string, n int) {
	m.t.Helper()
	var ids []string
	for _, mail := range testenv.Inbox(m.t, m.url+"/exports/"+id) {
		if slices.Contains(mail.To, who) {
			ids = append(ids, mail.Header(m.t, "Message-ID"))
		}
	}
	if len(ids) != n || len(slices.Compact(slices.Clone(ids))) != 1 {
		m.t.Errorf("mails to %s: %q, want %d of the same id", who, ids, n)
	}
}

// The server has taken a mail, and its answer is lost: one mail more with the
// same id, and never a third.
func TestAnswerLost(t *testing.T) {
	t.Parallel()
	for lose, want := range map[int]string{1: "sent", 9: "unsure answer_lost"} {
		r, smtp := newRelay(t)
		r.lose = lose
		m := newMailing(t, smtp, "MAIL_TELL_ADMINS=false")
		id := m.create(mailProject, conversations).ID
		m.worker()
		m.become(id, map[string]string{demodata.OwnerEmail + " ready": "due answer_lost", " announced": "dropped not_wanted"})
		m.same(id, demodata.OwnerEmail, 1)
		m.hurry()
		m.become(id, map[string]string{demodata.OwnerEmail + " ready": want, " announced": "dropped not_wanted"})
		m.hurry()
		// Another export's mail passes after it: nothing is left of the first.
		r.mu.Lock()
		r.lose = 0
		r.mu.Unlock()
		next := m.create(mailProject, `{"kind":"conversations","fresh":true}`).ID
		m.become(next, map[string]string{demodata.OwnerEmail + " ready": "sent", " announced": "dropped not_wanted"})
		m.same(id, demodata.OwnerEmail, 2)
	}
}

// An API is killed after the server has taken a mail and before that is noted.
func TestKilledWhileMailing(t *testing.T) {
	t.Parallel()
	r, smtp := newRelay(t)
	r.lose, r.holding, r.held = 1, make(chan struct{}), make(chan struct{})
	held := r.held
	t.Cleanup(func() { close(r.holding) })
	m := newMailing(t, smtp, "MAIL_TELL_ADMINS=false")
	id := m.create(mailProject, conversations).ID
	m.worker()
	<-held
	m.api.kill()
	m.api = m.run("api", "METRICS_ADDR="+freeAddr(t))
	m.hurry()
	m.become(id, map[string]string{demodata.OwnerEmail + " ready": "sent", " announced": "dropped not_wanted"})
	m.same(id, demodata.OwnerEmail, 2)
}

// An address that the server refuses keeps nobody else from theirs.
func TestAddressRefused(t *testing.T) {
	t.Parallel()
	r, smtp := newRelay(t)
	r.refuse = "c@example.edu"
	m := newMailing(t, smtp)
	id := m.ask()
	m.worker()
	want := everybodyReady()
	want["c@example.edu ready"] = "refused refused_550"
	m.become(id, want)
	m.mails(id, demodata.OwnerEmail+saysReady, demodata.AdminEmail+saysExported, "d@example.edu"+saysExported)
	if strings.Contains(m.api.log.String(), "c@example.edu") {
		t.Error("the log names a person")
	}
}
