package api

import (
	"net/url"
	"time"

	"github.com/bulkexport/bulkexport/internal/jobs"
)

// Job is an export as the API shows it.
type Job struct {
	ID            string     `json:"id"`
	Project       string     `json:"project"`
	Kind          string     `json:"kind" enum:"conversations,documents"`
	From          *time.Time `json:"from" doc:"Rows created at or after this instant; null is unbounded"`
	To            *time.Time `json:"to" doc:"Rows created before this instant; null is unbounded"`
	State         string     `json:"state" enum:"queued,running,canceling,succeeded,failed,canceled,expired"`
	Phase         *string    `json:"phase" doc:"What a job that is not over is doing: waiting, retrying, planning, streaming, completing, verifying"`
	Attempt       int        `json:"attempt"`
	RequestedBy   string     `json:"requested_by"`
	CreatedAt     time.Time  `json:"created_at"`
	StartedAt     *time.Time `json:"started_at"`
	FinishedAt    *time.Time `json:"finished_at"`
	ExpiresAt     *time.Time `json:"expires_at" doc:"When the file will be deleted"`
	NextAt        *time.Time `json:"next_at,omitempty" doc:"When a retrying job goes on"`
	QueuePosition *int       `json:"queue_position" doc:"1 is next; null unless queued"`
	Progress      Progress   `json:"progress"`
	Result        *Result    `json:"result" doc:"Only when succeeded"`
	Error         *Failure   `json:"error" doc:"Only when failed"`
	Attempts      []Attempt  `json:"attempts,omitempty" doc:"The last fifty, oldest first; not in lists"`
	Links         Links      `json:"links"`
}

// Progress is how far a job is.
type Progress struct {
	Rows          int64      `json:"rows"`
	RowsTotal     *int64     `json:"rows_total" doc:"null until the plan is made"`
	Percent       *float64   `json:"percent"`
	BytesRaw      int64      `json:"bytes_raw"`
	BytesStored   int64      `json:"bytes_stored"`
	RowsPerSecond float64    `json:"rows_per_second"`
	ETASeconds    *int64     `json:"eta_seconds"`
	UpdatedAt     *time.Time `json:"updated_at"`
}

// Result describes the file.
type Result struct {
	_           struct{} `nullable:"true"`
	Filename    string   `json:"filename"`
	Rows        int64    `json:"rows"`
	Bytes       int64    `json:"bytes" doc:"Size of the file"`
	BytesRaw    int64    `json:"bytes_raw" doc:"Size of its lines"`
	SHA256      string   `json:"sha256" doc:"Of the file, hexadecimal"`
	ContextsCut int64    `json:"contexts_cut" doc:"Contexts left out beyond the 80th of an assistant message"`
	Skipped     int64    `json:"skipped" doc:"Rows that could not be read"`
	SkippedRows []Row    `json:"skipped_rows" doc:"The first hundred of them"`
	Deleted     int64    `json:"deleted" doc:"Rows that were deleted while the export was running"`
	Appeared    int64    `json:"appeared" doc:"Rows that came in among the others while it was running"`
	DownloadURL string   `json:"download_url" doc:"Permanent address; asks who you are"`
}

// Row is one that could not be read, and the class of error it met.
type Row struct {
	ID     int64  `json:"id"`
	Reason string `json:"reason" enum:"invalid_value,too_large,damaged"`
}

// Failure says why a job failed.
type Failure struct {
	_         struct{} `nullable:"true"`
	Code      string   `json:"code"`
	Message   string   `json:"message"`
	Retryable bool     `json:"retryable" doc:"Whether asking for the export again may help"`
}

// Attempt is one run of a job on a worker. There are several when a worker was
// lost or stopped, or a dependency failed.
type Attempt struct {
	Attempt         int        `json:"attempt"`
	Worker          string     `json:"worker"`
	StartedAt       time.Time  `json:"started_at"`
	EndedAt         *time.Time `json:"ended_at"`
	DurationSeconds *float64   `json:"duration_seconds" doc:"null while it runs"`
	Outcome         string     `json:"outcome" enum:"running,succeeded,failed,canceled,retried,drained,lost"`
	Rows            int64      `json:"rows" doc:"Rows in the file when it ended, with those of earlier attempts"`
	Code            string     `json:"code,omitempty" doc:"Of the error that ended it"`
	Message         string     `json:"message,omitempty"`
}

// Links are the job's addresses.
type Links struct {
	Self     string `json:"self"`
	Download string `json:"download"`
	Manifest string `json:"manifest"`
	Page     string `json:"page" doc:"For people, in a browser"`
}

// show turns a job into what the API says about it.
func (s *server) show(j jobs.Job) Job {
	self := s.cfg.PublicURL + "/v1/exports/" + url.PathEscape(j.ID)
	v := Job{
		ID: j.ID, Project: j.Project, Kind: string(j.Kind), From: j.From, To: j.To,
		State: string(j.State), Attempt: j.Attempt, RequestedBy: j.RequestedBy,
		CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt, ExpiresAt: j.ExpiresAt, NextAt: j.NextAt,
		QueuePosition: j.QueuePosition, Progress: progress(j),
		Links: Links{Self: self, Download: self + "/download", Manifest: self + "/manifest", Page: s.cfg.PublicURL + "/exports/" + url.PathEscape(j.ID)},
	}
	if j.Canceling() {
		v.State = "canceling"
	}
	if !j.State.Final() {
		phase := string(j.Phase)
		v.Phase = &phase
	}
	if j.State == jobs.Succeeded && j.Result != nil {
		v.Result = &Result{
			Filename: j.Result.Filename, Rows: j.Result.Rows, Bytes: j.Result.Bytes, BytesRaw: j.Result.BytesRaw,
			SHA256: j.Result.SHA256, ContextsCut: j.Result.ContextsCut, DownloadURL: v.Links.Download,
			Skipped: j.Result.Skipped, SkippedRows: make([]Row, len(j.Result.SkippedRows)),
			Deleted: j.Result.Deleted, Appeared: j.Result.Appeared,
		}
		for i, row := range j.Result.SkippedRows {
			v.Result.SkippedRows[i] = Row(row)
		}
	}
	for _, a := range j.Attempts {
		v.Attempts = append(v.Attempts, attempt(j, a))
	}
	if j.State == jobs.Failed && j.Failure != nil {
		v.Error = &Failure{Code: j.Failure.Code, Message: j.Failure.Message, Retryable: j.Failure.Retryable}
	}
	return v
}

func attempt(j jobs.Job, a jobs.Attempt) Attempt {
	v := Attempt{
		Attempt: a.Number, Worker: a.Worker, StartedAt: a.StartedAt.UTC(), Outcome: a.Outcome,
		Rows: a.Rows, Code: a.Code, Message: a.Message,
	}
	if a.EndedAt == nil {
		v.Outcome, v.Rows = "running", j.Progress.Rows
		return v
	}
	ended, seconds := a.EndedAt.UTC(), a.EndedAt.Sub(a.StartedAt).Seconds()
	v.EndedAt, v.DurationSeconds = &ended, &seconds
	return v
}

func progress(j jobs.Job) Progress {
	p := j.Progress
	v := Progress{
		Rows: p.Rows, RowsTotal: p.RowsTotal, BytesRaw: p.BytesRaw, BytesStored: p.BytesStored,
		RowsPerSecond: p.RowsPerSecond, UpdatedAt: p.UpdatedAt,
	}
	switch {
	case j.State == jobs.Succeeded || j.State == jobs.Expired:
		v.Percent = percent(1, 1)
	case p.RowsTotal != nil:
		v.Percent = percent(p.Rows, *p.RowsTotal)
	}
	if eta, ok := p.ETA(); ok && !j.State.Final() {
		seconds := int64(eta.Round(time.Second).Seconds())
		v.ETASeconds = &seconds
	}
	return v
}

// percent never says 100 before the end.
func percent(n, of int64) *float64 {
	if of == 0 {
		return nil
	}
	v := min(float64(n*1000/of)/10, 100)
	return &v
}
