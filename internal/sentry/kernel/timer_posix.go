package kernel

import (
	"math"
	"sync"
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// POSIX timers, as timer_create(2) makes them. As on Linux a timer has at most
// one signal pending, and a periodic one runs on only when that is delivered;
// what it missed meanwhile is its overrun count.
//
// Lock order: ThreadGroup.mu, then posixTimer.mu (a signal's delivery takes
// the second under the first), then alarm.mu. posixTimers.mu is taken alone.
type posixTimers struct {
	mu   sync.Mutex
	m    map[int32]*posixTimer
	next int32
}

// Ways in which a POSIX timer tells of its expiration (sigevent(3type)).
const (
	SigevSignal   = 0
	SigevNone     = 1
	SigevThread   = 2
	SigevThreadID = 4
)

// TimerEvent is struct sigevent: what happens when a timer expires.
type TimerEvent struct {
	// Notify is one of the Sigev values.
	Notify int32
	Signo  int32
	Value  uint64
	// TID is the thread that SigevThreadID signals.
	TID int32
}

type posixTimer struct {
	group *ThreadGroup
	// user is who the timer is counted to.
	user   *userCounts
	id     int32
	event  TimerEvent
	target *Task // nil for the process
	alarm  alarm
	clock  int32

	mu       sync.Mutex
	armed    bool
	at       time.Duration
	interval time.Duration
	// pending says that the signal is in the queue.
	pending bool
	// overrun is the count of the last delivery.
	overrun int32
	deleted bool
}

// NewPosixTimer makes a timer that runs by a clock and returns its number. With
// a nil event it sends SIGALRM with its number as value. EINVAL for a clock or
// event that there is not, EAGAIN if the user
// has as many timers and queued signals as RLIMIT_SIGPENDING allows, EPERM for the alarm clocks without CAP_WAKE_ALARM.
func (t *Task) NewPosixTimer(clock int32, event *TimerEvent) (int32, error) {
	source, err := t.timerSource(clock)
	if err != nil {
		return 0, err
	}
	g := t.group
	pt := &posixTimer{group: g, clock: clock}
	if event != nil {
		pt.event = *event
		if err := pt.checkEvent(t); err != nil {
			return 0, err
		}
	}
	pt.alarm.source, pt.alarm.fire = source, pt.expired
	ts := &g.timers.posix
	ts.mu.Lock()
	defer ts.mu.Unlock()
	pt.user = t.k.users.get(t.Credentials().RUID)
	if !pt.user.signals.Take(g.limits.Cur(limitSigPending)) {
		return 0, unix.EAGAIN
	}
	if ts.m == nil {
		ts.m = make(map[int32]*posixTimer)
	}
	for ts.m[ts.next] != nil {
		ts.next = (ts.next + 1) & math.MaxInt32
	}
	pt.id = ts.next
	ts.next = (ts.next + 1) & math.MaxInt32
	if event == nil {
		pt.event = TimerEvent{Notify: SigevSignal, Signo: int32(unix.SIGALRM), Value: uint64(pt.id)}
	}
	ts.m[pt.id] = pt
	return pt.id, nil
}

// timerSource returns the clock that a timer may run by.
func (t *Task) timerSource(clock int32) (timeSource, error) {
	switch clock {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_TAI:
		return wallClock(clock), nil
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if !t.Credentials().Can(unix.CAP_WAKE_ALARM) {
			return nil, unix.EPERM
		}
		// The sandbox can't keep the host awake, so these are their plain kin.
		if clock == unix.CLOCK_REALTIME_ALARM {
			return wallClock(unix.CLOCK_REALTIME), nil
		}
		return wallClock(unix.CLOCK_BOOTTIME), nil
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE:
		return nil, unix.EOPNOTSUPP
	}
	c, err := t.cpuClockByID(clock)
	if err == nil && c.group != t.group {
		// Another process's clock can't be read while a signal is delivered.
		return nil, unix.EINVAL
	}
	return c, err
}

// checkEvent checks what the guest asked for, as Linux's good_sigevent.
func (pt *posixTimer) checkEvent(t *Task) error {
	e := &pt.event
	switch e.Notify {
	case SigevNone:
		return nil
	case SigevThreadID | SigevSignal:
		pt.target = t.PIDs().Task(e.TID)
		if pt.target == nil || pt.target.group != t.group {
			return unix.EINVAL
		}
	case SigevSignal, SigevThread:
	default:
		return unix.EINVAL
	}
	if !ValidSignal(e.Signo) {
		return unix.EINVAL
	}
	return nil
}

// posixTimer returns the timer of a number, or EINVAL.
func (g *ThreadGroup) posixTimer(id int32) (*posixTimer, error) {
	ts := &g.timers.posix
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if pt := ts.m[id]; pt != nil {
		return pt, nil
	}
	return nil, unix.EINVAL
}

// SetPosixTimer starts a timer, or stops it if v.Left is 0, and returns its
// former state. With absolute v.Left is an instant of its clock as the task sees
// it. EINVAL if there is no such timer.
func (t *Task) SetPosixTimer(id int32, v TimerValue, absolute bool) (TimerValue, error) {
	g := t.group
	pt, err := g.posixTimer(id)
	if err != nil {
		return TimerValue{}, err
	}
	// Both locks, so that a signal of the former setting is not taken for one
	// of the new.
	g.mu.Lock()
	defer g.mu.Unlock()
	now := pt.alarm.source.nowLocked()
	pt.mu.Lock()
	defer pt.mu.Unlock()
	old := pt.value(now)
	pt.stopLocked()
	pt.interval, pt.armed = v.Interval, v.Left != 0
	if pt.armed {
		if absolute {
			pt.at = satSub(v.Left, t.ClockOffset(pt.clock))
		} else {
			pt.at = satAdd(now, v.Left)
		}
		if pt.event.Notify != SigevNone {
			pt.alarm.arm(pt.at, now)
		}
	}
	return old, nil
}

// stopLocked stops the timer and drops its signal. The locks of the process
// and of the timer are held.
func (pt *posixTimer) stopLocked() {
	pt.armed = false
	pt.alarm.disarm()
	if pt.pending {
		pt.group.pending.removeTimer(pt)
		for _, t := range pt.group.threads {
			t.pending.removeTimer(pt)
		}
	}
	pt.pending, pt.overrun = false, 0
}

// PosixTimer returns a timer's state. EINVAL if there is no such timer.
func (g *ThreadGroup) PosixTimer(id int32) (TimerValue, error) {
	pt, err := g.posixTimer(id)
	if err != nil {
		return TimerValue{}, err
	}
	now := pt.alarm.source.now()
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.value(now), nil
}

// PosixTimerOverrun is timer_getoverrun(2).
func (g *ThreadGroup) PosixTimerOverrun(id int32) (int32, error) {
	pt, err := g.posixTimer(id)
	if err != nil {
		return 0, err
	}
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.overrun, nil
}

// DeletePosixTimer stops and removes a timer. EINVAL if there is none such.
func (g *ThreadGroup) DeletePosixTimer(id int32) error {
	ts := &g.timers.posix
	ts.mu.Lock()
	pt := ts.m[id]
	delete(ts.m, id)
	ts.mu.Unlock()
	if pt == nil {
		return unix.EINVAL
	}
	pt.delete()
	return nil
}

// DeletePosixTimers removes all, as execve(2) and the end of a process do.
func (g *ThreadGroup) DeletePosixTimers() {
	ts := &g.timers.posix
	ts.mu.Lock()
	all := ts.m
	ts.m = nil
	ts.mu.Unlock()
	for _, pt := range all {
		pt.delete()
	}
}

func (pt *posixTimer) delete() {
	pt.group.mu.Lock()
	defer pt.group.mu.Unlock()
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.deleted = true
	pt.stopLocked()
	pt.user.signals.Add(-1)
}

// value is the state at a time. The lock is held.
func (pt *posixTimer) value(now time.Duration) TimerValue {
	v := TimerValue{Interval: pt.interval}
	if !pt.armed {
		return v
	}
	at := pt.at
	if pt.interval > 0 && now >= at {
		at, _ = nextExpiry(at, pt.interval, now)
	}
	switch {
	case at > now:
		v.Left = at - now
	case pt.event.Notify != SigevNone && !pt.pending:
		v.Left = 1 // expired, and about to say so
	}
	return v
}

// expired sends the signal.
func (pt *posixTimer) expired(now time.Duration) {
	pt.mu.Lock()
	if !pt.armed || pt.pending || now < pt.at {
		pt.mu.Unlock()
		return
	}
	pt.pending = true
	if pt.interval == 0 {
		pt.armed = false
	}
	info := abi.Siginfo{Signo: pt.event.Signo, Code: abi.SI_TIMER}
	info.SetTimerID(pt.id)
	info.SetValue(pt.event.Value)
	pt.mu.Unlock()

	if pt.group.SignalTimer(pt.target, &info, pt) {
		pt.mu.Lock()
		deleted := pt.deleted
		pt.mu.Unlock()
		if deleted { // deleted while it was sent
			pt.group.CancelTimerSignal(pt)
		}
		return
	}
	// The signal is ignored, or the thread is gone: run on without it.
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.pending = false
	if pt.armed && pt.interval > 0 {
		pt.at, _ = nextExpiry(pt.at, pt.interval, now)
		// Nobody hears it, so it need not be often.
		pt.alarm.arm(max(pt.at, satAdd(now, 10*time.Millisecond)), now)
	}
}

// Delivered implements TimerSignal: it counts what was missed since the signal
// was sent, and lets a periodic timer run on.
func (pt *posixTimer) Delivered(info *abi.Siginfo) {
	now := pt.alarm.source.nowLocked()
	pt.mu.Lock()
	defer pt.mu.Unlock()
	if !pt.pending {
		return
	}
	pt.pending, pt.overrun = false, 0
	if pt.armed && pt.interval > 0 {
		var missed int64
		pt.at, missed = nextExpiry(pt.at, pt.interval, now)
		pt.overrun = int32(min(missed, math.MaxInt32))
		pt.at = max(pt.at, satAdd(now, minTimerInterval))
		pt.alarm.arm(pt.at, now)
	}
	info.SetOverrun(pt.overrun)
}
