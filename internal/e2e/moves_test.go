package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// moves are the changes of each job's state that the logs of all programs tell.
func (s *service) moves(more ...string) map[string][]string {
	s.t.Helper()
	told := map[string][]string{}
	for _, p := range s.ran {
		more = append(more, p.log.String())
	}
	for _, text := range more {
		for line := range bytes.SplitSeq([]byte(text), []byte("\n")) {
			var l struct{ Msg, Job, From, To string }
			if json.Unmarshal(line, &l) == nil && l.Msg == "job moved" {
				told[l.Job] = append(told[l.Job], l.From+">"+l.To)
			}
		}
	}
	return told
}

// Each change of a job's state is one line in somebody's log, whoever made it.
func TestEveryMoveIsOneLine(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 6, Conversations: demodata.Volume{Rows: 200}})
	source, sourceURL := behindProxy(t, w.SourceURL, 0)
	s := start(t, w, 0)
	delete := func(id string) {
		if a := s.call(http.MethodDelete, "/v1/exports/"+id, demodata.OwnerKey, ""); a.status != http.StatusNoContent {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	cancel := func(id string) { s.call(http.MethodPost, "/v1/exports/"+id+"/cancel", demodata.OwnerKey, "") }
	fresh := func() string { return s.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID }

	waiting := fresh()
	cancel(waiting)
	cancel(waiting)
	first := s.run("worker", "METRICS_ADDR="+freeAddr(t), "SOURCE_DATABASE_URL="+sourceURL)
	deleted := fresh()
	s.succeed(deleted)
	delete(deleted)
	delete(deleted)
	expired := fresh()
	s.succeed(expired)
	if _, err := w.Admin(t).Exec(t.Context(), `update bulkexport.jobs set expires_at = now() where id = $1`, expired); err != nil {
		t.Fatal(err)
	}
	swept := s.command("sweep")
	source.hush()
	lost := fresh()
	s.eventually("it runs", func() bool { return s.get(lost).State == "running" })
	first.signal(syscall.SIGKILL)
	second := s.worker()
	s.succeed(lost)
	second.signal(syscall.SIGTERM)
	<-second.exited
	purged := fresh()
	swept += s.command("purge", "-project", demodata.DemoProject, "-yes")

	told := s.moves(swept)
	for id, want := range map[string]string{
		waiting: ">queued queued>canceled", deleted: ">queued queued>running running>succeeded succeeded>expired",
		expired: ">queued queued>running running>succeeded succeeded>expired",
		lost:    ">queued queued>running queued>running running>queued running>succeeded succeeded>expired",
		purged:  ">queued queued>canceled",
	} {
		got := told[id]
		if !alike(got, strings.Fields(want)) {
			t.Errorf("told %v, want %s", got, want)
		}
	}
}

// alike reports whether two lists hold the same, in whatever order: the logs of
// several programs have none.
func alike(a, b []string) bool {
	n := map[string]int{}
	for _, s := range a {
		n[s]++
	}
	for _, s := range b {
		n[s]--
	}
	for _, k := range n {
		if k != 0 {
			return false
		}
	}
	return true
}
