package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// What a scrape may cost: an answer serves all scrapes for so long, and nobody
// waits longer than the limit for a new one.
const (
	keepFor    = 5 * time.Second
	askLimit   = 3 * time.Second
	probeEvery = 5 * time.Second
)

// kept asks once in a while. A failure is an answer, too.
type kept[T any] struct {
	ask   func(context.Context) (T, error)
	every time.Duration

	mu    sync.Mutex
	at    time.Time
	value T
	err   error
}

func (k *kept[T]) get() (T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at.IsZero() || time.Since(k.at) > k.every {
		ctx, cancel := context.WithTimeout(context.Background(), askLimit)
		defer cancel()
		k.value, k.err = k.ask(ctx)
		k.at = time.Now()
	}
	return k.value, k.err
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

func gauge(to chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

// tables shows what the service's own tables say.
type tables struct {
	stats kept[jobs.Stats]
	log   *slog.Logger
}

// NewTables makes a collector of what the rows say. While they cannot be read
// there is nothing to show but that.
func NewTables(c jobs.Census, log *slog.Logger) prometheus.Collector {
	return &tables{kept[jobs.Stats]{ask: c.Stats, every: keepFor}, log}
}

var (
	tablesUp       = desc("tables_up", "1 while the service's tables can be counted, and so the gauges about them are shown.")
	jobsDesc       = desc("jobs", "Jobs that wait or run, and those that ended in the last 24 hours.", "state", "kind", "lane")
	failedDesc     = desc("jobs_failed", "Jobs that failed in the last 24 hours.", "code")
	waitingDesc    = desc("oldest_waiting_seconds", "How long the job has waited longest that could run: no back-off holds it, and its project has nothing running in the lane.", "lane")
	silenceDesc    = desc("longest_silence_seconds", "The longest time since a running attempt was heard of.")
	standstillDesc = desc("longest_standstill_seconds", "The longest time since an export that streams got any further.")
	lettersDesc    = desc("letters", "Letters that are due, and those that came to a bad end in the last 24 hours.", "state")
	undelivered    = desc("oldest_undelivered_seconds", "Age of the oldest letter that was tried in vain and will be tried again.")
	workersDesc    = desc("workers", "Workers seen within 15 seconds.")
	slotsDesc      = desc("worker_slots", "Slots of those workers.", "lane")
	filesDesc      = desc("files", "Files in the object store, by the rows: kept for people, or leaving and to be deleted.", "state")
	storedDesc     = desc("file_bytes", "Bytes of those files.", "state")
	overstayed     = desc("oldest_leaving_seconds", "How long the data is there that should be gone longest.")
	orphansDesc    = desc("orphans", "What the sweeper's last look found without a row: removed, or left because it was more than it removes by itself.", "what")
	absentDesc     = desc("absent_projects", "Projects gone from the platform for 7 days whose exports wait for an operator's word.")
)

// Describe implements prometheus.Collector.
func (t *tables) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		tablesUp, jobsDesc, failedDesc, waitingDesc, silenceDesc, standstillDesc, lettersDesc, undelivered, workersDesc, slotsDesc,
		filesDesc, storedDesc, overstayed, orphansDesc, absentDesc,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector. What there is none of is shown as 0,
// so that panels and alerts have something to compare with.
func (t *tables) Collect(to chan<- prometheus.Metric) {
	st, err := t.stats.get()
	if err != nil {
		t.log.Warn("tables not counted", "error", err)
		gauge(to, tablesUp, 0)
		return
	}
	gauge(to, tablesUp, 1)
	t.jobs(to, st)
	for _, c := range jobs.Codes {
		gauge(to, failedDesc, float64(st.Failed[c]), c)
	}
	for _, l := range lanes {
		gauge(to, waitingDesc, st.Waiting[jobs.Lane(l)].Seconds(), l)
		gauge(to, slotsDesc, float64(st.Slots[jobs.Lane(l)]), l)
	}
	gauge(to, silenceDesc, st.Silence.Seconds())
	gauge(to, standstillDesc, st.Standstill.Seconds())
	for _, s := range []jobs.LetterState{jobs.LetterDue, jobs.LetterRefused, jobs.LetterUnsure, jobs.LetterGivenUp} {
		gauge(to, lettersDesc, float64(st.Letters[s]), string(s))
	}
	gauge(to, undelivered, st.Undelivered.Seconds())
	gauge(to, workersDesc, float64(st.Workers))
	for state, h := range map[string]jobs.Holding{"kept": st.Kept, "leaving": st.Leaving} {
		gauge(to, filesDesc, float64(h.Files), state)
		gauge(to, storedDesc, float64(h.Bytes), state)
	}
	gauge(to, overstayed, st.Overstayed.Seconds())
	gauge(to, orphansDesc, float64(st.Orphans-st.OrphansLeft), "removed")
	gauge(to, orphansDesc, float64(st.OrphansLeft), "left")
	gauge(to, absentDesc, float64(st.AbsentProjects))
}

func (t *tables) jobs(to chan<- prometheus.Metric, st jobs.Stats) {
	n := map[jobs.JobCount]int64{}
	for _, c := range st.Jobs {
		n[jobs.JobCount{State: c.State, Kind: c.Kind, Lane: c.Lane}] = c.N
	}
	for _, s := range []jobs.State{jobs.Queued, jobs.Running, jobs.Succeeded, jobs.Failed, jobs.Canceled, jobs.Expired} {
		for _, k := range kinds {
			for _, l := range lanes {
				gauge(to, jobsDesc, float64(n[jobs.JobCount{State: s, Kind: jobs.Kind(k), Lane: jobs.Lane(l)}]), string(s), k, l)
			}
		}
	}
}

// queueGauges shows what the queue's Redis says.
type queueGauges struct{ load kept[jobs.QueueLoad] }

// NewQueue makes a collector of the queue.
func NewQueue(ask func(context.Context) (jobs.QueueLoad, error)) prometheus.Collector {
	return &queueGauges{kept[jobs.QueueLoad]{ask: ask, every: keepFor}}
}

var (
	tasksDesc  = desc("queue_tasks", "Tasks on the queue's Redis. They are doorbells: the rows are what waits.", "queue", "state")
	memoryDesc = desc("queue_memory_bytes", "Memory that the queue's Redis uses.")
	memoryMax  = desc("queue_memory_max_bytes", "Memory that it may use; 0 is no limit.")
)

// Describe implements prometheus.Collector.
func (q *queueGauges) Describe(to chan<- *prometheus.Desc) {
	to <- tasksDesc
	to <- memoryDesc
	to <- memoryMax
}

// Collect implements prometheus.Collector. A Redis that is away is told by up.
func (q *queueGauges) Collect(to chan<- prometheus.Metric) {
	load, err := q.load.get()
	if err != nil {
		return
	}
	for _, t := range load.Tasks {
		gauge(to, tasksDesc, float64(t.N), t.Queue, t.State)
	}
	gauge(to, memoryDesc, float64(load.Memory))
	gauge(to, memoryMax, float64(load.MemoryMax))
}

// Up makes a collector of which dependencies answer.
func (p *Probes) Up() prometheus.Collector {
	return &dependencies{kept[map[string]bool]{ask: func(ctx context.Context) (map[string]bool, error) {
		return p.answers(ctx), nil
	}, every: probeEvery}}
}

type dependencies struct{ up kept[map[string]bool] }

var upDesc = desc("up", "1 while a dependency answers.", "dependency")

// Describe implements prometheus.Collector.
func (d *dependencies) Describe(to chan<- *prometheus.Desc) { to <- upDesc }

// Collect implements prometheus.Collector.
func (d *dependencies) Collect(to chan<- prometheus.Metric) {
	up, _ := d.up.get()
	for name, ok := range up {
		v := 0.0
		if ok {
			v = 1
		}
		gauge(to, upDesc, v, name)
	}
}
