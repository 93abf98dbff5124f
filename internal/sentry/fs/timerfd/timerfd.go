// Package timerfd is timerfd_create(2): timers that are read.
//
// It must not know tasks. Its clocks are the host's, as the guest's are.
//
// Lock order: File.mu, then its waiter queue.
package timerfd

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"time"

	"coffer/internal/sentry/crash"
	"coffer/internal/sentry/fs/anon"
	"coffer/internal/sentry/hrtimer"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Setting is a timer's state in nanoseconds, as struct itimerspec: the time
// to the next expiration (0 for a timer that is not armed), and the interval
// of those after it (0 for none).
type Setting struct{ Value, Interval int64 }

// File is a timer.
type File struct {
	anon.File
	clock int32
	queue waiter.Queue

	mu sync.Mutex
	// next is the next expiration that has not been counted, in nanoseconds
	// of the clock; armed says whether there is one.
	next     int64
	interval int64
	armed    bool
	// wake fires once at next. A timer that nobody reads sleeps until it is
	// read; expirations are counted by arithmetic.
	wake  *hrtimer.Timer
	flags uint32
}

// New returns a description of a timer that is not armed. clock is
// CLOCK_REALTIME, MONOTONIC or BOOTTIME, or the _ALARM variant of one; flags
// may hold TFD_NONBLOCK.
func New(clock int32, flags uint32) *vfs.FileDescription {
	return anon.NewFile(&File{clock: clock}, "[timerfd]", unix.O_RDWR|flags&unix.O_NONBLOCK)
}

// Clock is the one that New was given.
func (f *File) Clock() int32 { return f.clock }

// now reads the timer's clock, in nanoseconds.
func (f *File) now() int64 {
	clock := f.clock
	switch clock {
	case unix.CLOCK_REALTIME_ALARM:
		clock = unix.CLOCK_REALTIME
	case unix.CLOCK_BOOTTIME_ALARM:
		clock = unix.CLOCK_BOOTTIME
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0
	}
	return ts.Nano()
}

// Set arms the timer, or with a zero Value disarms it, and returns the
// setting before. flags are timerfd_settime(2)'s: with TFD_TIMER_ABSTIME the
// value is a time of the clock, otherwise it counts from now.
func (f *File) Set(flags uint32, s Setting) Setting {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	old := f.get(now)
	f.flags = flags
	f.armed = s.Value != 0
	f.interval = s.Interval
	f.next = s.Value
	if flags&unix.TFD_TIMER_ABSTIME == 0 {
		f.next = saturate(now, s.Value)
	}
	f.start(now)
	return old
}

// saturate adds without running over: a timer that far off never expires.
func saturate(a, b int64) int64 {
	if b > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + b
}

// start sets the timer for the next expiration; f.mu is held.
func (f *File) start(now int64) {
	if !f.armed {
		if f.wake != nil {
			f.wake.Stop()
		}
		return
	}
	d := time.Duration(max(f.next-now, 0))
	if f.wake == nil {
		expire := crash.Guard(f.expire)
		f.wake = hrtimer.New(func() { go expire() })
	}
	f.wake.Reset(d)
}

// expire runs when the timer fires. It may be early, or late for a setting
// that has been replaced: the clock decides.
func (f *File) expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed {
		return
	}
	if now := f.now(); now < f.next {
		f.start(now)
		return
	}
	f.queue.Notify(waiter.Readable)
}

// Get returns the present setting.
func (f *File) Get() Setting {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.get(f.now())
}

func (f *File) get(now int64) Setting {
	s := Setting{Interval: f.interval}
	if !f.armed {
		return s
	}
	switch {
	case f.next > now:
		s.Value = f.next - now
	case f.interval > 0:
		s.Value = f.interval - (now-f.next)%f.interval
	}
	return s
}

// Read implements vfs.File: the number of expirations since the last read.
func (f *File) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	if len(p) < 8 {
		return 0, unix.EINVAL
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if !f.armed || f.next > now {
		return 0, unix.EAGAIN
	}
	n := int64(1)
	if f.interval > 0 {
		n += (now - f.next) / f.interval
		f.next = saturate(f.next, n*f.interval)
		f.start(now)
	} else {
		f.armed = false
	}
	binary.LittleEndian.PutUint64(p, uint64(n))
	return 8, nil
}

// Readiness implements waiter.Waitable.
func (f *File) Readiness(mask waiter.Mask) waiter.Mask {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.armed && f.next <= f.now() {
		return mask & waiter.Readable
	}
	return 0
}

// Register implements waiter.Waitable.
func (f *File) Register(e *waiter.Entry) { f.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (f *File) Unregister(e *waiter.Entry) { f.queue.Unregister(e) }

// Release implements vfs.File.
func (f *File) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	f.start(0)
}

// FDInfo is what /proc/PID/fdinfo says beside the common lines.
func (f *File) FDInfo() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	s, ticks := f.get(now), int64(0)
	if f.armed && f.next <= now {
		ticks = 1
		if f.interval > 0 {
			ticks += (now - f.next) / f.interval
		}
	}
	return fmt.Sprintf("clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n",
		f.clock, ticks, f.flags, s.Value/1e9, s.Value%1e9, s.Interval/1e9, s.Interval%1e9)
}
