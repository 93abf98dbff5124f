package stub

import (
	"sync"
	"sync/atomic"
	"time"
)

// A task that waits has mostly woken another one just before, or is about to be
// followed by one that was woken: a request's sender by its receiver. Its stub still
// spins, the other one's sleeps. Where would the host wake that one, if the sentry's
// thread did it, which spins on a processor of its own? On an idle processor, in 25 us,
// or on the sentry's. The first stub's processor, which that gives up, is the best: so
// the first stub wakes the other one, and sleeps; the host switches in 4 us. It
// lingers for that: it spins on for a moment after its task has gone to sleep. On the
// processor that the sentry's thread is on it could not go, while that spins.
//
// The host may switch already when the first stub wakes the other one, which then takes
// the processor before the first has gone to sleep. When the first has its turn again it
// only waits for that processor, on which the other one lingers: that makes way at once.
//
// A stub that does not what it was sent for, since its guest has broken it or has been
// killed, costs the other one the sentry's spin: then the sentry wakes it by itself.

// lingerTime is how long a stub lingers, from when it gave the turn away.
const lingerTime = 15 * time.Microsecond

// lingerer is the stub of all that can be sent on an errand.
type lingerer struct {
	// mu is held by who sends it, so that its memory stays. It is a leaf.
	mu sync.Mutex
	t  atomic.Pointer[Thread]
}

// errands is what a Thread knows of its.
type errands struct {
	// patience is for lingering; full says whether it lingers, if told.
	patience   patience
	told, full bool
	// sent says that it was sent on one, or made way, since it was told.
	sent atomic.Bool
	// gate is where that leads.
	gate atomic.Uint32
	// wakes says that another one was sent to wake the stub.
	wakes bool
}

// linger has the stub, if it is not asleep, spin a little longer, to be of use for
// those that are woken next. Must says to do so although it was not lately.
func (t *Thread) linger(must bool) {
	t.claim() // others may borrow the thread
	defer t.leave()
	t.stubTold = false
	e, s := &t.errands, t.proc.stubs
	if t.traced || atomic.LoadUint32(&t.page.turn) != turnSentry {
		atomic.StoreUint32(&t.page.spin, 0)
		return
	}
	e.sent.Store(false)
	e.told, e.full = true, e.patience.full()
	if !e.full && !must {
		atomic.StoreUint32(&t.page.spin, 0)
		return
	}
	atomic.StoreUint32(&t.page.spin, s.spin.linger)
	s.lingerer.t.Store(t)
}

// lingered ends it, and learns from it.
func (t *Thread) lingered() {
	e := &t.errands
	if !e.told {
		return
	}
	e.told = false
	t.proc.stubs.lingerer.forget(t)
	e.patience.learn(e.full, e.sent.Load() || atomic.LoadUint32(&t.page.turn)&turnSleep == 0)
}

// forget has t not sent any more. Its memory may go then.
func (l *lingerer) forget(t *Thread) {
	l.mu.Lock()
	l.t.CompareAndSwap(t, nil)
	l.mu.Unlock()
}

// send sends the stub that lingers, if there is one, to wake t's.
func (l *lingerer) send(t *Thread) bool {
	if l.t.Load() == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	by := l.t.Swap(nil)
	if by == nil || by.page.stubCPU == t.page.sentryCPU {
		return false
	}
	by.errands.gate.Store(t.gate)
	atomic.StoreUint64(&by.page.errand, t.proc.stubs.gateAddr(t.gate))
	if !atomic.CompareAndSwapUint32(&by.page.turn, turnSentry, turnSentry|turnErrand) {
		return false
	}
	by.errands.sent.Store(true)
	return true
}

// makeWay has the stub that lingers go to sleep if it does so on the processor that t's
// waits for.
func (l *lingerer) makeWay(t *Thread) {
	if l.t.Load() == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	by := l.t.Load()
	if by == nil || by.stubCPU() != t.stubCPU() {
		return
	}
	l.t.Store(nil)
	atomic.StoreUint32(&by.page.spin, 0)
	by.errands.sent.Store(true)
}

// wake wakes the stub, which sleeps though it has the turn. Who waits for the answer
// can leave that to the stub that lingers.
func (t *Thread) wake(waits bool) {
	s := t.proc.stubs
	// It may take the processor over at once: before spinForTurn says where we are.
	t.page.sentryCPU = cpu()
	s.gates.open(t.gate)
	if waits && s.lingerer.send(t) {
		t.errands.wakes = true
		return
	}
	s.gates.wake(t.gate)
}

// insist wakes the stub if another one was sent to do so.
func (t *Thread) insist() {
	if t.errands.wakes {
		t.errands.wakes = false
		t.proc.stubs.gates.wake(t.gate)
	}
}
