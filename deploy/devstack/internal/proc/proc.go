// Package proc runs child processes that end with their parent, whatever ends it.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// Options of a child.
type Options struct {
	Name   string
	Log    string         // file that takes its output
	Signal syscall.Signal // asks it to end
	Grace  time.Duration  // how long it may take over that
	// Failed, if set, is told when the child ends without having been asked.
	Failed func(error)
}

// Child is a running process.
type Child struct {
	opts    Options
	cmd     *exec.Cmd
	stopped atomic.Bool
	done    chan struct{} // closed when it has ended
}

// Start runs cmd. The log of its run before stays beside the new one.
func Start(cmd *exec.Cmd, o Options) (*Child, error) {
	out, err := openLog(o.Log)
	if err != nil {
		return nil, fmt.Errorf("log of %s: %w", o.Name, err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A group of its own, or Ctrl-C would end the database before its clients.
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	c := &Child{opts: o, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go c.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	return c, nil
}

// run keeps its thread until the child has ended: the death signal follows the
// thread that forked, not the process.
func (c *Child) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	_ = c.cmd.Wait() // Err tells from the state
	close(c.done)
	if !c.stopped.Load() && c.opts.Failed != nil {
		c.opts.Failed(c.Err())
	}
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Rename(path, path+".old"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// Done is closed when the process has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// PID is the process's number.
func (c *Child) PID() int { return c.cmd.Process.Pid }

// Stop asks the process to end, and ends it after its grace.
func (c *Child) Stop() error {
	c.stopped.Store(true)
	if err := c.cmd.Process.Signal(c.opts.Signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", c.opts.Name, err)
	}
	timer := time.NewTimer(c.opts.Grace)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
	}
	_ = c.cmd.Process.Kill() // it may have ended this moment
	<-c.done
	return fmt.Errorf("%s did not end within %v and was killed; its log is %s", c.opts.Name, c.opts.Grace, c.opts.Log)
}

// Err describes how a process ended by itself, with the end of its log.
func (c *Child) Err() error {
	return fmt.Errorf("%s ended unexpectedly (%v); the end of %s:\n\n%s", c.opts.Name, c.cmd.ProcessState, c.opts.Log, c.tail())
}

// tailLines is how much of a log a message quotes.
const tailLines = 20

func (c *Child) tail() []byte {
	b, err := os.ReadFile(c.opts.Log)
	if err != nil {
		return []byte(err.Error())
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-tailLines):], []byte("\n"))
}
