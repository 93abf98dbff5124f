package kernel

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// groupTimers are a process's timers. The zero value is ready.
type groupTimers struct {
	interval [3]intervalTimer
	posix    posixTimers
	cpuLimit cpuLimit
}

// minTimerInterval is the shortest time between two expirations that is kept
// up: a shorter interval makes the timer late, not the sentry busy.
const minTimerInterval = 50 * time.Microsecond

// intervalTimer is one of setitimer(2)'s timers.
type intervalTimer struct {
	mu       sync.Mutex
	alarm    *alarm // made when first set
	at       time.Duration
	interval time.Duration
	armed    bool
}

// TimerValue is the time to a timer's expiration, 0 if it is not running, and
// the interval after that, 0 if there is none.
type TimerValue struct{ Left, Interval time.Duration }

// IntervalTimer returns the state of a timer: unix.ITIMER_REAL,
// ITIMER_VIRTUAL or ITIMER_PROF.
func (g *ThreadGroup) IntervalTimer(which int) TimerValue {
	it := &g.timers.interval[which]
	now := g.intervalSource(which).now()
	it.mu.Lock()
	defer it.mu.Unlock()
	return it.value(now)
}

// SetIntervalTimer starts a timer, or stops it if v.Left is 0, and returns its
// former state.
func (g *ThreadGroup) SetIntervalTimer(which int, v TimerValue) (old TimerValue) {
	it := &g.timers.interval[which]
	source := g.intervalSource(which)
	now := source.now()
	it.mu.Lock()
	defer it.mu.Unlock()
	old = it.value(now)
	if it.alarm == nil {
		if v.Left == 0 {
			return old
		}
		it.alarm = &alarm{source: source, fire: func(now time.Duration) { g.intervalExpired(which, now) }}
	}
	it.interval = v.Interval
	it.armed = v.Left != 0
	if !it.armed {
		it.alarm.disarm()
		return old
	}
	it.at = satAdd(now, v.Left)
	it.alarm.arm(it.at, now)
	return old
}

// value is the state at a time. The lock is held.
func (it *intervalTimer) value(now time.Duration) TimerValue {
	if !it.armed {
		return TimerValue{Interval: it.interval}
	}
	// A running timer never shows 0: that would say that it is not.
	return TimerValue{max(satSub(it.at, now), time.Microsecond), it.interval}
}

func (g *ThreadGroup) intervalSource(which int) timeSource {
	if which == unix.ITIMER_REAL {
		return wallClock(unix.CLOCK_MONOTONIC)
	}
	return cpuSource{group: g, userOnly: which == unix.ITIMER_VIRTUAL}
}

var intervalSignals = [3]unix.Signal{
	unix.ITIMER_REAL: unix.SIGALRM, unix.ITIMER_VIRTUAL: unix.SIGVTALRM, unix.ITIMER_PROF: unix.SIGPROF,
}

func (g *ThreadGroup) intervalExpired(which int, now time.Duration) {
	it := &g.timers.interval[which]
	it.mu.Lock()
	if !it.armed || now < it.at { // set anew meanwhile
		it.mu.Unlock()
		return
	}
	if it.armed = it.interval > 0; it.armed {
		it.at, _ = nextExpiry(it.at, it.interval, now)
		it.at = max(it.at, satAdd(now, minTimerInterval))
		it.alarm.arm(it.at, now)
	}
	it.mu.Unlock()
	g.Signal(KernelSignal(intervalSignals[which]))
}

// ExitTimers stops all timers of a process that has ended.
func (g *ThreadGroup) ExitTimers() {
	for which := range g.timers.interval {
		g.SetIntervalTimer(which, TimerValue{})
	}
	g.DeletePosixTimers()
	g.timers.cpuLimit.stop()
}
