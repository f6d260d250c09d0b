package client

import (
	"bytes"
	"encoding/json"
	"time"
)

// Job is an export, as the API shows it.
type Job struct {
	ID            string     `json:"id"`
	Project       string     `json:"project"`
	Kind          string     `json:"kind"`
	From          *time.Time `json:"from"`
	To            *time.Time `json:"to"`
	State         string     `json:"state"`
	Phase         string     `json:"phase"`
	Attempt       int        `json:"attempt"`
	RequestedBy   string     `json:"requested_by"`
	CreatedAt     time.Time  `json:"created_at"`
	StartedAt     *time.Time `json:"started_at"`
	FinishedAt    *time.Time `json:"finished_at"`
	ExpiresAt     *time.Time `json:"expires_at"`
	NextAt        *time.Time `json:"next_at"` // of one that waits to be tried again
	QueuePosition *int       `json:"queue_position"`
	Progress      Progress   `json:"progress"`
	Result        *Result    `json:"result"` // only when succeeded
	Error         *Failure   `json:"error"`  // only when failed

	// JSON is the job as it came, fields that this program does not know included.
	JSON json.RawMessage `json:"-"`
}

// Progress is how far a job is.
type Progress struct {
	Rows          int64   `json:"rows"`
	RowsTotal     *int64  `json:"rows_total"` // nil until the plan is made
	RowsPerSecond float64 `json:"rows_per_second"`
	ETASeconds    *int64  `json:"eta_seconds"`
}

// Result describes the file. Sums are hexadecimal.
type Result struct {
	Filename    string `json:"filename"`
	Rows        int64  `json:"rows"`
	Bytes       int64  `json:"bytes"`     // of the file
	BytesRaw    int64  `json:"bytes_raw"` // of its lines
	SHA256      string `json:"sha256"`    // of the file
	Skipped     int64  `json:"skipped"`   // rows that could not be read
	ContextsCut int64  `json:"contexts_cut"`
}

// Failure says why a job failed.
type Failure struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

// The states that a caller may have to tell apart.
const (
	Succeeded = "succeeded"
	Failed    = "failed"
	Canceled  = "canceled"
	Expired   = "expired"
)

// Final reports whether the export is over.
func (j *Job) Final() bool {
	return j.State == Succeeded || j.State == Failed || j.State == Canceled || j.State == Expired
}

// UnmarshalJSON implements json.Unmarshaler.
func (j *Job) UnmarshalJSON(b []byte) error {
	type plain Job
	*j = Job{}
	if err := json.Unmarshal(b, (*plain)(j)); err != nil {
		return err
	}
	j.JSON = bytes.Clone(b)
	return nil
}
