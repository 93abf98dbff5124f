package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"coffer/internal/hostnet"
	"coffer/internal/isolation"
	"coffer/internal/textpages"

	"golang.org/x/sys/unix"
)

// FollowerRole is the argument with which the program executes itself as a follower: a
// process of the host's that tells a sentry what becomes of the network namespace that
// it serves, as engines connect running containers to further networks.
const FollowerRole = "network-follower"

// A follower's descriptors.
const (
	fdFollowed = 3 // the network namespace
	fdServing  = 4 // a pidfd of the sentry, with which the follower ends
)

// followPause is how long a change waits for others.
const followPause = 10 * time.Millisecond

// follow starts a follower for a sandbox's network namespace, in the container's cgroup.
func follow(c *isolation.Container, ns *os.File) error {
	if err := closeOnExec(); err != nil {
		return err
	}
	sentry, err := c.Init.Open()
	if err != nil {
		return err
	}
	defer sentry.Close()
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{"coffer", FollowerRole, c.ID, c.StateDir},
		Env:         []string{"GOMAXPROCS=1"},
		Dir:         "/",
		ExtraFiles:  []*os.File{ns, sentry},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := startIn(cmd, c.Cgroup, ""); err != nil {
		return fmt.Errorf("starting a follower: %w", err)
	}
	return cmd.Process.Release()
}

// Follow is a follower's main: its arguments are the container's ID and directory. It
// returns when the sentry has ended.
func Follow(args []string) int {
	if len(args) != 2 {
		return 125
	}
	id, dir := args[0], args[1]
	ns, sentry := os.NewFile(fdFollowed, "network namespace"), os.NewFile(fdServing, "sentry")
	changes, err := hostnet.Watch(ns)
	if err != nil {
		return 125
	}
	textpages.ReleaseLater()
	for {
		// The first time for what has changed since the sandbox was told last.
		if err := pass(ns, sentry, id, dir); errors.Is(err, errGone) || !await(changes, sentry) {
			return 0
		}
	}
}

// pass passes on what is in a namespace. What cannot be taken over is left alone. The
// error is errGone if the sentry has ended: nothing is taken over then, for whoever
// gives the namespace back waits for its end, and for the lock.
func pass(ns, sentry *os.File, id, dir string) error {
	lock, err := lockNetwork(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(sentry.Fd()), Events: unix.POLLIN}}, 0); n > 0 && err == nil {
		return errGone
	}
	taken, err := hostnet.TakeOver(ns, id, true)
	if err != nil {
		return err
	}
	defer taken.Close()
	for {
		// Its descriptors are only here: a sentry that is frozen gets them when that ends.
		err := tellNetwork(dir, id, taken)
		if errors.Is(err, errGone) {
			// The record says so, too; but perhaps nobody reads it any more.
			_ = hostnet.Release(ns, id)
		}
		if err == nil {
			return taken.Told()
		}
		if !errors.Is(err, errSilent) {
			return err
		}
	}
}

// lockNetwork locks what is taken over for a container against others who take over or
// give back, until the file is closed; the error is errGone if the container is no more,
// and os.ErrDeadlineExceeded if another one has the lock all the time.
func lockNetwork(dir string) (*os.File, error) {
	f, err := os.Open(filepath.Join(dir, recordName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errGone
	}
	if err != nil {
		return nil, fmt.Errorf("locking the container's network: %w", err)
	}
	for end := time.Now().Add(endPatience); ; time.Sleep(time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err == unix.EWOULDBLOCK && time.Now().After(end) {
			err = os.ErrDeadlineExceeded
		}
		if err != unix.EWOULDBLOCK {
			f.Close()
			return nil, fmt.Errorf("locking the container's network: %w", err)
		}
	}
}

// await waits until something has changed; false if the sentry has ended.
func await(changes *hostnet.Changes, sentry *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(sentry.Fd()), Events: unix.POLLIN}, {Fd: int32(changes.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || fds[0].Revents != 0:
			return false
		}
		// What comes within the pause, or while this is passed on, is passed on together: who advertises routes on the
		// link all the time does not keep us at work all the time.
		time.Sleep(followPause)
		changes.Drain()
		return true
	}
}
