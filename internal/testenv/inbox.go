package testenv

import (
	"encoding/json"
	"net/http"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"
)

// Mail is one that the stack's mail server has taken.
type Mail struct {
	ID      int
	At      time.Time
	From    string   // of the envelope
	To      []string // of the envelope
	Subject string
	Text    string
	Raw     string // all of it
}

// Header is a field of the mail's head, as it came.
func (m Mail) Header(t testing.TB, name string) string {
	t.Helper()
	parsed, err := mail.ReadMessage(strings.NewReader(m.Raw))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Header.Get(name)
}

// Inbox are the mails with these words in them, the oldest first. All tests of a
// stack share one server: name what only this one's mails hold.
func Inbox(t testing.TB, words string) []Mail {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, Var(t, "DEVSTACK_INBOX_URL")+"/api/messages", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var list []Mail
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	list = slices.DeleteFunc(list, func(m Mail) bool { return !strings.Contains(m.Text, words) })
	slices.Reverse(list)
	return list
}
