package pgfault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

// What the server and the poolers before it say, and whether it passes.
func TestTransient(t *testing.T) {
	for _, c := range []struct {
		code, message string
		want          bool
	}{
		{"40001", "canceling statement due to conflict with recovery", true}, // on a replica
		{"40001", "terminating connection due to conflict with recovery", true},
		{"40P01", "canceling statement due to conflict with recovery", true}, // a deadlock with it
		{"57P04", "terminating connection due to conflict with recovery", true},
		{"40P01", "deadlock detected", true},
		{"57014", "canceling statement due to statement timeout", true},
		{"57P01", "terminating connection due to administrator command", true},
		{"57P02", "terminating connection because of crash of another server process", true},
		{"57P03", "the database system is starting up", true},
		{"57P03", "the database system is not accepting connections", true}, // a replica without hot standby yet
		{"53300", "sorry, too many clients already", true},
		{"53100", "could not write to file", true},
		{"53200", "out of memory", true},
		{"08006", "server closed the connection unexpectedly", true},
		{"08P01", "query_wait_timeout", true}, // pgbouncer
		{"08P01", "no more connections allowed (max_client_conn)", true},
		{"25006", "cannot execute INSERT in a read-only transaction", true},
		{"25P03", "terminating connection due to idle-in-transaction timeout", true},
		{"25P04", "terminating connection due to transaction timeout", true},
		{"55P03", "canceling statement due to lock timeout", true},
		{"72000", "snapshot too old", true},

		{"28P01", "password authentication failed", false},
		{"3D000", "database does not exist", false},
		{"42501", "permission denied for table documents", false},
		{"42P01", "relation does not exist", false},
		{"55000", "object is not in the required state", false},
		{"22P05", "untranslatable character", false},
		{"XX001", "missing chunk number 0 for toast value", false},
		{"", "", false},
	} {
		err := fmt.Errorf("read: %w", &pgconn.PgError{Code: c.code, Message: c.message})
		if got := Transient(err); got != c.want {
			t.Errorf("%s %s: %v", c.code, c.message, got)
		}
	}
	for err, want := range map[error]bool{
		io.ErrUnexpectedEOF: true, io.EOF: true, context.DeadlineExceeded: true,
		context.Canceled: false, errors.New("other"): false,
	} {
		if got := Transient(fmt.Errorf("read: %w", err)); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// A message may quote a row.
func TestBareSaysNoValue(t *testing.T) {
	err := Bare(fmt.Errorf("read: %w", &pgconn.PgError{Code: "22P02", Message: `invalid input: "secret"`, Detail: "secret", Routine: "json_in"}))
	if got := err.Error(); strings.Contains(got, "secret") || !strings.Contains(got, "22P02") || !strings.Contains(got, "json_in") {
		t.Error(got)
	}
}
