package kernel

import (
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/auth"

	"golang.org/x/sys/unix"
)

// WaitSignal takes a pending signal of the set, or waits for one
// (rt_sigtimedwait(2)). A negative timeout never passes. EAGAIN when it has
// passed; EINTR if a handler of another signal is to run.
func (t *Task) WaitSignal(set abi.SignalSet, timeout time.Duration) (abi.Siginfo, error) {
	set &^= unblockable
	g := t.group
	g.mu.Lock()
	info, ok := t.takeLocked(set)
	if ok || timeout == 0 {
		g.mu.Unlock()
		if !ok {
			return info, unix.EAGAIN
		}
		return info, nil
	}
	// As on Linux the set is unblocked while waiting, so that the signals
	// wake this thread; whoever sends one sees waitingFor and does not
	// treat it as ignored.
	t.waitingFor = set
	g.mu.Unlock()
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	err := t.Block(nil, deadline)
	g.mu.Lock()
	defer g.mu.Unlock()
	t.waitingFor = 0
	if info, ok := t.takeLocked(set); ok {
		return info, nil
	}
	if err == unix.ETIMEDOUT {
		return info, unix.EAGAIN
	}
	return info, unix.EINTR
}

// MaySignal says whether the task may send a signal to g (kill(2)): EPERM.
func (t *Task) MaySignal(g *ThreadGroup, sig int32) error {
	if g == t.group {
		return nil
	}
	t.k.mu.Lock()
	defer t.k.mu.Unlock()
	return t.maySignalLocked(g, sig)
}

// maySignalLocked is MaySignal with Kernel.mu held.
func (t *Task) maySignalLocked(g *ThreadGroup, sig int32) error {
	if g == t.group {
		return nil
	}
	c := t.Credentials()
	target := g.Leader().Credentials()
	if c.EUID == target.SUID || c.EUID == target.RUID || c.RUID == target.SUID || c.RUID == target.RUID ||
		c.CanIn(target.UserNS, unix.CAP_KILL) {
		return nil
	}
	if sig == int32(unix.SIGCONT) && sameSessionLocked(g, t.group) {
		return nil
	}
	return unix.EPERM
}

// MayTrace says whether the task may look into another (ptrace(2) "Ptrace
// access mode checking"): EPERM.
func (t *Task) MayTrace(o *Task) error {
	if o.group == t.group {
		return nil
	}
	c, target := t.Credentials(), o.Credentials()
	same := c.RUID == target.EUID && c.RUID == target.SUID && c.RUID == target.RUID &&
		c.RGID == target.EGID && c.RGID == target.SGID && c.RGID == target.RGID
	if !same && !c.CanIn(target.UserNS, unix.CAP_SYS_PTRACE) || !MayLookInto(c, o) {
		return unix.EPERM
	}
	return nil
}

// MayLookInto reports whether c may look into a process whose identities are
// its own: not if the process is not dumpable, or has capabilities that c
// does not have, unless c has CAP_SYS_PTRACE over it.
func MayLookInto(c *auth.Credentials, o *Task) bool {
	if m, _, _ := o.Resources(); m != nil && m.Dumpable() != 1 && !c.CanIn(o.group.memoryOwner.Load(), unix.CAP_SYS_PTRACE) {
		return false
	}
	target := o.Credentials()
	return c.UserNS == target.UserNS && target.Permitted&^c.Permitted == 0 || c.CanIn(target.UserNS, unix.CAP_SYS_PTRACE)
}

// sameSessionLocked reports whether two processes are of one session. Kernel.mu is
// held.
func sameSessionLocked(a, b *ThreadGroup) bool {
	return a.pgrp != nil && b.pgrp != nil && a.pgrp.session == b.pgrp.session
}

// Reaped reports whether the process has been waited for.
func (g *ThreadGroup) Reaped() bool {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	return g.reaped
}
