package stub

import (
	"math"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/hrtimer"
	"coffer/internal/sentry/waiter"
)

// The hand-off between the sentry and a stub's thread is one word, page.turn.
// Who has given the turn away spins a while, since the answer often takes less
// time than going to sleep, then sleeps (futex(2)): the sentry on the word, the
// stub at its gate.
//
// Spinning takes a processor from others, so it is for when that pays:
//
//   - Never on the processor that the other side is on or waits for: each side
//     says where it runs. Sleeping and waking on one processor is cheap.
//   - Hardly while more threads are at work than half of the processors, but for
//     those that have the floor (floor.go), for which others wait: each needs one
//     for the stub and one for the sentry to gain from it. A thread that waits in the sentry for
//     something else (Rest) is not at work, and its stub stops spinning soon: see errand.go.
//   - Both sides' patience adapts to what the thread does: after two spins in
//     vain it is but a glance, with a full spin now and then to see whether
//     times have changed. So a thread that computes burns next to nothing, and
//     on a host whose processors are all busy nobody keeps one for long.

const (
	// spinMax is the longest spin: what waking a thread on another core costs.
	spinMax = 50 * time.Microsecond
	// spinMin is the glance that always is worth it.
	spinMin = time.Microsecond
	// spinBurst is how long the sentry spins between chances for Go's
	// scheduler to stop the goroutine.
	spinBurst = 4 * time.Microsecond
	// turnsToLook is at each how many turns of a guest, which may all be short, the sentry looks
	// for timers that are due.
	turnsToLook = 16
	// lookEvery is how often it looks for what has come from the host, and nobody has taken.
	lookEvery = 50 * time.Microsecond
	// spinShort is as long as an answer takes of a guest for which it is better
	// to spin, if both sides are on one processor and sleep.
	spinShort = 20 * time.Microsecond
)

// spinning holds spin times in cycles of the TSC, and how many threads may be
// at work for a full spin.
type spinning struct {
	min, max, burst, short, slice, linger, glance, later, late, look uint32
	workers                                                          int32
}

// newSpinning converts spin times for a TSC that ran so many cycles in d.
func newSpinning(cycles uint64, d time.Duration) spinning {
	in := func(t time.Duration) uint32 {
		return uint32(min(float64(cycles)/float64(max(d, 1))*float64(t), 1<<30))
	}
	if runtime.NumCPU() == 1 || d <= 0 {
		return spinning{burst: 1, look: in(lookEvery)}
	}
	return spinning{min: in(spinMin), max: in(spinMax), burst: in(spinBurst), short: in(spinShort), slice: in(floorSlice), linger: in(lingerTime), glance: in(laterGlance), later: in(laterMax), late: in(birthLate), look: in(lookEvery), workers: int32(runtime.NumCPU() / 2)}
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
	case p.rest > 0:
		p.rest--
	}
}

// work counts the thread among those at work.
func (t *Thread) work() {
	if !t.working {
		t.working = true
		if s := t.proc.stubs; s.working.Add(1) > 1 {
			s.solo.several()
		}
	}
}

// Rest implements platform.Context.
func (t *Thread) Rest() {
	t.doLater()
	t.leaveFloor()
	if t.working {
		t.working = false
		t.proc.stubs.working.Add(-1)
		t.proc.stubs.rested(t.bulk.written)
	}
	t.forgetSmall()
	t.placement.longs = 0
	t.alone = 0
	t.bulk = bulk{}
	t.unpin()
	t.linger(false)
}

// Bound implements platform.Context.
func (t *Thread) Bound() bool { return t.placement.pinned }

// Yield implements platform.Context.
func (t *Thread) Yield() {
	t.leaveFloor()
	t.linger(true)
}

// budget says whether the next spin is a full one, for how long.
func (t *Thread) budget(p *patience) (full bool, cycles uint32) {
	s := t.proc.stubs
	if p.full() && (t.speaker.has || !s.crowded() && !t.inBulk()) {
		return true, s.spin.max
	}
	return false, s.spin.min
}

// handOver gives the stub its turn. waits says that the caller waits for the answer.
func (t *Thread) handOver(waits bool) {
	pg, s := t.page, t.proc.stubs
	t.lingered()
	if t.stubTold {
		slept := atomic.LoadUint32(&pg.turn)&turnSleep != 0
		if !slept || !t.together() {
			t.stubPatience.learn(t.stubFull, !slept)
		}
	}
	t.stubTold = true
	var spin uint32
	t.stubFull, spin = t.budget(&t.stubPatience)
	if pg.spin != spin {
		pg.spin = spin
	}
	t.errands.wakes = false
	was := atomic.SwapUint32(&pg.turn, turnStub)
	if was&turnSleep != 0 {
		t.wake(waits)
	} else if waits {
		s.lingerer.makeWay(t)
	}
	if was&turnErrand != 0 {
		// It may not have seen that.
		s.gates.wake(t.errands.gate.Load())
	}
}

// await waits until the sentry has the turn. It returns false if the stub is
// gone. A stub that only runs operations has its time for that; one that runs
// guest code has until it is interrupted.
func (t *Thread) await(guest bool) bool {
	s := t.proc.stubs
	full, budget := t.budget(&t.patience)
	result := spinVain
	if guest {
		if t.turns++; t.turns%turnsToLook == 0 {
			t.callDue()
		}
		t.giveWay()
		result = t.meanwhile()
	}
	for result == spinVain && budget > 0 {
		burst := min(budget, s.spin.burst)
		result = spinForTurn(t.page, burst)
		budget -= burst
		preemptible()
		if guest && result == spinVain {
			t.callDue()
		}
	}
	if result == spinAnswered || result == spinVain {
		t.patience.learn(full, result == spinAnswered)
	}
	switch result {
	case spinAnswered:
		t.placement.apart++
		t.placement.longs, t.placement.met = 0, 0
	case spinMet:
		// Waking the stub made it run in our place until it had answered: nobody
		// slept, but both sides are on one processor all the same.
		if guest {
			t.afterSleep(0)
		}
	default:
		t.leaveFloor()
		if guest {
			t.callDue()
			t.beforeSleep()
		} else {
			defer t.Overdue().Stop()
		}
		t.insist()
		slept := cycles()
		atomic.CompareAndSwapUint32(&t.page.turn, turnStub, turnStub|turnSleep)
		for atomic.LoadUint32(&t.page.turn) == turnStub|turnSleep {
			// setGone says so before it takes the turn away, which the hand-over
			// may have given back since: nobody would wake us.
			if t.proc.gone.Load() {
				return false
			}
			futexWait(&t.page.turn, turnStub|turnSleep)
		}
		if atomic.LoadUint32(&t.page.turn)&turnSentry == 0 {
			// The guest has written to the word. Who waits here may hold what Abandon takes.
			t.proc.gone.Store(true)
			go crash.Guard(t.proc.Abandon)()
			return false
		}
		t.page.sentryCPU = cpu()
		if guest {
			t.afterSleep(cycles() - slept)
		}
	}
	return !t.proc.gone.Load()
}

// callDue calls timers that are due, while the guest runs, and wakes those for whom something
// has come from the host. Threads whose guests call all the time keep Go's processors, and the
// host's, whether they spin or sleep: who waits for the host would get one when sysmon takes
// it away, after up to 10 ms. Those who are woken run at once, in the thread's place.
func (t *Thread) callDue() {
	if hrtimer.CallDue() || t.proc.stubs.timeToLook() && waiter.Late() {
		t.unpin() // or it would be given up to another thread of the host, and taken back
		waiter.LetRun()
	}
}

// timeToLook reports whether nobody has looked for lookEvery.
func (s *Stubs) timeToLook() bool {
	now, next := cycles(), s.nextLook.Load()
	return now >= next && s.nextLook.CompareAndSwap(next, now+uint64(s.spin.look))
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

// futexWake wakes all who sleep on word.
func futexWake(word *uint32) {
	syscall.RawSyscall6(syscall.SYS_FUTEX, uintptr(unsafe.Pointer(word)), 1, math.MaxInt32, 0, 0, 0)
}
