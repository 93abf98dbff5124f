package stub

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// The hand-off between the sentry and a stub's thread is one word, page.turn.
// Who has given the turn away spins a while, since the answer often takes less
// time than going to sleep, then sleeps on the word (futex(2)). Both sides'
// patience adapts to what the thread does: after two spins in vain it is but a
// glance, with a full spin now and then to see whether times have changed. So
// a thread that computes or blocks burns next to nothing, and on a host whose
// cores are all busy, where the other side needs ours, nobody keeps it.

const (
	// spinMax is the longest spin: what waking a thread on another core costs.
	spinMax = 40 * time.Microsecond
	// spinMin is the glance that always is worth it.
	spinMin = time.Microsecond
	// spinBurst is how long the sentry spins between chances for Go's
	// scheduler to stop the goroutine.
	spinBurst = 4 * time.Microsecond
)

// spinning holds spin times in cycles of the TSC.
type spinning struct{ min, max, burst uint32 }

// newSpinning converts spin times for a TSC that ran so many cycles in d.
func newSpinning(cycles uint64, d time.Duration) spinning {
	if runtime.NumCPU() == 1 || d <= 0 {
		return spinning{burst: 1}
	}
	in := func(t time.Duration) uint32 {
		return uint32(min(float64(cycles)/float64(d)*float64(t), 1<<30))
	}
	return spinning{min: in(spinMin), max: in(spinMax), burst: in(spinBurst)}
}

// patience is one side's: how long to spin the next time.
type patience struct {
	failures uint8 // spins in vain, one after another
	rest     uint8 // waits until the next full spin
}

const (
	failuresAllowed = 2
	failuresMax     = 6 // a full spin every 64 waits at the least
)

// full reports whether the next spin is a full one.
func (p *patience) full() bool { return p.failures < failuresAllowed || p.rest == 0 }

// learn adapts to a wait, whose spin was full or not, and was answered within
// it or not.
func (p *patience) learn(full, answered bool) {
	switch {
	case answered:
		*p = patience{}
	case full:
		p.failures = min(p.failures+1, failuresMax)
		p.rest = 1 << p.failures
	default:
		p.rest--
	}
}

// handOver gives the stub its turn.
func (t *Thread) handOver() {
	spin := &t.proc.stubs.spin
	slept := atomic.LoadUint32(&t.page.turn)&turnSleep != 0
	t.stubPatience.learn(t.stubFull, !slept)
	t.stubFull = t.stubPatience.full()
	if t.stubFull {
		t.page.spin = spin.max
	} else {
		t.page.spin = spin.min
	}
	if t.woke = atomic.SwapUint32(&t.page.turn, turnStub)&turnSleep != 0; t.woke {
		futexWake(&t.page.turn)
	}
}

// await waits until the sentry has the turn. It returns false if the stub is
// gone.
func (t *Thread) await() bool {
	spin := &t.proc.stubs.spin
	full := t.patience.full()
	budget := spin.min
	if full && !t.woke {
		// Had it to be woken, it may be for our core.
		budget = spin.max
	}
	answered := false
	for budget > 0 {
		burst := min(budget, spin.burst)
		if answered = spinUntil(&t.page.turn, turnSentry, uint64(burst)); answered {
			break
		}
		budget -= burst
		preemptible()
	}
	for !answered && (atomic.CompareAndSwapUint32(&t.page.turn, turnStub, turnStub|turnSleep) ||
		atomic.LoadUint32(&t.page.turn)&turnSentry == 0) {
		futexWait(&t.page.turn, turnStub|turnSleep)
	}
	if answered || !t.woke {
		t.patience.learn(full, answered)
	}
	return !t.proc.gone.Load()
}

// preemptible is a function call, at which Go's scheduler may stop us.
//
//go:noinline
func preemptible() { var frame [128]byte; use(&frame) }

//go:noinline
func use(*[128]byte) {}

// futexWait sleeps while word holds val.
func futexWait(word *uint32, val uint32) {
	syscall.Syscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), 0, uintptr(val), 0, 0, 0)
}

// futexWake wakes who sleeps on word.
func futexWake(word *uint32) {
	syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), 1, 1, 0, 0, 0)
}
