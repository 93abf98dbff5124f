package kernel

import (
	"sync"
	"time"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/hrtimer"
)

// alarm calls a function when a clock reaches an instant. It is the one
// mechanism behind interval timers, POSIX timers and RLIMIT_CPU. While nothing
// is armed it costs nothing.
//
// alarm.mu is a leaf lock.
type alarm struct {
	source timeSource
	// fire runs on a goroutine of its own, without locks.
	fire func(now time.Duration)

	mu    sync.Mutex
	timer *hrtimer.Timer
	armed bool
	at    time.Duration
	// last is what the clock showed when last looked at, and idle how often in
	// a row it has not moved.
	last time.Duration
	idle int
}

// arm has fire called once the clock shows at. now is what it shows now.
func (a *alarm) arm(at, now time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.armed, a.at, a.last, a.idle = true, at, now, 0
	a.schedule(now)
}

// disarm cancels; fire may be running already.
func (a *alarm) disarm() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.armed = false
	if a.timer != nil {
		a.timer.Stop()
	}
}

// schedule sets the timer. The lock is held.
func (a *alarm) schedule(now time.Duration) {
	d := max(0, satSub(a.at, now))
	if d > 0 {
		d = a.source.wait(d, a.idle)
	}
	if a.timer == nil {
		tick := crash.Guard(a.tick)
		a.timer = hrtimer.New(func() { go tick() })
	}
	a.timer.Reset(d)
}

// tick looks whether the instant has come. A tick that was set for an earlier
// instant finds that it is too early, and sets another.
func (a *alarm) tick() {
	now := a.source.now()
	a.mu.Lock()
	if !a.armed {
		a.mu.Unlock()
		return
	}
	if now < a.at {
		if now == a.last {
			a.idle++
		} else {
			a.idle = 0
		}
		a.last = now
		a.schedule(now)
		a.mu.Unlock()
		return
	}
	a.armed = false
	a.mu.Unlock()
	a.fire(now)
}

// nextExpiry returns the first instant of at, at+interval, ... that is after
// now, and how many there were from at until now beyond the first.
func nextExpiry(at, interval, now time.Duration) (next time.Duration, missed int64) {
	if now < at {
		return at, 0
	}
	missed = int64((now - at) / interval)
	return satAdd(at, satAdd(time.Duration(missed)*interval, interval)), missed
}

// BlockCPU sleeps until a processor-time clock shows at. Errors are Block's,
// or CPUTimeOf's.
func (t *Task) BlockCPU(id int32, at time.Duration) error {
	source, err := t.cpuClockByID(id)
	if err != nil {
		return err
	}
	ch := make(chan struct{}, 1)
	a := alarm{source: source, fire: func(time.Duration) { ch <- struct{}{} }}
	a.arm(at, source.now())
	defer a.disarm()
	return t.Block(ch, time.Time{})
}
