package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A poll comes when the API says, and asks only for what is new.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var log []string
		script := []struct {
			status int
			state  string
			etag   string
			after  string
		}{
			{200, "queued", `W/"1"`, "5"}, {304, "", `W/"1"`, "3"}, {503, "", "", "10"}, {-1, "", "", ""}, {200, "running", `W/"2"`, ""},
			{429, "", "", "4"}, {304, "", "", "0"}, {200, "running", "", "86400"}, {200, "succeeded", "", ""},
		}
		c := faked(t, func(r *http.Request) (*http.Response, error) {
			s := script[0]
			script = script[1:]
			log = append(log, fmt.Sprintf("%d %s", int(time.Since(began).Seconds()), r.Header.Get("If-None-Match")))
			if s.status < 0 {
				return nil, errors.New("connection reset")
			}
			return answerWith(r, s.status, `{"id":"j1","state":"`+s.state+`"}`, "Retry-After", s.after, "ETag", s.etag), nil
		})
		shown := ""
		j, err := c.Wait(t.Context(), "j1", func(j Job) { shown += j.State + " " })
		if err != nil || j.State != Succeeded {
			t.Fatalf("%v %v", j.State, err)
		}
		if shown != "queued queued running running running succeeded " {
			t.Errorf("shown: %s", shown)
		}
		want := `0 |5 W/"1"|8 W/"1"|18 W/"1"|20 W/"1"|22 W/"2"|26 W/"2"|28 W/"2"|88 `
		if got := strings.Join(log, "|"); got != want {
			t.Errorf("polled at\n%s, want\n%s", got, want)
		}
	})
}

func TestWaitGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		calls := 0
		c := faked(t, func(r *http.Request) (*http.Response, error) {
			if calls++; calls <= 2 {
				return answerWith(r, 200, `{"id":"j1","state":"running"}`), nil
			}
			return nil, errors.New("connection refused")
		})
		j, err := c.Wait(t.Context(), "j1", func(Job) {})
		var u *Unreachable
		if !errors.As(err, &u) || j.State != "running" {
			t.Errorf("%+v %v", j, err)
		}
		if took := time.Since(began); took < 4*time.Minute || took > 6*time.Minute {
			t.Errorf("gave up after %s", took)
		}
	})
	c := faked(t, func(r *http.Request) (*http.Response, error) { return answerWith(r, 404, "{}"), nil })
	if _, err := c.Wait(t.Context(), "j1", func(Job) {}); err == nil {
		t.Error("404 is waited for")
	}
}
