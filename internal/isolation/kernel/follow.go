package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

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
		if err := pass(ns, id, dir); errors.Is(err, errGone) {
			// The record says so, too; but perhaps it has been given back already.
			_ = hostnet.Release(ns, id)
			return 0
		}
		if !await(changes, sentry) {
			return 0
		}
	}
}

// pass passes on what is in a namespace. What cannot be taken over is left alone.
func pass(ns *os.File, id, dir string) error {
	taken, err := hostnet.TakeOver(ns, id, true)
	if err != nil {
		return err
	}
	defer taken.Close()
	for {
		// Its descriptors are only here: a sentry that is frozen gets them when that ends.
		if err := tellNetwork(dir, id, taken); !errors.Is(err, errSilent) {
			return err
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
		// What comes while this is passed on is passed on together.
		changes.Drain()
		return true
	}
}
