package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"regexp"
	"strconv"
	"syscall"
)

// unprivileged makes cmd run as another user if this process is root, as whom
// Postgres refuses to run. It runs in the root folder, as a checkout may lie
// where that user has no business.
func unprivileged(cmd *exec.Cmd) error {
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if os.Geteuid() != 0 {
		return nil
	}
	cred, err := credential("postgres", "nobody")
	if err != nil {
		return err
	}
	cmd.SysProcAttr.Credential = cred
	if mayOverride() {
		cmd.SysProcAttr.AmbientCaps = []uintptr{capDACOverride}
	}
	return nil
}

// credential is that of the first user who exists.
func credential(names ...string) (*syscall.Credential, error) {
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("postgres does not run as root, and there is neither a user postgres nor nobody: run this as another user")
}

// capDACOverride lets the child reach a data folder below a private one, such
// as a checkout in root's home.
const capDACOverride = 1

var effective = regexp.MustCompile(`(?m)^CapEff:\s*([0-9a-f]+)$`)

// mayOverride tells whether this process has that capability to pass on; in
// containers root may be without it.
func mayOverride() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	m := effective.FindSubmatch(status)
	if m == nil {
		return false
	}
	caps, err := strconv.ParseUint(string(m[1]), 16, 64)
	return err == nil && caps&(1<<capDACOverride) != 0
}
