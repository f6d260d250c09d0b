// Package pgfault tells errors of Postgres apart: those that pass by
// themselves from those that do not. It is a leaf that the two adapters of
// Postgres share, so that they cannot disagree.
package pgfault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
)

// Transient reports whether the same call may well succeed a little later:
// the connection broke, the server is short of something, is being restarted,
// or has become read-only in a failover.
func Transient(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return transientState(pg.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

// transientState knows the classes of SQLSTATE (PostgreSQL, appendix A):
// connection, which includes all that pgbouncer says; rollback by contention,
// which includes a replica that cancels a statement to go on with its recovery;
// resources; operator intervention.
func transientState(code string) bool {
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "08", "40", "53", "57":
		return true
	}
	switch code {
	case
		"25006", // a write to a server that has become read-only
		"25P03", // idle in transaction for too long
		"25P04", // in a transaction for too long
		"55P03", // a lock was not to be had within lock_timeout
		"72000": // the snapshot is too old
		return true
	}
	return false
}

// Bare is err without anything that Postgres quotes from a row or a statement:
// details, hints and contexts may hold values, and some messages do too.
func Bare(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return fmt.Errorf("SQLSTATE %s (%s)", pg.Code, pg.Routine)
	}
	return err
}
