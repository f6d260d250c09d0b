package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
	"github.com/bulkexport/bulkexport/internal/worker"
)

// process is one life of a worker: the real loops over ports that lead into the
// world. All its fields below streams are guarded by the world's lock.
type process struct {
	w       *world
	id      string
	skew    time.Duration // of its clock
	slots   map[jobs.Lane]int
	stop    context.CancelFunc // SIGTERM
	killed  chan struct{}
	streams map[string]*stream // of its goroutines, by name

	handle    func(jobs.Ticket) // nil: takes no tickets
	dead      bool
	frozen    time.Time // SIGSTOP until then
	exporting map[jobs.Lane]int
	attempts  map[jobs.Fence]*attempt
}

// attempt is what the checks know of an attempt in a process.
type attempt struct {
	fenced  bool      // the process was told so
	allowed time.Time // of the current step: renewals must end then
}

const grace = 25 * time.Second

// start brings a worker to life.
func (w *world) start(name string, life int) *process {
	p := &process{
		w: w, id: fmt.Sprintf("%s.%d", name, life), killed: make(chan struct{}),
		streams: make(map[string]*stream), exporting: make(map[jobs.Lane]int), attempts: make(map[jobs.Fence]*attempt),
	}
	s := w.stream(p.id)
	p.skew = s.between(-time.Hour, time.Hour)
	p.slots = map[jobs.Lane]int{jobs.Large: 1 + s.IntN(2), jobs.Small: 1}
	log := slog.New(slog.DiscardHandler)
	board := boardPort{p}
	dispatcher := jobs.NewDispatcher(board, queuePort{p}, jobs.DispatchRules{ProjectSlots: w.projectSlots()}, jobs.Env{Log: log})
	runner := jobs.NewRunner(attemptsPort{p}, &exporter{p}, jobs.Env{
		Now: func() time.Time { return time.Now().Add(p.skew) }, Jitter: w.jitter, Log: log,
	}, jobs.RunnerOptions{Worker: p.id, Slots: p.slots, Retention: time.Hour, Freed: dispatcher.Kick})
	all := &worker.Worker{
		Status: jobs.WorkerStatus{ID: p.id, Slots: p.slots}, Board: board, Dispatcher: dispatcher, Runner: runner,
		Tickets: tickets{p}, Grace: grace, Log: log,
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	w.procs = append(w.procs, p)
	w.wg.Go(func() {
		err := all.Run(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		if running := p.exporting[jobs.Large] + p.exporting[jobs.Small]; err == nil && !p.dead && running > 0 {
			w.violated("3: %s went, and %d exports are running", p.id, running)
		}
		if err != nil {
			p.kill() // what did not end within the grace ends with the process
		}
	})
	return p
}

// stream gives each goroutine of the process its own random numbers.
func (p *process) stream(name string) *stream {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	s := p.streams[name]
	if s == nil {
		s = p.w.stream(p.id + "/" + name)
		p.streams[name] = s
	}
	return s
}

// kill is SIGKILL: nothing that the process does from now on has an effect.
// What it had sent is still on its way.
func (p *process) kill() {
	if p.dead {
		return
	}
	p.dead = true
	p.handle = nil
	close(p.killed)
	p.stop()
}

// errNoAnswer is a call that failed; its effect may have happened or not.
var errNoAnswer = jobs.Transient(jobs.CodeStore, "no answer", errors.New("no answer"))

var errKilled = errors.New("the process is dead")

// hold waits while the process is frozen; false if it is dead. The goroutines
// of a process that wakes up go on one after the other.
func (p *process) hold(s *stream) bool {
	for {
		p.w.mu.Lock()
		dead, wait := p.dead, time.Until(p.frozen)
		p.w.mu.Unlock()
		if dead {
			return false
		}
		if wait <= 0 {
			return true
		}
		select {
		case <-time.After(wait + s.between(0, time.Millisecond)):
		case <-p.killed:
		}
	}
}

// failure is what a call meets.
type failure int

const (
	none     failure = iota
	refused          // an error, without effect
	unheard          // silence, without effect
	lostAck          // an effect, and an error
	lateAck          // an effect, and silence
	straggle         // an effect, perhaps much later than the caller waits
)

// meet draws what a call meets. The caller holds the lock.
func (p *process) meet(s *stream, down bool) failure {
	if down {
		return refused
	}
	if p.w.isCalm() || !s.chance(callFaults) {
		return none
	}
	f := []failure{refused, refused, unheard, lostAck, lostAck, lateAck, straggle}[s.IntN(7)]
	p.w.fault([]string{"", "call refused", "call unheard", "answer lost", "answer never came", "call late"}[f])
	return f
}

// callFaults is the share of calls that fail while the world is troubled.
const callFaults = 2 // percent

// call carries a call into the world. A request that was sent arrives even if
// the caller has given up or died meanwhile; the caller hears of it only if it
// lives and still waits.
func call[T any](ctx context.Context, p *process, name string, down *bool, effect func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var zero T
	if ctx.Err() != nil {
		return zero, errors.Join(errNoAnswer, ctx.Err()) // nothing is sent
	}
	s := p.stream(name)
	if !p.hold(s) {
		return zero, errKilled
	}
	// What others do in this very instant comes first, whatever the scheduler.
	<-time.After(s.between(1, time.Microsecond))
	if ctx.Err() != nil {
		return zero, errors.Join(errNoAnswer, ctx.Err())
	}
	p.w.mu.Lock()
	f := p.meet(s, *down)
	there, back := s.between(time.Millisecond, 40*time.Millisecond), s.between(time.Millisecond, 10*time.Millisecond)
	if f == straggle {
		there = s.between(2*time.Second, time.Minute)
	}
	p.w.mu.Unlock()

	answers := make(chan answer, 1)
	switch f {
	case refused:
		time.AfterFunc(there, func() { answers <- answer{err: errNoAnswer} })
	case unheard:
	default:
		p.w.wg.Add(1)
		time.AfterFunc(there, func() {
			defer p.w.wg.Done()
			p.w.mu.Lock()
			defer p.w.mu.Unlock()
			v, err := effect()
			switch f {
			case lostAck:
				v, err = zero, errNoAnswer
			case lateAck:
				return
			}
			time.AfterFunc(back, func() { answers <- answer{v, err} })
		})
	}
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		a.err = errors.Join(errNoAnswer, ctx.Err())
	case <-p.killed:
	}
	if !p.hold(s) {
		return zero, errKilled
	}
	return a.value, a.err
}

// tickets is the process's end of the queue.
type tickets struct{ p *process }

func (t tickets) Start(handle func(jobs.Ticket)) error {
	t.p.w.mu.Lock()
	defer t.p.w.mu.Unlock()
	if !t.p.dead {
		t.p.handle = handle
	}
	return nil
}

func (t tickets) Stop() {
	t.p.w.mu.Lock()
	defer t.p.w.mu.Unlock()
	t.p.handle = nil
}

func (t tickets) Shutdown() {}
