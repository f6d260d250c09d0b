package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/store"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// TestTableIsTheStore does the same to the stand-in and to the store on real
// Postgres, in random sequences, and compares every answer: what the simulator
// shows of the one can be believed of the other.
func TestTableIsTheStore(t *testing.T) {
	t.Parallel()
	w := testenv.New(t)
	real, err := store.Open(t.Context(), w.DatabaseURL, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(real.Close)
	if err := real.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := w.Admin(t)
	rapid.Check(t, func(t *rapid.T) {
		if _, err := db.Exec(context.Background(), `truncate bulkexport.jobs, bulkexport.workers, bulkexport.pauses cascade`); err != nil {
			t.Fatal(err)
		}
		p := &pair{Store: real, db: db, table: newWorld(0).table}
		t.Repeat(map[string]func(*rapid.T){
			"create": p.create, "heartbeat": p.heartbeat, "dispatch": p.dispatch, "claim": p.claim,
			"renew": p.renew, "begin": p.begin, "commit": p.commit, "end": p.end, "cancel": p.cancel, "time": p.time,
			"serve": p.serve, "ahead": p.ahead, "pause": p.pause,
		})
	})
}

// pair is a store and its stand-in.
type pair struct {
	*store.Store
	db    *pgx.Conn
	table *table
}

// same fails unless both answered alike.
func same(t *rapid.T, what string, real, standIn any) {
	t.Helper()
	if a, b := fmt.Sprint(real), fmt.Sprint(standIn); a != b {
		t.Fatalf("%s: the store answers %s, the stand-in %s", what, a, b)
	}
}

// kind names an error of the domain.
func kind(err error) string {
	for _, e := range []error{jobs.ErrFenced, jobs.ErrCancelRequested, jobs.ErrFinal} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return fmt.Sprint(err)
}

// any draws a job; a test without one goes on to another action.
func (p *pair) any(t *rapid.T) *row {
	if len(p.table.rows) == 0 {
		t.Skip("no job yet")
	}
	return rapid.SampledFrom(p.table.rows).Draw(t, "job")
}

// fence draws the attempt of a job, or one that was given up.
func (p *pair) fence(t *rapid.T) (*row, jobs.Fence) {
	r := p.any(t)
	return r, jobs.Fence{Job: r.id, Attempt: r.attempt - max(0, rapid.IntRange(-3, 1).Draw(t, "late"))}
}

func (p *pair) create(t *rapid.T) {
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	r := &row{
		id: id.String(), project: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "project"),
		lane: rapid.SampledFrom([]jobs.Lane{jobs.Large, jobs.Large, jobs.Small}).Draw(t, "lane"),
	}
	_, err = p.Create(context.Background(), jobs.NewJob{
		ID: r.id, Spec: jobs.Spec{Project: r.project, Kind: jobs.Documents}, Lane: r.lane, RequestedBy: "x", Notify: []string{}, Fresh: true, QueueMax: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	p.table.create(r)
}

func (p *pair) heartbeat(t *rapid.T) {
	s := jobs.WorkerStatus{ID: rapid.SampledFrom([]string{"v", "w"}).Draw(t, "worker"), Slots: map[jobs.Lane]int{
		jobs.Large: rapid.IntRange(0, 3).Draw(t, "large"), jobs.Small: rapid.IntRange(0, 2).Draw(t, "small")}}
	if err := p.Heartbeat(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	p.table.heartbeat(s)
}

// serve lets what waits be claimed, so that sequences get deep.
func (p *pair) serve(t *rapid.T) {
	p.create(t)
	s := jobs.WorkerStatus{ID: "v", Slots: map[jobs.Lane]int{jobs.Large: 9, jobs.Small: 9}}
	if err := p.Heartbeat(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	p.table.heartbeat(s)
	p.dispatch(t)
	for _, r := range p.table.rows {
		if r.state == jobs.Queued {
			p.claimAt(t, r, r.dispatch)
		}
	}
}

func (p *pair) dispatch(t *rapid.T) {
	rules := jobs.DispatchRules{ProjectSlots: rapid.IntRange(1, 2).Draw(t, "project slots"), MaxFailures: jobs.MaxFailures}
	real, _, err := p.Dispatch(context.Background(), rules)
	if err != nil {
		t.Fatal(err)
	}
	standIn := p.table.pass(rules)
	for _, tickets := range [][]jobs.Ticket{real, standIn} {
		slices.SortFunc(tickets, func(a, b jobs.Ticket) int { return cmp.Compare(a.Job, b.Job) })
	}
	same(t, "dispatch", real, standIn)
	for _, r := range p.table.rows {
		j, err := p.Get(context.Background(), r.id)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "the row", []any{j.State, j.Attempt, j.Failures, j.Dispatch, j.Canceling()},
			[]any{r.state, r.attempt, r.failures, r.dispatch, !r.cancelAt.IsZero() && !r.state.Final()})
	}
}

func (p *pair) claim(t *rapid.T) {
	r := p.any(t)
	p.claimAt(t, r, r.dispatch-max(0, rapid.IntRange(-3, 1).Draw(t, "late")))
}

func (p *pair) claimAt(t *rapid.T, r *row, dispatch int) {
	ticket := jobs.Ticket{Job: r.id, Dispatch: dispatch, Lane: r.lane}
	real, ok, err := p.Claim(context.Background(), ticket, "w", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	standIn, claimed := p.table.claim(ticket, "w", time.Hour)
	told := func(c jobs.Claim, ok bool) string {
		resume, abandoned := "none", "none"
		if c.Resume != nil {
			resume = fmt.Sprint(c.Resume.Upload, c.Resume.Cut.Rows, len(c.Resume.Cut.Parts), c.Resume.Cut.Final)
		}
		if c.Abandoned != nil {
			abandoned = fmt.Sprint(*c.Abandoned)
		}
		return fmt.Sprint(ok, c.Fence, c.Job.Failures, " resumes ", resume, " abandons ", abandoned)
	}
	same(t, "claim", told(real, ok), told(standIn, claimed))
}

func (p *pair) renew(t *rapid.T) {
	_, f := p.fence(t)
	b := jobs.Beat{Lease: time.Hour, Phase: jobs.Streaming}
	real, err := p.Renew(context.Background(), f, b)
	standIn, other := p.table.renew(f, b)
	same(t, "renew", []any{real, kind(err)}, []any{standIn, kind(other)})
}

func (p *pair) begin(t *rapid.T) {
	_, f := p.fence(t)
	u := jobs.Upload{Nonce: rapid.SampledFrom([]string{"m", "n"}).Draw(t, "nonce"), Key: "k", ID: "u"}
	same(t, "begin", kind(p.BeginUpload(context.Background(), f, u)), kind(p.table.beginUpload(f, u)))
}

func (p *pair) commit(t *rapid.T) {
	r, f := p.fence(t)
	if r.upload == nil {
		t.Skip("nothing is uploaded yet")
	}
	c := jobs.Cut{Version: jobs.CutVersion, Rows: rapid.Int64Range(1, 9).Draw(t, "rows"), Parts: make([]jobs.Part, 2), Final: rapid.Bool().Draw(t, "final")}
	same(t, "commit", kind(p.Commit(context.Background(), f, c)), kind(p.table.commit(f, c)))
}

func (p *pair) end(t *rapid.T) {
	r, f := p.fence(t)
	e := jobs.Ending{State: rapid.SampledFrom([]jobs.State{jobs.Queued, jobs.Queued, jobs.Queued, jobs.Succeeded, jobs.Failed, jobs.Canceled}).Draw(t, "state")}
	switch {
	case e.State == jobs.Succeeded && r.upload == nil:
		t.Skip("nothing is uploaded yet")
	case e.State == jobs.Succeeded:
		e.Result = &jobs.Result{Filename: "f", SHA256: "00", SHA256Raw: "00"}
	case e.State == jobs.Failed, e.State == jobs.Queued && rapid.Bool().Draw(t, "failure"):
		e.Failure = &jobs.Failure{Code: jobs.CodeRefused, Message: "m"}
	}
	real, err := p.End(context.Background(), f, e)
	standIn, other := p.table.end(f, e)
	same(t, "end", []any{real, kind(err)}, []any{standIn, kind(other)})
}

func (p *pair) cancel(t *rapid.T) {
	r := p.any(t)
	final := r.state.Final()
	_, err := p.RequestCancel(context.Background(), r.id, jobs.Principal{Email: "x"})
	if final != errors.Is(err, jobs.ErrFinal) || !final && err != nil {
		t.Fatalf("cancel of a job that is %s: %v", r.state, err)
	}
	p.table.requestCancel(r.id)
}

func (p *pair) ahead(t *rapid.T) {
	r := p.any(t)
	err := p.MoveAhead(context.Background(), r.id, jobs.Principal{Email: "x"})
	if waits := r.state == jobs.Queued; waits != (err == nil) || !waits && !errors.Is(err, jobs.ErrFinal) {
		t.Fatalf("a job that is %s is moved ahead: %v", r.state, err)
	}
	r.ahead = r.ahead || r.state == jobs.Queued
}

// pause pauses a project, or all, or lets it go on.
func (p *pair) pause(t *rapid.T) {
	project := rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "project")
	do := p.Pause
	if p.table.paused[project] {
		do = p.Resume
	}
	if err := do(context.Background(), project, jobs.Principal{Email: "x"}); err != nil {
		t.Fatal(err)
	}
	p.table.paused[project] = !p.table.paused[project]
}

// time lets a minute pass for one job.
func (p *pair) time(t *rapid.T) {
	r := p.any(t)
	ago := time.Now().Add(-time.Minute)
	column := rapid.SampledFrom([]string{"lease_until", "next_at", "dispatched_at"}).Draw(t, "clock")
	if _, err := p.db.Exec(context.Background(), `update bulkexport.jobs set `+column+` = now() - interval '1 minute'
		where id = $1 and `+column+` is not null and state in ('queued', 'running')`, r.id); err != nil {
		t.Fatal(err)
	}
	switch {
	case column == "lease_until" && r.state == jobs.Running:
		r.leaseUntil = ago
	case column == "next_at" && r.state == jobs.Queued && !r.nextAt.IsZero():
		r.nextAt = ago
	case column == "dispatched_at" && !r.dispatchedAt.IsZero() && !r.state.Final():
		r.dispatchedAt = ago
	}
}
