package kernel

import (
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// WaitSelector says for which children, and which changes of theirs, a task
// waits (wait(2)). With none of PID, Group and PIDFD any child will do.
type WaitSelector struct {
	PID   int32        // only this child
	PGID  int32        // only children of this process group
	Child *ThreadGroup // only this one, of a pidfd
	// Options holds WEXITED, WSTOPPED, WCONTINUED, WNOHANG, WNOWAIT,
	// __WNOTHREAD, __WALL and __WCLONE.
	Options uint32
}

// Options of waitid(2).
const (
	WNOHANG    = 1
	WSTOPPED   = 2
	WEXITED    = 4
	WCONTINUED = 8
	WNOWAIT    = 0x01000000
	WNOTHREAD  = 0x20000000
	WALL       = 0x40000000
	WCLONE     = 0x80000000
)

// WaitResult is what a wait found. PID is 0 if WNOHANG found nothing.
type WaitResult struct {
	PID int32
	UID uint32
	// Code is CLD_*, Status its exit code or signal; Wait is both as wait4(2)
	// encodes them.
	Code, Status int32
	Wait         uint32
	// User and System are the processor times of the child and of its own
	// children that were waited for.
	User, System time.Duration
	// Child is the process, if it has ended.
	Child *ThreadGroup
	// after is to be run once no lock is held.
	after []func()
}

// WaitChild waits for a child's change of state. ECHILD if no child can
// match; ERESTARTSYS if a signal comes first.
func (t *Task) WaitChild(w *WaitSelector) (WaitResult, error) {
	res, err := t.tryWait(w)
	if err != unix.EAGAIN {
		return res, err
	}
	if w.Options&WNOHANG != 0 {
		return WaitResult{}, nil
	}
	ch := waiter.NewChannel()
	e := waiter.Entry{Mask: waiter.All, Listener: ch}
	q := &t.group.childWait
	q.Register(&e)
	defer q.Unregister(&e)
	for {
		res, err := t.tryWait(w)
		if err != unix.EAGAIN {
			return res, err
		}
		if err := t.Block(ch, time.Time{}); err != nil {
			return res, err
		}
	}
}

// tryWait looks for a change once. EAGAIN if there is none yet.
func (t *Task) tryWait(w *WaitSelector) (WaitResult, error) {
	t.k.mu.Lock()
	res, err := t.tryWaitLocked(w)
	t.k.mu.Unlock()
	for _, f := range res.after {
		f()
	}
	return res, err
}

// tryWaitLocked is tryWait with Kernel.mu held.
func (t *Task) tryWaitLocked(w *WaitSelector) (WaitResult, error) {
	res, any, found := t.tryWaitTracee(w)
	if found {
		return res, nil
	}
	var best *ThreadGroup
	var report notice
	for c := range t.group.children {
		if !w.matches(t, c) {
			continue
		}
		any = true
		if best != nil && best.seq < c.seq {
			continue
		}
		if n := c.reportLocked(t.hideTraced(c, w.Options)); n.code != 0 {
			best, report = c, n
		}
	}
	switch {
	case !any:
		return WaitResult{}, unix.ECHILD
	case best == nil:
		return WaitResult{}, unix.EAGAIN
	}
	return best.collectLocked(t, report, w.Options), nil
}

// matches reports whether the child is one that the selector means.
func (w *WaitSelector) matches(t *Task, c *ThreadGroup) bool {
	switch {
	case w.PID != 0 && c.IDIn(t.PIDs()) != w.PID,
		w.PGID != 0 && c.pgrp.IDIn(t.PIDs()) != w.PGID,
		w.Child != nil && c != w.Child,
		w.Options&WNOTHREAD != 0 && c.parentThread != t:
		return false
	}
	if tracer := c.leader.ptrace.tracer; w.Options&WALL != 0 || tracer != nil && tracer.group == t.group {
		return true
	}
	return (c.exitSignal != int32(unix.SIGCHLD)) == (w.Options&WCLONE != 0)
}

// reportLocked is the change that the child has to report. Kernel.mu is held.
func (g *ThreadGroup) reportLocked(options uint32) (n notice) {
	if g.zombie {
		if options&WEXITED == 0 {
			return n
		}
		code, status := endOf(g.exitStatus)
		return notice{code, status}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case options&WSTOPPED != 0 && g.stop.stopReport:
		return notice{abi.CLD_STOPPED, g.stop.signal}
	case options&WCONTINUED != 0 && g.stop.contReport:
		return notice{abi.CLD_CONTINUED, int32(unix.SIGCONT)}
	}
	return n
}

// collectLocked takes the report for t, and with it the zombie, unless WNOWAIT
// says to leave it.
func (g *ThreadGroup) collectLocked(t *Task, n notice, options uint32) WaitResult {
	res := WaitResult{PID: g.IDIn(t.PIDs()), Code: n.code, Status: n.status}
	g.mu.Lock()
	res.UID = t.Credentials().UserNS.FromUID(g.leader.Credentials().RUID)
	ct := g.timesLocked()
	ct.add(g.childTimes)
	res.User, res.System = time.Duration(ct.user), time.Duration(ct.system)
	keep := options&WNOWAIT != 0
	switch n.code {
	case abi.CLD_STOPPED:
		res.Wait = uint32(n.status)<<8 | 0x7f
		g.stop.stopReport = keep && g.stop.stopReport
	case abi.CLD_CONTINUED:
		res.Wait = 0xffff
		g.stop.contReport = keep && g.stop.contReport
	default:
		res.Wait = uint32(g.exitStatus)
		res.Child = g
	}
	g.mu.Unlock()
	if g.zombie && !keep {
		g.reapLocked(true)
	}
	return res
}
