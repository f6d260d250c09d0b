//go:build faultpoints

package e2e

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

var (
	pollMegabytes = flag.Int64("megabytes", 1000, "of conversations in the export that is polled")
	pollRounds    = flag.Int("rounds", 3, "exports with polls, and as many without")
)

// pollsPerSecond are what the people who wait for exports ask together.
const pollsPerSecond = 200

// TestPolls: those who look at an export hardly slow it down, and do not wait.
func TestPolls(t *testing.T) {
	w := testenv.New(t)
	fill(t, w, demodata.Options{Seed: 1, Conversations: demodata.Volume{Bytes: *pollMegabytes * 1e6}})
	s := start(t, w, 1, "LOG_LEVEL=INFO")
	db := w.Admin(t)
	s.export(db, nil) // warms caches up
	var quiet, polled []time.Duration
	var answers []time.Duration
	for range *pollRounds {
		quiet = append(quiet, s.export(db, nil))
		polled = append(polled, s.export(db, &answers))
	}
	slices.Sort(answers)
	at := func(share float64) time.Duration { return answers[int(share*float64(len(answers)-1))] }
	slower := float64(median(polled))/float64(median(quiet)) - 1
	t.Logf("%d polls, %d a second: p50 %s, p95 %s, p99 %s, most %s; the export took %s, and %s with polls (%+.1f %%)",
		len(answers), pollsPerSecond, at(.5), at(.95), at(.99), at(1), median(quiet), median(polled), 100*slower)
	if p99 := at(.99); p99 > 150*time.Millisecond || slower > 0.3 {
		t.Errorf("over three times the goal of 50 ms and 10 %%")
	}
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// export runs one, polls it if the answers' times are wanted, and returns how
// long it ran.
func (s *service) export(db *pgx.Conn, answers *[]time.Duration) time.Duration {
	s.t.Helper()
	id := s.create(demodata.DemoProject, `{"kind":"conversations","fresh":true}`).ID
	over := make(chan struct{})
	var polls sync.WaitGroup
	if answers != nil {
		polls.Go(func() { *answers = append(*answers, s.poll(id, over)...) })
	}
	s.eventually("the export ends", func() bool {
		var state string
		err := db.QueryRow(s.t.Context(), `select state from bulkexport.jobs where id = $1`, id).Scan(&state)
		return err == nil && state == "succeeded"
	})
	close(over)
	polls.Wait()
	var seconds float64
	err := db.QueryRow(s.t.Context(), `select extract(epoch from finished_at - started_at) from bulkexport.jobs where id = $1`, id).Scan(&seconds)
	if err != nil {
		s.t.Fatal(err)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}

// poll asks at a steady rate, whatever the answers take, as two people with
// programs that keep the ETag, and two with ones that do not.
func (s *service) poll(id string, over <-chan struct{}) (took []time.Duration) {
	hc := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: 30 * time.Second}
	tick := time.NewTicker(time.Second / pollsPerSecond)
	defer tick.Stop()
	var mu sync.Mutex
	var wg sync.WaitGroup
	tags := make([]string, 4)
	for i := 0; ; i++ {
		select {
		case <-over:
			wg.Wait()
			return took
		case <-tick.C:
		}
		wg.Go(func() {
			who := i % len(tags)
			mu.Lock()
			tag := tags[who]
			mu.Unlock()
			began := time.Now()
			got, err := pollOnce(hc, s.url+"/v1/exports/"+id, []string{demodata.OwnerKey, demodata.AdminKey}[who%2], tag)
			mu.Lock()
			defer mu.Unlock()
			if took = append(took, time.Since(began)); err != nil {
				s.t.Error(err)
			}
			if who >= 2 {
				tags[who] = got
			}
		})
	}
}

func pollOnce(hc *http.Client, url, key, tag string) (string, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	res, err := hc.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNotModified {
		return "", fmt.Errorf("a poll: %s", res.Status)
	}
	return res.Header.Get("ETag"), nil
}
