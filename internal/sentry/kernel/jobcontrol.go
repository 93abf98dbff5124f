package kernel

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// jobControl is whether a process is stopped. ThreadGroup.mu guards it.
type jobControl struct {
	// wanted says that all threads are to stop; signal is what stopped them.
	wanted bool
	signal int32
	// seq numbers the stops.
	seq uint64
	// stopped says that all threads did; stopReport and contReport that the
	// parent has not waited for that, or for the end of it, yet.
	stopped                bool
	stopReport, contReport bool
	// resume is closed when the process goes on.
	resume chan struct{}
}

// notice is what must be done about a signal once ThreadGroup.mu is free: tell
// the parent that the process stopped or went on.
type notice struct {
	code   int32 // CLD_STOPPED, CLD_CONTINUED, or 0 for nothing
	status int32
}

func (n notice) run(g *ThreadGroup) {
	if n.code == abi.CLD_STOPPED && g.tracedByParent() {
		return // who is told of each thread's stop
	}
	if n.code != 0 {
		g.tellParent(n.code, n.status)
	}
}

// tracedByParent reports whether the leader's tracer is of the parent.
func (g *ThreadGroup) tracedByParent() bool {
	g.k.mu.Lock()
	defer g.k.mu.Unlock()
	t := g.leader.ptrace.tracer
	return t != nil && t.group == g.parent
}

// stopLocked has all threads stop because of sig.
func (g *ThreadGroup) stopLocked(sig int32) {
	if g.exiting || g.stop.wanted {
		return
	}
	g.stop.wanted, g.stop.signal, g.stop.contReport = true, sig, false
	g.stop.seq++
	g.stop.resume = make(chan struct{})
	for _, t := range g.threads {
		t.kickLocked()
	}
}

// continueLocked ends a stop.
func (g *ThreadGroup) continueLocked() (n notice) {
	if !g.stop.wanted {
		return n
	}
	if g.stop.stopped {
		n = notice{abi.CLD_CONTINUED, int32(unix.SIGCONT)}
		g.stop.contReport = true
	}
	g.resumeLocked()
	for _, t := range g.threads {
		if t.ptrace.seized {
			t.ptrace.trap = true
			t.wakeListenerLocked()
		}
	}
	return n
}

// resumeLocked lets stopped threads go on, to live or to end.
func (g *ThreadGroup) resumeLocked() {
	if !g.stop.wanted {
		return
	}
	g.stop.wanted, g.stop.stopped, g.stop.stopReport = false, false, false
	for _, t := range g.threads {
		t.stopped = false
	}
	close(g.stop.resume)
	g.stop.resume = nil
}

// checkStoppedLocked notes that the last thread has stopped.
func (g *ThreadGroup) checkStoppedLocked() (n notice) {
	if !g.stop.wanted || g.stop.stopped || len(g.threads) == 0 {
		return n
	}
	for _, t := range g.threads {
		if !t.stopped {
			return n
		}
	}
	g.stop.stopped, g.stop.stopReport = true, true
	return notice{abi.CLD_STOPPED, g.stop.signal}
}

// stopHere keeps the task asleep while its process is stopped. group.mu is
// held, and again when it returns.
func (t *Task) stopHere() {
	g := t.group
	for t.mustStopLocked() && !t.killed {
		t.stopped = true
		if t.ptrace.tracer != nil {
			t.ptraceGroupStop()
			continue
		}
		resume := g.stop.resume
		n := g.checkStoppedLocked()
		g.mu.Unlock()
		n.run(g)
		t.rest()
		t.clock.pause(t, modeStopped)
		select {
		case <-resume:
		case <-t.wake:
		}
		t.clock.resume(t)
		g.mu.Lock()
	}
	t.stopped = false
}

// mustStopLocked reports whether the task is to stop since its process is: not
// if its tracer has let it go on all the same.
func (t *Task) mustStopLocked() bool {
	return t.group.stop.wanted && (t.ptrace.tracer == nil || t.ptrace.passed != t.group.stop.seq)
}

// tellParent sends SIGCHLD for a stop or its end, unless SA_NOCLDSTOP is set,
// and wakes who waits for it. No lock may be held.
func (g *ThreadGroup) tellParent(code, status int32) {
	p := g.Parent()
	if p == nil {
		return
	}
	info := g.childInfo(p, code, status)
	if p.SignalHandlers().Action(int32(unix.SIGCHLD)).Flags&abi.SA_NOCLDSTOP == 0 {
		p.Signal(info)
	}
	p.childWait.Notify(waiter.In)
}

// childInfo makes the siginfo of a child's change of state for its parent p.
func (g *ThreadGroup) childInfo(p *ThreadGroup, code, status int32) *abi.Siginfo {
	info := &abi.Siginfo{Signo: int32(unix.SIGCHLD), Code: code}
	info.SetPID(g.IDIn(p.PIDs()))
	users := p.Leader().Credentials().UserNS
	g.mu.Lock()
	if g.leader != nil {
		info.SetUID(users.FromUID(g.leader.Credentials().RUID))
	}
	ct := g.timesLocked()
	g.mu.Unlock()
	info.SetStatus(status)
	info.SetUtime(ticks(ct.user))
	info.SetStime(ticks(ct.system))
	return info
}

// ticks turns nanoseconds into clock ticks of 1/100 s (sysconf(_SC_CLK_TCK)).
func ticks(ns int64) int64 { return ns / 10_000_000 }
