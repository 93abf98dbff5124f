package kernel

import (
	"encoding/binary"
	"math"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Clocks of a guest are the host's: its vDSO reads them without the sentry,
// except in a time namespace that shifts them (time_namespace.go).
// Processor time is kept by tasks (cputime.go).

// monotonicBase is what CLOCK_MONOTONIC showed at epoch, or a little less, so
// that a sleep until an instant of that clock never ends early.
var monotonicBase = func() time.Duration {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano() - stampNow())
}()

// timeSource is a clock that timers run by.
type timeSource interface {
	// now is the clock's time since its own zero. ThreadGroup.mu is not held.
	now() time.Duration
	// nowLocked is the same with the process's ThreadGroup.mu held.
	nowLocked() time.Duration
	// wait is how long to sleep until the clock may have advanced by d.
	// idle is how often in a row it has not advanced at all.
	wait(d time.Duration, idle int) time.Duration
}

// wallClock is one of the host's clocks.
type wallClock int32

func (c wallClock) now() time.Duration {
	switch c {
	case unix.CLOCK_REALTIME:
		return time.Duration(time.Now().UnixNano())
	case unix.CLOCK_MONOTONIC:
		return monotonicBase + time.Duration(stampNow())
	}
	var ts unix.Timespec
	if unix.ClockGettime(int32(c), &ts) != nil {
		return monotonicBase + time.Duration(stampNow())
	}
	return time.Duration(ts.Nano())
}

func (c wallClock) nowLocked() time.Duration { return c.now() }

func (c wallClock) wait(d time.Duration, _ int) time.Duration { return d }

// cpuSource is the processor time of a thread, or of a process if task is nil;
// only user mode's if userOnly is set.
type cpuSource struct {
	group    *ThreadGroup
	task     *Task
	userOnly bool
}

func (c cpuSource) now() time.Duration {
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	return c.nowLocked()
}

func (c cpuSource) nowLocked() time.Duration {
	var ct cpuTimes
	if c.task != nil {
		ct = c.task.timesLocked()
	} else {
		ct = c.group.timesLocked()
	}
	if c.userOnly {
		return time.Duration(ct.user)
	}
	return time.Duration(ct.user + ct.system)
}

// Processor timers are looked at no more often than a tick, as Linux does, and
// those of an idle process more and more rarely.
const (
	cpuTick    = time.Second / ClockTicks / 4
	maxCPUTick = 100 * time.Millisecond
)

func (c cpuSource) wait(d time.Duration, idle int) time.Duration {
	if c.task == nil {
		// Its threads are the host's: a limit on processor time (--cpus) may be used up on
		// all of the host's processors at once.
		d /= time.Duration(runtime.NumCPU())
	}
	if idle > 0 {
		d = max(d, min(cpuTick<<min(idle, 10), maxCPUTick))
	}
	return max(d, cpuTick)
}

// ClockTicks is sysconf(_SC_CLK_TCK): the unit of times(2) and of /proc.
const ClockTicks = 100

// CPUTimeOf returns the time of the processor-time clock that a clock ID
// encodes: CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, or the number of
// a thread or process as clock_getcpuclockid(3) makes it. EINVAL if there is
// none such.
func (t *Task) CPUTimeOf(id int32) (time.Duration, error) {
	c, err := t.cpuClockByID(id)
	if err != nil {
		return 0, err
	}
	return c.now(), nil
}

func (t *Task) cpuClockByID(id int32) (cpuSource, error) {
	switch id {
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		return cpuSource{group: t.group}, nil
	case unix.CLOCK_THREAD_CPUTIME_ID:
		return cpuSource{group: t.group, task: t}, nil
	}
	// linux/posix-timers.h: ~pid<<3, bit 2 for a thread, then what is counted.
	const (
		perThread = 4
		countVirt = 1
		countMask = 3
	)
	if id >= 0 || id&countMask == countMask {
		return cpuSource{}, unix.EINVAL
	}
	c := cpuSource{group: t.group, userOnly: id&countMask == countVirt}
	pid := ^(id >> 3)
	if id&perThread != 0 {
		c.task = t
		if pid != 0 {
			c.task = t.PIDs().Task(pid)
		}
		// Linux shows a thread's clock to its own process only.
		if c.task == nil || c.task.group != t.group {
			return cpuSource{}, unix.EINVAL
		}
		return c, nil
	}
	if pid != 0 {
		if c.group = t.PIDs().ThreadGroup(pid); c.group == nil {
			return cpuSource{}, unix.EINVAL
		}
	}
	return c, nil
}

// satAdd and satSub add and subtract, and stop at the ends of the range.
func satAdd(a, b time.Duration) time.Duration {
	if s := a + b; (s > a) == (b > 0) {
		return s
	}
	if b > 0 {
		return math.MaxInt64
	}
	return math.MinInt64
}

func satSub(a, b time.Duration) time.Duration {
	if b == math.MinInt64 {
		return math.MaxInt64
	}
	return satAdd(a, -b)
}

// CopyInTime reads a struct timespec or timeval: seconds, and the fraction in
// its unit, unchecked. It does not allocate.
func (t *Task) CopyInTime(addr uint64) (sec, fraction int64, err error) {
	b := t.futex.buf[:16]
	if n, err := t.ctx.CopyIn(addr, b); n < len(b) {
		if err == nil {
			err = unix.EFAULT
		}
		return 0, 0, err
	}
	return int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:])), nil
}

// CopyOutTime writes a struct timespec or timeval. It does not allocate.
func (t *Task) CopyOutTime(addr uint64, sec, fraction int64) error {
	b := t.futex.buf[:16]
	binary.NativeEndian.PutUint64(b, uint64(sec))
	binary.NativeEndian.PutUint64(b[8:], uint64(fraction))
	if n, err := t.ctx.CopyOut(addr, b); n < len(b) && err == nil {
		return unix.EFAULT
	} else {
		return err
	}
}
