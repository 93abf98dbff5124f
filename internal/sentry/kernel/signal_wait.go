package kernel

import (
	"time"

	"coffer/internal/sentry/abi"

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
	c := t.Credentials()
	target := g.Leader().Credentials()
	if c.EUID == target.SUID || c.EUID == target.RUID || c.RUID == target.SUID || c.RUID == target.RUID ||
		c.Can(unix.CAP_KILL) {
		return nil
	}
	if sig == int32(unix.SIGCONT) && g.SID() == t.group.SID() {
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
	if c.Can(unix.CAP_SYS_PTRACE) {
		return nil
	}
	same := c.RUID == target.EUID && c.RUID == target.SUID && c.RUID == target.RUID &&
		c.RGID == target.EGID && c.RGID == target.SGID && c.RGID == target.RGID
	m, _, _ := o.Resources()
	if !same || m != nil && m.Dumpable() != 1 || target.Permitted&^c.Permitted != 0 {
		return unix.EPERM
	}
	return nil
}

// Members are the processes of the group.
func (pg *ProcessGroup) Members() []*ThreadGroup {
	if pg == nil {
		return nil
	}
	pg.k.mu.Lock()
	defer pg.k.mu.Unlock()
	list := make([]*ThreadGroup, 0, len(pg.members))
	for g := range pg.members {
		list = append(list, g)
	}
	return list
}

// Reaped reports whether the process has been waited for.
func (g *ThreadGroup) Reaped() bool {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	return g.reaped
}
