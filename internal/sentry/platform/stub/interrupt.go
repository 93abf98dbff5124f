package stub

import (
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/crash"

	"golang.org/x/sys/unix"
)

// interruptSignal makes a stub's thread look at page.intr.
const interruptSignal = unix.SIGURG

// A stub has answerTick to answer an interrupt before it gets another, and is
// given up after answerTicks: its guest has broken it.
const (
	answerTick  = time.Second
	answerTicks = 10
	// lastTicks is in place of answerTicks when the guest is to end: who has killed it waits,
	// and engines give up 10 seconds after SIGKILL.
	lastTicks = 2
	// operationTicks is how long a stub may take for operations that nobody
	// is in a hurry for. The longest, such as writing a large mapping back,
	// depend on the host's disks; but who waits for them may hold locks.
	operationTicks = 60
)

// WithAnswerTick changes how long a stub has to answer an interrupt, for tests.
func WithAnswerTick(d time.Duration) Option { return func(s *Stubs) { s.answerTick = d } }

// interrupts is a Thread's part that makes Switch return.
type interrupts struct {
	// intr says that an interrupt was asked for and no event answered yet.
	intr atomic.Bool
	// last says that one was asked for since the guest is to end.
	last atomic.Bool

	watchMu sync.Mutex
	watch   *time.Timer
	ticks   int
}

// Interrupt implements platform.Context.
func (t *Thread) Interrupt(last bool) {
	if last {
		t.last.Store(true)
	}
	if t.intr.Swap(true) {
		return // somebody else sees to it
	}
	switch t.state.Load() {
	case stateGuest:
		t.kick()
	case stateIdle:
		return // the next Switch will see it
	}
	t.watchMu.Lock()
	defer t.watchMu.Unlock()
	t.ticks = 0
	if t.watch == nil {
		t.watch = time.AfterFunc(t.proc.stubs.answerTick, crash.Guard(t.unanswered))
	} else {
		t.watch.Reset(t.proc.stubs.answerTick)
	}
}

// unanswered looks whether the stub has answered an interrupt, and insists.
func (t *Thread) unanswered() {
	state := t.state.Load()
	if !t.intr.Load() || state == stateIdle || t.Gone() {
		return
	}
	t.watchMu.Lock()
	t.ticks++
	over := t.ticks > answerTicks || t.last.Load() && t.ticks > lastTicks
	t.watch.Reset(t.proc.stubs.answerTick)
	t.watchMu.Unlock()
	switch {
	case over:
		t.proc.Kill()
	case state == stateGuest:
		t.kick()
	}
}

// Overdue ends the stub's process unless the timer is stopped in the time that
// operations may take.
func (t *Thread) Overdue() *time.Timer {
	return time.AfterFunc(t.proc.stubs.answerTick*operationTicks, crash.Guard(t.proc.Kill))
}

// kick has the stub leave guest code.
func (t *Thread) kick() {
	p := t.proc
	p.mu.Lock()
	if p.mem != 0 {
		atomic.StoreUint32(&t.page.intr, 1)
	}
	p.mu.Unlock()
	p.stubs.mu.Lock()
	defer p.stubs.mu.Unlock()
	if p.pid > 0 && !p.reaped {
		unix.Tgkill(p.pid, t.tid, interruptSignal)
	}
}

// StartGuest begins a Switch: from here on Interrupt signals the stub. It
// returns false if an interrupt came before.
func (t *Thread) StartGuest() bool {
	for n := 0; t.proc.freezing.Load() || !t.state.CompareAndSwap(stateIdle, stateGuest); n++ {
		pause(n)
	}
	atomic.StoreUint32(&t.page.intr, 0)
	if t.intr.Load() {
		t.StopGuest()
		t.intr.Store(false)
		return false
	}
	return true
}

// StopGuest ends what StartGuest began.
func (t *Thread) StopGuest() { t.state.Store(stateIdle) }

// Interrupted reports whether an interrupt is waiting for its event, which
// the caller makes.
func (t *Thread) Interrupted() bool { return t.intr.Swap(false) }
