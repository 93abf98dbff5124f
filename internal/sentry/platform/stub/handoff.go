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
// patience adapts to what the thread does: it is full while answers come in
// time, and halves down to a glance each time that one does not. So a thread
// that computes or blocks burns next to nothing.

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
type patience uint32

// learn adapts to a wait that took so many cycles.
func (p *patience) learn(s *spinning, waited uint64) {
	// A wait that was slept through took longer than it would have spinning.
	if waited < 2*uint64(s.max) {
		*p = patience(s.max)
	} else {
		*p = max(*p/2, patience(s.min))
	}
}

// handOver gives the stub its turn.
func (t *Thread) handOver() {
	now := cycles()
	t.stubPatience.learn(&t.proc.stubs.spin, now-t.gotTurn)
	t.page.spin = uint32(t.stubPatience)
	t.gaveTurn = now
	if atomic.SwapUint32(&t.page.turn, turnStub)&turnSleep != 0 {
		futexWake(&t.page.turn)
	}
}

// await waits until the sentry has the turn. It returns false if the stub is
// gone.
func (t *Thread) await() bool {
	s := &t.proc.stubs.spin
	budget := uint32(t.patience)
	for budget > 0 {
		burst := min(budget, s.burst)
		if spinUntil(&t.page.turn, turnSentry, uint64(burst)) {
			break
		}
		budget -= burst
		preemptible()
	}
	for atomic.CompareAndSwapUint32(&t.page.turn, turnStub, turnStub|turnSleep) ||
		atomic.LoadUint32(&t.page.turn)&turnSentry == 0 {
		futexWait(&t.page.turn, turnStub|turnSleep)
	}
	t.gotTurn = cycles()
	t.patience.learn(s, t.gotTurn-t.gaveTurn)
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
