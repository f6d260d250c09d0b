package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// usage is what one run took.
type usage struct {
	wall     float64 // s, from the start of the processes to the end of the last
	cpu      float64 // s, of the contender, Postgres and the store together
	postgres float64 // s, the part of Postgres
	peak     int64   // bytes, the sum of the peaks of the contender's own processes
}

// meter reads the CPU time of the stack's process tree from /proc: Postgres, the
// store, this program and all that they have started. A process that ended
// counts on in the time of the children of whoever waited for it, as the
// postmaster does for its backends; so the sum over those that live misses
// nobody, whether the work was done by a child, a backend or the store. The
// rusage of the children would miss the servers, and /proc/stat would count
// whatever else the machine does. What stays out is the kernel's own threads
// that write files back.
type meter struct {
	admin      *pgx.Conn
	postmaster int
	root       int // whose children Postgres and the store are
}

// clockTicks a second is what Linux counts in for /proc, on every machine.
const clockTicks = 100

func newMeter(ctx context.Context, admin *pgx.Conn) (*meter, error) {
	m := &meter{admin: admin}
	var backend int
	if err := admin.QueryRow(ctx, `select pg_backend_pid()`).Scan(&backend); err != nil {
		return nil, err
	}
	all, err := processes()
	if err != nil {
		return nil, err
	}
	m.postmaster = all[backend].parent
	m.root = all[m.postmaster].parent
	if m.root == 0 || !all.below(os.Getpid(), m.root) {
		return nil, errors.New("the stack that has started Postgres has not started this program: run it as `make bench`")
	}
	return m, nil
}

// process is a line of /proc/PID/stat.
type process struct {
	parent int
	ticks  int64 // its own and those of the children it has waited for
}

type processTable map[int]process

func processes() (processTable, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := processTable{}
	for _, name := range files {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended this moment
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil {
			return nil, err
		}
		if all[pid], err = parseStat(string(stat)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

// parseStat reads what follows the program's name, which may hold anything.
func parseStat(stat string) (p process, err error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return p, errors.New("too few fields")
	}
	if p.parent, err = strconv.Atoi(fields[1]); err != nil {
		return p, err
	}
	for _, field := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return p, err
		}
		p.ticks += n
	}
	return p, nil
}

// below tells whether pid is root or descends from it.
func (t processTable) below(pid, root int) bool {
	for ; pid > 0; pid = t[pid].parent {
		if pid == root {
			return true
		}
	}
	return false
}

// seconds is the CPU time of the tree below root.
func (t processTable) seconds(root int) float64 {
	var ticks int64
	for pid, p := range t {
		if t.below(pid, root) {
			ticks += p.ticks
		}
	}
	return float64(ticks) / clockTicks
}

// run runs the processes of a contender to their end. What they share is closed
// here as soon as they have it.
func (m *meter) run(ctx context.Context, cmds []*exec.Cmd, shared ...io.Closer) (u usage, err error) {
	// Bytes that the run before left to be written would be written during this.
	syscall.Sync()
	before, err := processes()
	if err != nil {
		return u, err
	}
	began := time.Now()
	for i, cmd := range cmds {
		if err := cmd.Start(); err != nil {
			return u, errors.Join(err, abandon(cmds[:i]))
		}
	}
	for _, c := range shared {
		if err := c.Close(); err != nil {
			return u, errors.Join(err, abandon(cmds))
		}
	}
	peaks := watchPeaks(cmds)
	errs := make([]error, len(cmds))
	for i, cmd := range cmds {
		if errs[i] = cmd.Wait(); errs[i] != nil {
			errs[i] = fmt.Errorf("%s: %w", filepath.Base(cmd.Path), errs[i])
		}
	}
	u.wall = time.Since(began).Seconds()
	u.peak = peaks()
	if err := errors.Join(errs...); err != nil {
		return u, err
	}
	if err := m.settle(ctx); err != nil {
		return u, err
	}
	after, err := processes()
	u.cpu = after.seconds(m.root) - before.seconds(m.root)
	u.postgres = after.seconds(m.postmaster) - before.seconds(m.postmaster)
	return u, err
}

// abandon ends those that have started when another could not.
func abandon(cmds []*exec.Cmd) error {
	for _, cmd := range cmds {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		_ = cmd.Wait() // it was killed
	}
	return nil
}

// settle waits for the backends of a contender that has ended.
func (m *meter) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		var busy bool
		err := m.admin.QueryRow(ctx, `select exists (select from pg_stat_activity
			where backend_type in ('client backend', 'parallel worker') and pid <> pg_backend_pid())`).Scan(&busy)
		if err != nil {
			return fmt.Errorf("wait for the contender's backends to end: %w", err)
		}
		if !busy {
			return nil
		}
		time.Sleep(pollEvery)
	}
}

// pollEvery is short against a run, and long enough to cost it nothing.
const pollEvery = 20 * time.Millisecond

// watchPeaks follows the peak memory of each process until the function that
// it returns is called, which sums them up. The kernel keeps the peak itself
// (VmHWM), so that little is missed between two looks; ru_maxrss would begin
// with the memory of this program, from which the process was forked.
func watchPeaks(cmds []*exec.Cmd) (sum func() int64) {
	done := make(chan struct{})
	peaks := make([]int64, len(cmds))
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			for i, cmd := range cmds {
				peaks[i] = max(peaks[i], peakOf(cmd.Process.Pid))
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() (total int64) {
		close(done)
		wg.Wait()
		for _, p := range peaks {
			total += p
		}
		return total
	}
}

// peakOf is 0 for a process that has ended.
func peakOf(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
