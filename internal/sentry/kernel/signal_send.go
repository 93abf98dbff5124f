package kernel

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// sendOptions say how a signal is sent.
type sendOptions struct {
	// outside: the sender is not of the sandbox; see SignalFromHost.
	outside bool
	// many: other processes are sent it too; see ThreadGroup.forking.
	many bool
	// timer: see queuedSignal.
	timer TimerSignal
}

// Signal sends info to this thread, without a check of permission. EAGAIN if
// RLIMIT_SIGPENDING is reached by a real-time signal.
func (t *Task) Signal(info *abi.Siginfo) error {
	return t.group.send(t, info, sendOptions{})
}

// Send sends info, which t makes or passes on, to process g, or to its thread
// to if that is not nil. The receiver is told of the sender as its namespaces
// name it. It checks no permission; the error is that of Signal.
func (t *Task) Send(g *ThreadGroup, to *Task, info *abi.Siginfo) error {
	info, o := t.addressed(g, info)
	return g.send(to, info, o)
}

// addressed is info, which t sends, as g is to see it.
func (t *Task) addressed(g *ThreadGroup, info *abi.Siginfo) (*abi.Siginfo, sendOptions) {
	var o sendOptions
	own, users := t.Credentials().UserNS, g.Leader().Credentials().UserNS
	if ns := g.PIDs(); ns != t.PIDs() || users != own {
		c := *info
		from := t.group.IDIn(ns)
		if from == 0 {
			// A process in a PID namespace above this one rules over it.
			o.outside = true
			c.SetPID(0)
		} else if c.Code == abi.SI_USER || c.Code == abi.SI_TKILL {
			c.SetPID(from)
		}
		c.SetUID(users.FromUID(own.ToUID(c.UID())))
		info = &c
	}
	return info, o
}

// SignalTimer sends a timer's signal to a thread, or to the process if to is
// nil. It reports whether the signal was queued; if not it was ignored.
func (g *ThreadGroup) SignalTimer(to *Task, info *abi.Siginfo, timer TimerSignal) bool {
	return g.send(to, info, sendOptions{timer: timer}) == nil
}

// CancelTimerSignal drops the pending signal of a timer that is deleted.
func (g *ThreadGroup) CancelTimerSignal(timer TimerSignal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending.removeTimer(timer)
	for _, t := range g.threads {
		t.pending.removeTimer(timer)
	}
}

// errIgnored says that a signal was dropped since nothing would come of it.
const errIgnored = unix.Errno(0)

// send queues a signal for the thread to, or for the process if to is nil.
func (g *ThreadGroup) send(to *Task, info *abi.Siginfo, o sendOptions) error {
	g.mu.Lock()
	n, err := g.sendLocked(to, info, o)
	g.mu.Unlock()
	n.run(g)
	if err == errIgnored && o.timer == nil {
		return nil
	}
	return err
}

// sendLocked does the work of send. What it returns is to be run once the lock
// is free.
func (g *ThreadGroup) sendLocked(to *Task, info *abi.Siginfo, o sendOptions) (n notice, err error) {
	sig := info.Signo
	if len(g.threads) == 0 || to != nil && to.gone {
		return n, errIgnored
	}
	if g.exiting && sig != int32(unix.SIGKILL) {
		return n, errIgnored
	}
	// Job control acts when the signal is sent, even if it is blocked or
	// ignored (signal(7)).
	switch {
	case sig == int32(unix.SIGCONT):
		g.revokeLocked(stopSignals, o)
		n = g.continueLocked()
	case stopSignals.Has(sig):
		g.revokeLocked(abi.SetOf(unix.SIGCONT), o)
	}
	if g.protectedLocked(sig, o) {
		return n, errIgnored
	}
	witness := to
	if witness == nil {
		witness = g.threads[0]
	}
	if witness.ptrace.tracer == nil && g.handlers.ignores(sig) && !witness.blocked.load().Has(sig) && !witness.waitingFor.Has(sig) {
		return n, errIgnored
	}
	q := &g.pending
	if to != nil {
		q = &to.pending
	}
	if sig < abi.SIGRTMIN && q.set.Has(sig) && o.timer == nil {
		return n, nil
	}
	if err := g.enqueueLocked(q, witness, info, o); err != nil {
		return n, err
	}
	if o.many {
		g.missLocked(sig)
	}
	g.signalWait.Notify(waiter.In)
	t := g.pickLocked(to, sig)
	if t == nil {
		return n, nil
	}
	if g.fatalLocked(sig) && (sig == int32(unix.SIGKILL) || t.ptrace.tracer == nil) && !t.blocked.load().Has(sig) && !t.waitingFor.Has(sig) {
		g.endLocked(Signaled(sig, false))
		return n, nil
	}
	t.kickLocked()
	return n, nil
}

// protectedLocked reports whether the signal must not harm PID 1.
func (g *ThreadGroup) protectedLocked(sig int32, o sendOptions) bool {
	if !g.isProtected() {
		return false
	}
	if unblockable.Has(sig) {
		return !o.outside
	}
	return g.handlers.Action(sig).Handler == abi.SIG_DFL
}

// enqueueLocked adds the siginfo, or only the signal's number where Linux does
// without: EAGAIN for a real-time signal of sigqueue(3) beyond the limit.
func (g *ThreadGroup) enqueueLocked(q *signalQueue, t *Task, info *abi.Siginfo, o sendOptions) error {
	user := t.user
	limit := g.limits.Cur(limitSigPending)
	n := user.signals.Add(1)
	override := info.Signo < abi.SIGRTMIN && (info.Code >= 0 || o.timer != nil)
	if uint64(n) > limit && !override {
		user.signals.Add(-1)
		if info.Signo >= abi.SIGRTMIN && info.Code != abi.SI_USER {
			return unix.EAGAIN
		}
		q.set.Add(info.Signo)
		return nil
	}
	q.push(&queuedSignal{info: *info, user: user, timer: o.timer})
	return nil
}

// fatalLocked reports whether the signal ends the process without a core dump,
// so that this can begin at once.
func (g *ThreadGroup) fatalLocked(sig int32) bool {
	if sig == int32(unix.SIGKILL) {
		return true
	}
	return g.handlers.Action(sig).Handler == abi.SIG_DFL &&
		!ignoredSignals.Has(sig) && !stopSignals.Has(sig) && !coreSignals.Has(sig)
}

// pickLocked chooses the thread that handles a signal: the one it is for, or
// the first that does not block it; nil if there is none now.
func (g *ThreadGroup) pickLocked(to *Task, sig int32) *Task {
	wants := func(t *Task) bool {
		switch {
		case sig == int32(unix.SIGKILL) || t.waitingFor.Has(sig):
			return true
		case t.stopped:
			// It is handled once the process goes on, even if it is fatal.
			return false
		}
		return !t.blocked.load().Has(sig)
	}
	if to != nil {
		if wants(to) {
			return to
		}
		return nil
	}
	for _, t := range g.threads {
		if wants(t) {
			return t
		}
	}
	return nil
}

// endLocked begins the end of all threads, with the status given; the first
// status stays.
func (g *ThreadGroup) endLocked(status ExitStatus) {
	if !g.exiting {
		g.exiting, g.exitCode = true, status
	}
	if status.Signal() == int32(unix.SIGKILL) {
		g.deaths++
	}
	g.resumeLocked()
	for _, t := range g.threads {
		t.killed = true
		t.kickLocked()
	}
}

// signalIgnoredOrBlocked is for the task's own goroutine.
func (t *Task) signalIgnoredOrBlocked(sig int32) bool {
	return t.blocked.load().Has(sig) || t.group.SignalHandlers().Action(sig).Handler == abi.SIG_IGN
}
