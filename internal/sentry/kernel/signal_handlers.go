package kernel

import (
	"sync"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// SignalHandlers are the dispositions of all signals: what CLONE_SIGHAND
// shares.
type SignalHandlers struct {
	mu      sync.Mutex
	actions [abi.NumSignals]abi.Sigaction
}

// Action returns the disposition of a signal, which must be valid.
func (h *SignalHandlers) Action(sig int32) abi.Sigaction {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.actions[sig-1]
}

// take returns the disposition for delivery; SA_RESETHAND makes it the
// default one at once.
func (h *SignalHandlers) take(sig int32) abi.Sigaction {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.actions[sig-1]
	if a.Flags&abi.SA_RESETHAND != 0 && a.Handler > abi.SIG_IGN {
		h.actions[sig-1].Handler = abi.SIG_DFL
	}
	return a
}

func (h *SignalHandlers) set(sig int32, a abi.Sigaction) (old abi.Sigaction) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old = h.actions[sig-1]
	h.actions[sig-1] = a
	return old
}

// ignores reports whether the signal does nothing when it isn't caught.
func (h *SignalHandlers) ignores(sig int32) bool {
	a := h.Action(sig)
	return a.Handler == abi.SIG_IGN || a.Handler == abi.SIG_DFL && ignoredSignals.Has(sig)
}

// fork returns a copy.
func (h *SignalHandlers) fork() *SignalHandlers {
	n := new(SignalHandlers)
	h.mu.Lock()
	defer h.mu.Unlock()
	n.actions = h.actions
	return n
}

// clear gives all signals the default disposition but those that are ignored,
// as execve(2) has it; CLONE_CLEAR_SIGHAND does the same.
func (h *SignalHandlers) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.actions {
		a := abi.Sigaction{Handler: h.actions[i].Handler}
		if a.Handler != abi.SIG_IGN {
			a.Handler = abi.SIG_DFL
		}
		h.actions[i] = a
	}
}

// Caught and Ignored are the sets that /proc/PID/status shows.
func (h *SignalHandlers) Caught() (s abi.SignalSet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.actions {
		if h.actions[i].Handler > abi.SIG_IGN {
			s.Add(int32(i + 1))
		}
	}
	return s
}

func (h *SignalHandlers) Ignored() (s abi.SignalSet) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.actions {
		if h.actions[i].Handler == abi.SIG_IGN {
			s.Add(int32(i + 1))
		}
	}
	return s
}

// SignalHandlers returns the process's dispositions.
func (g *ThreadGroup) SignalHandlers() *SignalHandlers {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.handlers
}

// SetAction changes the disposition of a signal and returns the former one.
// A signal that is ignored from now on is removed where it is pending. EINVAL
// for SIGKILL and SIGSTOP.
func (g *ThreadGroup) SetAction(sig int32, a abi.Sigaction) (abi.Sigaction, error) {
	if !ValidSignal(sig) || unblockable.Has(sig) {
		return abi.Sigaction{}, unix.EINVAL
	}
	a.Flags &= abi.SA_KNOWN
	a.Mask &^= unblockable
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.handlers.set(sig, a)
	if g.handlers.ignores(sig) {
		g.discardLocked(abi.SetOf(unix.Signal(sig)))
	}
	return old, nil
}

// discardLocked removes signals from all of the group's queues.
func (g *ThreadGroup) discardLocked(set abi.SignalSet) {
	g.pending.discard(set)
	for _, t := range g.threads {
		t.pending.discard(set)
	}
}
