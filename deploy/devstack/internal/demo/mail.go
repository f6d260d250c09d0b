package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// letter is a message as the inbox tells it.
type letter struct {
	To      []string `json:"to"`
	Subject string   `json:"subject"`
	Headers []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"headers"`
	Text string `json:"text"`
}

// mailTimeout is for a mail that workers look for every two seconds.
const mailTimeout = 30 * time.Second

// showMail waits for the mail to who asked for an export and shows it.
func showMail(ctx context.Context, out *os.File, inbox string, j job) error {
	ctx, cancel := context.WithTimeoutCause(ctx, mailTimeout, fmt.Errorf("no mail about the export within %s", mailTimeout))
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		l, found, err := find(ctx, inbox, j)
		if err != nil {
			return err
		}
		if found {
			say(out, "\nThe mail:\n\n  From: %s\n  To: %s\n  Subject: %s\n\n%s\n", l.from(), strings.Join(l.To, ", "), l.Subject, indented(l.Text))
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// find looks for a mail to them with a link to the export's page.
func find(ctx context.Context, inbox string, j job) (letter, bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, inbox+"/api/messages", nil)
	if err != nil {
		return letter{}, false, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return letter{}, false, fmt.Errorf("inbox: %w", err)
	}
	defer res.Body.Close()
	var list []letter
	if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
		return letter{}, false, fmt.Errorf("inbox: %s: %w", res.Status, err)
	}
	for _, l := range list {
		if slices.Contains(l.To, j.By) && strings.Contains(l.Text, "/exports/"+j.ID) {
			return l, true, nil
		}
	}
	return letter{}, false, nil
}

func (l letter) from() string {
	for _, h := range l.Headers {
		if h.Name == "From" {
			return h.Value
		}
	}
	return ""
}

// indented sets a text off from what the demo says itself.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))) {
		b.WriteString(strings.TrimRight("  "+line, " \n") + "\n")
	}
	return b.String()
}
