package kernel

import (
	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// prepareReturn does what must be done before guest code goes on: stops,
// signals, restarts. False says that the task is to end.
func (t *Task) prepareReturn() bool {
	for t.work.Load() {
		if !t.handleWork() {
			return false
		}
	}
	return true
}

// handleWork handles all pending signals.
func (t *Task) handleWork() bool {
	g := t.group
	for {
		g.mu.Lock()
		t.work.Store(false)
		select {
		case <-t.wake:
		default:
		}
		if t.leaving || t.killed {
			g.mu.Unlock()
			return false
		}
		if t.mustStopLocked() {
			t.stopHere()
			g.mu.Unlock()
			continue
		}
		if t.ptrace.trap {
			t.ptrace.trap = false
			g.mu.Unlock()
			t.ptraceTrap(sigTrap)
			continue
		}
		info, ok := t.takeLocked(^t.blocked.load())
		traced := t.ptrace.tracer != nil
		g.mu.Unlock()
		if !ok {
			break
		}
		if traced && !t.ptraceSignal(&info) {
			continue
		}
		t.deliver(&info)
	}
	t.finishCall(nil)
	if t.hasSavedMask {
		t.hasSavedMask = false
		t.SetSignalMask(t.savedMask)
	}
	return true
}

// deliver does what the signal's disposition says. The task may be marked to
// end afterwards.
func (t *Task) deliver(info *abi.Siginfo) {
	g := t.group
	sig := info.Signo
	act := g.SignalHandlers().take(sig)
	switch act.Handler {
	case abi.SIG_IGN:
		return
	case abi.SIG_DFL:
		t.defaultAction(info)
	default:
		t.runHandler(info, &act)
	}
}

func (t *Task) defaultAction(info *abi.Siginfo) {
	g, sig := t.group, info.Signo
	if ignoredSignals.Has(sig) {
		return
	}
	if stopSignals.Has(sig) {
		if sig != int32(unix.SIGSTOP) {
			if pg := g.ProcessGroup(); pg == nil || pg.Orphaned() {
				return
			}
		}
		g.mu.Lock()
		// A SIGCONT that came meanwhile has the last word.
		if !g.pending.set.Has(int32(unix.SIGCONT)) {
			g.stopLocked(sig)
		}
		g.mu.Unlock()
		return
	}
	g.mu.Lock()
	protected := g.isProtected() && sig != int32(unix.SIGKILL)
	g.mu.Unlock()
	if !protected {
		g.end(Signaled(sig, coreSignals.Has(sig) && t.dumpCore(info)))
	}
}

// runHandler has the guest run its handler next.
func (t *Task) runHandler(info *abi.Siginfo, act *abi.Sigaction) {
	if err := t.ctx.Flush(); err != nil {
		t.opFailed(err)
	}
	t.finishCall(act)
	mask := t.blocked.load()
	if t.hasSavedMask {
		mask = t.savedMask
	}
	if err := t.pushFrame(info, act, mask); err != nil {
		t.frameFailed(info.Signo)
		return
	}
	t.hasSavedMask = false
	t.restartFn = nil
	blocked := t.blocked.load() | act.Mask
	if act.Flags&abi.SA_NODEFER == 0 {
		blocked.Add(info.Signo)
	}
	t.SetSignalMask(blocked)
	if t.ptrace.mode.Load()&ptraceStep != 0 {
		// Who single-steps sees the handler's first instruction before it runs.
		t.pass(t.ptraceStop(&ptraceStop{kind: StopEvent, code: sigTrap, info: t.trapInfo(sigTrap, sigTrap)}))
	}
}

// frameFailed forces SIGSEGV on the task since its stack is of no use; if
// that was the signal to be handled, it is fatal.
func (t *Task) frameFailed(sig int32) {
	g := t.group
	if sig == int32(unix.SIGSEGV) {
		g.mu.Lock()
		g.handlers.set(sig, abi.Sigaction{})
		g.mu.Unlock()
	}
	t.ForceSignal(kernelSignal(int32(unix.SIGSEGV)))
}

// ForceSignal sends the task a signal that it can't escape: if it blocks or
// ignores it, the default action is taken. It is for faults, and for the
// task's own goroutine.
func (t *Task) ForceSignal(info *abi.Siginfo) {
	g := t.group
	sig := info.Signo
	g.mu.Lock()
	act := g.handlers.Action(sig)
	blocked := t.blocked.load()
	if blocked.Has(sig) || act.Handler == abi.SIG_IGN {
		act.Handler = abi.SIG_DFL
		g.handlers.set(sig, act)
		blocked.Del(sig)
		t.blocked.store(blocked)
	}
	if act.Handler == abi.SIG_DFL {
		g.unprotected = true
	}
	n, _ := g.sendLocked(t, info, sendOptions{})
	g.mu.Unlock()
	n.run(g)
	t.markWork()
}
