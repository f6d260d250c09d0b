package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// TestHistories lets several workers, dispatchers and people at the same jobs
// at once, and checks that what each was answered fits one order of them all:
// every move of a row is atomic, whatever runs beside it.
func TestHistories(t *testing.T) {
	f := open(t)
	f.heartbeat("w", 1000, 0)
	const rounds, people, calls = 12, 8, 50
	claims, ends := 0, 0
	for seed := range uint64(rounds) {
		h := &history{f: f, begin: time.Now(), known: make(map[string]known)}
		for i := range jobsInHistory { // each of a project of its own: no slot is scarce
			h.jobs = append(h.jobs, f.create(newJob(fmt.Sprintf("p%d-%d", seed, i))).ID)
		}
		var wg sync.WaitGroup
		for client := range people {
			wg.Go(func() { h.play(rand.New(rand.NewPCG(seed, uint64(client))), client, calls) })
		}
		wg.Wait()
		claims, ends = claims+h.claims, ends+h.ended
		if result, info := porcupine.CheckOperationsVerbose(rowModel, h.ops, time.Minute); result != porcupine.Ok {
			t.Fatalf("seed %d: %s: no order explains the answers\n%s", seed, result, h.explain(info))
		}
	}
	if claims < rounds || ends == 0 {
		t.Errorf("%d claims, %d ends in %d rounds: too little was tried", claims, ends, rounds)
	}
}

const jobsInHistory = 2

// history is what several clients asked of some jobs, and were answered.
type history struct {
	f     *fixture
	begin time.Time
	jobs  []string

	mu            sync.Mutex
	known         map[string]known // what the others may use
	ops           []porcupine.Operation
	claims, ended int
}

// known is what anyone was told of a job: the newest ticket, the newest
// attempt, and whether it ever began an upload.
type known struct {
	dispatch, attempt int
	begun             bool
}

// call is one operation on one job.
type call struct {
	job  int
	verb string
	// arg is the dispatch of a claim, the attempt of a fenced write.
	arg int
	to  jobs.State // of an end
	bad bool       // an end with a failure
}

// reply is what came of it: a number (of a dispatch, of an attempt, of
// checkpoints) and a word.
type reply struct {
	n    int
	word string
}

func (h *history) play(rng *rand.Rand, client, calls int) {
	for range calls {
		c := h.choose(rng)
		began := time.Since(h.begin)
		replies := h.do(c)
		ended := time.Since(h.begin)
		h.mu.Lock()
		for job, r := range replies {
			one := c
			one.job = job
			h.learn(one, r)
			h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: one, Call: began.Nanoseconds(), Output: r, Return: ended.Nanoseconds()})
		}
		h.mu.Unlock()
	}
}

func (h *history) choose(rng *rand.Rand) call {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := call{job: rng.IntN(len(h.jobs))}
	k := h.known[h.jobs[c.job]]
	late := 0 // now and then someone who was given up
	if rng.IntN(4) == 0 {
		late = 1
	}
	switch n := rng.IntN(100); {
	case n < 20:
		c.verb = "dispatch"
	case n < 45:
		c.verb, c.arg = "claim", k.dispatch-late
	case n < 55:
		c.verb, c.arg = "renew", k.attempt-late
	case n < 63:
		c.verb, c.arg = "begin", k.attempt-late
	case n < 75 && k.begun:
		c.verb, c.arg = "commit", k.attempt-late
	case n < 90:
		c.verb, c.arg = "end", k.attempt-late
		c.to = []jobs.State{jobs.Queued, jobs.Queued, jobs.Queued, jobs.Queued, jobs.Queued, jobs.Failed, jobs.Succeeded}[rng.IntN(7)]
		if c.to == jobs.Succeeded && !k.begun { // the table refuses a success without an object
			c.to = jobs.Failed
		}
		c.bad = c.to == jobs.Failed || c.to == jobs.Queued && rng.IntN(2) == 0
	case n < 92:
		c.verb = "cancel"
	case n < 95:
		c.verb = "lose" // the lease runs out
	case n < 97:
		c.verb = "wait" // the back-off is over
	default:
		c.verb = "forget" // the doorbell was rung long ago
	}
	return c
}

// do carries a call out; a dispatch answers for every job.
func (h *history) do(c call) map[int]reply {
	ctx, id := context.Background(), h.jobs[c.job]
	fence := jobs.Fence{Job: id, Attempt: c.arg}
	var r reply
	var err error
	switch c.verb {
	case "dispatch":
		return h.dispatch(ctx)
	case "claim":
		claim, ok, e := h.f.Claim(ctx, jobs.Ticket{Job: id, Dispatch: c.arg, Lane: jobs.Large}, "w", time.Hour)
		if err = e; ok {
			r.n = claim.Fence.Attempt
			if claim.Resume != nil {
				r.word = fmt.Sprint(len(claim.Resume.Cut.Parts))
			}
		}
	case "renew":
		var cancel bool
		if cancel, err = h.f.Renew(ctx, fence, jobs.Beat{Lease: time.Hour, Phase: jobs.Streaming}); cancel {
			r.word = "cancel"
		}
	case "begin":
		err = h.f.BeginUpload(ctx, fence, jobs.Upload{Nonce: fmt.Sprint("n", c.arg), Key: "k", ID: "u"})
	case "commit":
		err = h.f.Commit(ctx, fence, jobs.Cut{Version: jobs.CutVersion, Parts: make([]jobs.Part, 1)})
	case "end":
		e := jobs.Ending{State: c.to}
		switch {
		case c.to == jobs.Succeeded:
			e.Result = &jobs.Result{Filename: "f", SHA256: "00", SHA256Raw: "00"}
		case c.bad:
			e.Failure = &jobs.Failure{Code: "x", Message: "y"}
		}
		var state jobs.State
		state, err = h.f.End(ctx, fence, e)
		r.word = string(state)
	case "cancel":
		_, err = h.f.RequestCancel(ctx, id, jobs.Principal{Email: "a@example.edu"})
	case "lose", "wait", "forget":
		r.n, err = h.force(ctx, c.verb, id)
	}
	switch {
	case errors.Is(err, jobs.ErrFenced):
		r.word = "fenced"
	case errors.Is(err, jobs.ErrCancelRequested):
		r.word = "too late"
	case errors.Is(err, jobs.ErrFinal):
		r.word = "final"
	case err != nil:
		r.word = err.Error() // which no order explains
	}
	return map[int]reply{c.job: r}
}

func (h *history) dispatch(ctx context.Context) map[int]reply {
	replies := make(map[int]reply)
	for i := range h.jobs {
		replies[i] = reply{}
	}
	tickets, _, err := h.f.Dispatch(ctx, jobs.DispatchRules{ProjectSlots: 1, MaxFailures: jobs.MaxFailures})
	for i, id := range h.jobs {
		for _, t := range tickets {
			if t.Job == id {
				replies[i] = reply{n: t.Dispatch}
			}
		}
		if err != nil {
			replies[i] = reply{word: err.Error()}
		}
	}
	return replies
}

// force lets a minute pass for one job (a pass that waited for its lock has an
// older clock); it answers whether that made a difference.
func (h *history) force(ctx context.Context, verb, id string) (int, error) {
	sql := map[string]string{
		"lose":   `lease_until = now() - interval '1 minute' where id = $1 and state = 'running'`,
		"wait":   `next_at = now() - interval '1 minute' where id = $1 and state = 'queued' and next_at is not null`,
		"forget": `dispatched_at = now() - interval '1 minute' where id = $1 and state = 'queued' and dispatched_at is not null`,
	}[verb]
	h.mu.Lock() // the fixture has one connection
	defer h.mu.Unlock()
	tag, err := h.f.db.Exec(ctx, `update bulkexport.jobs set `+sql, id)
	return int(tag.RowsAffected()), err
}

// learn keeps what the others may use; the caller holds the lock.
func (h *history) learn(c call, r reply) {
	k := h.known[h.jobs[c.job]]
	switch {
	case c.verb == "dispatch":
		k.dispatch = max(k.dispatch, r.n)
	case c.verb == "claim" && r.n > 0:
		k.attempt = max(k.attempt, r.n)
		h.claims++
	case c.verb == "begin" && r.word == "":
		k.begun = true
	case c.verb == "end" && jobs.State(r.word).Final() && r.word != "fenced":
		h.ended++
	}
	h.known[h.jobs[c.job]] = k
}

// explain shows, for each job, the longest order that the model accepts, and
// the calls that ended first of those that it could not go on with.
func (h *history) explain(info porcupine.LinearizationInfo) string {
	var b strings.Builder
	show := func(op porcupine.Operation, state any) {
		fmt.Fprintf(&b, "%12d %12d  %+v -> %+v  %+v\n", op.Call, op.Return, op.Input, op.Output, state)
	}
	for job, orders := range info.PartialLinearizationsOperations() {
		longest := slices.MaxFunc(orders, func(x, y []porcupine.Operation) int { return len(x) - len(y) })
		state := rowModel.Init()
		for _, op := range longest {
			_, state = rowModel.Step(state, op.Input, op.Output)
			show(op, state)
		}
		rest := slices.DeleteFunc(rowModel.Partition(h.ops)[job], func(op porcupine.Operation) bool { return slices.Contains(longest, op) })
		slices.SortFunc(rest, func(x, y porcupine.Operation) int { return int(x.Return - y.Return) })
		for _, op := range rest[:min(len(rest), 5)] {
			show(op, "?")
		}
		fmt.Fprintln(&b)
	}
	return b.String()
}

// row is the model of a job row: the rules of docs/state-machine.md, one call
// at a time.
type row struct {
	state             jobs.State
	attempt, dispatch int
	bell              bell
	lost, cancel      bool // the lease ran out; a cancel was asked for
	backoff           wait
	failures          int
	fresh             bool // there is a checkpoint since the claim
	nonce             int  // of the upload: the attempt that began it
	cuts              int  // of that upload
}

type bell int

const (
	silent bell = iota // not dispatched
	rung               // just now
	faded              // so long ago that it may have been lost
)

// wait is a back-off.
type wait int

const (
	noWait wait = iota
	waiting
	waited
)

var rowModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := make([][]porcupine.Operation, jobsInHistory)
		for _, op := range history {
			job := op.Input.(call).job
			parts[job] = append(parts[job], op)
		}
		return parts
	},
	Init: func() any { return row{state: jobs.Queued} },
	Step: func(state, input, output any) (bool, any) {
		next, want := state.(row).step(input.(call))
		return want == output.(reply), next
	},
}

// step is what a call makes of the row, and its answer.
func (m row) step(c call) (row, reply) {
	switch c.verb {
	case "dispatch":
		return m.pass()
	case "claim":
		return m.claim(c.arg)
	case "cancel":
		if m.state.Final() {
			return m, reply{word: "final"}
		}
		m.cancel = true
		if m.state == jobs.Queued {
			m.state = jobs.Canceled
		}
		return m, reply{}
	case "lose":
		if m.state != jobs.Running {
			return m, reply{}
		}
		m.lost = true
		return m, reply{n: 1}
	case "wait":
		if m.state != jobs.Queued || m.backoff == noWait {
			return m, reply{}
		}
		m.backoff = waited
		return m, reply{n: 1}
	case "forget":
		if m.state != jobs.Queued || m.bell == silent {
			return m, reply{}
		}
		m.bell = faded
		return m, reply{n: 1}
	}
	if m.state != jobs.Running || m.attempt != c.arg {
		return m, reply{word: "fenced"}
	}
	return m.write(c)
}

func (m row) pass() (row, reply) {
	if m.state == jobs.Running && m.lost {
		if !m.fresh {
			m.failures++
		}
		m.state, m.bell = jobs.Queued, silent
		if m.failures >= jobs.MaxFailures {
			m.state = jobs.Failed
		}
		if m.cancel {
			m.state = jobs.Canceled
		}
	}
	if m.state != jobs.Queued || m.bell == rung || m.backoff == waiting {
		return m, reply{}
	}
	m.dispatch++
	m.bell = rung
	return m, reply{n: m.dispatch}
}

func (m row) claim(dispatch int) (row, reply) {
	if m.state != jobs.Queued || m.dispatch != dispatch || m.backoff == waiting {
		return m, reply{}
	}
	m.state, m.attempt, m.fresh, m.lost, m.backoff = jobs.Running, m.attempt+1, false, false, noWait
	r := reply{n: m.attempt}
	if m.cuts > 0 {
		r.word = fmt.Sprint(m.cuts)
	}
	return m, r
}

// write is a call of the attempt that has the job.
func (m row) write(c call) (row, reply) {
	switch c.verb {
	case "renew":
		m.lost = false
		if m.cancel {
			return m, reply{word: "cancel"}
		}
	case "begin":
		if m.nonce != c.arg {
			m.nonce, m.cuts = c.arg, 0
		}
	case "commit":
		m.cuts, m.failures, m.fresh = m.cuts+1, 0, true
	case "end":
		e := jobs.Ending{State: c.to}
		if c.bad {
			e.Failure = &jobs.Failure{}
		}
		settled, err := e.Settle(m.failures, m.cancel)
		if err != nil {
			return m, reply{word: "too late"}
		}
		m.state, m.failures, m.bell = settled.State, settled.Failures, silent
		if settled.Delay > 0 {
			m.backoff = waiting
		}
		return m, reply{word: string(m.state)}
	}
	return m, reply{}
}
