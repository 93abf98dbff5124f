package kernel

import (
	"sync/atomic"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/waiter"
)

// signalMask is a set that its task writes and others read.
type signalMask struct{ v atomic.Uint64 }

func (m *signalMask) load() abi.SignalSet   { return abi.SignalSet(m.v.Load()) }
func (m *signalMask) store(s abi.SignalSet) { m.v.Store(uint64(s)) }

// SignalMask is the set of blocked signals.
func (t *Task) SignalMask() abi.SignalSet { return t.blocked.load() }

// SetSignalMask changes the set of blocked signals, and returns the former
// one; SIGKILL and SIGSTOP stay unblocked. It is for the task's own goroutine.
func (t *Task) SetSignalMask(s abi.SignalSet) (old abi.SignalSet) {
	s &^= unblockable
	old = t.blocked.load()
	if s == old {
		return old
	}
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	t.blocked.store(s)
	if t.deliverableLocked() != 0 {
		t.work.Store(true)
	}
	// What is pending for the process and now blocked here is another
	// thread's to take.
	if moved := t.group.pending.set & (s &^ old); moved != 0 {
		for _, other := range t.group.threads {
			if other != t && moved&^other.blocked.load() != 0 {
				other.kickLocked()
			}
		}
	}
	return old
}

// PushMask gives the task another mask for the duration of one call, as
// ppoll(2), pselect(2), epoll_pwait(2) and sigsuspend(2) do. PopMask undoes it.
func (t *Task) PushMask(s abi.SignalSet) {
	old := t.SetSignalMask(s)
	if !t.hasSavedMask {
		t.savedMask, t.hasSavedMask = old, true
	}
}

// PopMask ends what PushMask began. If a signal interrupted the call (its
// error is EINTR or one of ERESTART*) the mask stays until that signal is
// delivered, and is put back by the frame's return or on the way to the guest.
func (t *Task) PopMask(interrupted bool) {
	if !t.hasSavedMask {
		return
	}
	if interrupted {
		t.markWork()
		return
	}
	t.hasSavedMask = false
	t.SetSignalMask(t.savedMask)
}

// PendingSignals are those pending for the thread or its process.
func (t *Task) PendingSignals() abi.SignalSet {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.pending.set | t.group.pending.set
}

// PendingSets are the pending signals of the thread and of its process, and
// how many siginfos are queued and allowed for its user (/proc/PID/status).
func (t *Task) PendingSets() (own, shared abi.SignalSet, queued int64, limit uint64) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.pending.set, t.group.pending.set, t.user.signals.Used(), t.group.limits.Cur(limitSigPending)
}

// TakeSignal removes a pending signal of the set and returns its siginfo, for
// signalfd(2) and rt_sigtimedwait(2). ok is false if there is none.
func (t *Task) TakeSignal(set abi.SignalSet) (info abi.Siginfo, ok bool) {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.takeLocked(set)
}

func (t *Task) takeLocked(set abi.SignalSet) (abi.Siginfo, bool) {
	if s := t.pending.set & set & synchronous; s != 0 {
		return t.pending.take(s.Lowest()), true
	}
	if s := t.pending.set & set; s != 0 {
		return t.pending.take(s.Lowest()), true
	}
	if s := t.group.pending.set & set; s != 0 {
		return t.group.pending.take(s.Lowest()), true
	}
	return abi.Siginfo{}, false
}

// SignalQueue is notified (waiter.In) when a signal becomes pending for the
// process or one of its threads.
func (g *ThreadGroup) SignalQueue() *waiter.Queue { return &g.signalWait }
