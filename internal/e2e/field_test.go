//go:build faultpoints

package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/bulkexport/bulkexport/internal/demodata"
	"github.com/bulkexport/bulkexport/internal/testenv"
)

// field is a service with projects of many rows and a source that is slow
// enough for a fault to hit an export.
type field struct {
	*service
	projects []string
	rows     int // of each project
	db       *pgx.Conn
	mu       sync.Mutex // guards db
}

func newField(t *testing.T, via func(*testenv.World), extra ...string) *field {
	t.Helper()
	w := testenv.New(t)
	f := sow(t, w, 2, *rows)
	slowSource(t, w)
	if via != nil {
		via(w)
	}
	env := append([]string{"FAULT_LEASE=" + lease.String(), "PROJECT_SLOTS=2", "LOG_LEVEL=INFO"}, extra...)
	f.service = start(t, w, 0, env...)
	return f
}

// sow fills a world with so many projects of so many rows each: hexadecimal
// digits of hashes, 1 KB a row, half of it after compression.
func sow(t *testing.T, w *testenv.World, projects, rows int) *field {
	t.Helper()
	f := &field{rows: rows, db: w.Admin(t)}
	for i := range projects {
		project := fmt.Sprintf("field-%d", i)
		f.projects = append(f.projects, project)
		_, err := f.db.Exec(t.Context(), `insert into "llm-convo-monitor" (convo_id, course_name, convo)
			select $1 || '-' || g, $1, json_build_object('messages', json_build_array(json_build_object('role', 'user', 'content',
				(select string_agg(md5($1 || g || '-' || k), '') from generate_series(1, 30) k))))
			from generate_series(1, $2) g`, project, rows)
		if err != nil {
			t.Fatal(err)
		}
		course := fmt.Sprintf(`{"course_owner":%q,"course_admins":[]}`, demodata.OwnerEmail)
		if err := w.Roles(t).HSet(t.Context(), "course_metadatas", project, course).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f *field) ask(i int) string {
	f.t.Helper()
	return f.create(f.projects[i%len(f.projects)], `{"kind":"conversations","fresh":true}`).ID
}

// query reads the one value of a statement.
func query[T any](f *field, sql string, args ...any) (v T) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.db.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		f.t.Fatal(err)
	}
	return v
}

// verify waits for an export and compares its file with the table.
func (f *field) verify(id string, o *outcome) job {
	f.t.Helper()
	j := f.patient(id)
	if j.State != "succeeded" {
		f.t.Errorf("%s ended as %s: %+v", id, j.State, j.Error)
		return j
	}
	seen, err := idsOf(f.download(id), j.Result.SHA256)
	if err != nil {
		f.t.Errorf("%s: %v", id, err)
	}
	for _, n := range seen {
		o.doubled += n - 1
	}
	o.lost += f.rows - len(seen)
	o.trials++
	if len(seen) != f.rows || o.doubled > 0 {
		f.t.Errorf("%s: %d rows of %d, %d doubled", id, len(seen), f.rows, o.doubled)
	}
	return j
}

// idsOf counts how often each id stands in a file, which must have that sum.
func idsOf(file []byte, sha string) (map[int64]int, error) {
	if sum := sha256.Sum256(file); hex.EncodeToString(sum[:]) != sha {
		return nil, errors.New("the file's sum is not the job's")
	}
	z, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	seen := make(map[int64]int)
	for d := json.NewDecoder(z); ; {
		var line struct{ ID int64 }
		if err := d.Decode(&line); err == io.EOF {
			return seen, nil
		} else if err != nil {
			return seen, err
		}
		seen[line.ID]++
	}
}

// patient waits as long as five failures and their back-off may take.
func (f *field) patient(id string) (j job) {
	f.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); ; {
		j = f.get(id)
		if j.State != "queued" && j.State != "running" && j.State != "canceling" {
			return j
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s does not end: %+v", id, j)
		}
		<-time.After(200 * time.Millisecond)
	}
}
