package stack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// InUseError tells that another devstack works on the same data folder.
type InUseError struct{ Dir, PID string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("another devstack (process %s) runs on %s: stop it first, or choose another folder with -data", e.PID, e.Dir)
}

// locks keep their files for as long as the process lives: one that nothing
// refers to is closed by the garbage collector, and the lock with it.
var locks sync.Map // data folder → *os.File

func lock(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(f.Name()) // without it the message says less
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return &InUseError{Dir: dir, PID: string(bytes.TrimSpace(pid))}
		}
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	locks.Store(dir, f)
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if _, err := f.WriteString(strconv.Itoa(os.Getpid()) + "\n"); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

func unlock(dir string) error {
	f, ok := locks.LoadAndDelete(dir)
	if !ok {
		return nil
	}
	return f.(*os.File).Close()
}
