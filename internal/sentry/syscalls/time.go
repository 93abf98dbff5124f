package syscalls

import (
	"math"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func timeRows() []Row {
	return []Row{
		full(35, "nanosleep", sysNanosleep, P("req", Timespec), P("rem", OutTimespec)),
		full(96, "gettimeofday", sysGettimeofday, P("tv", OutTimeval), P("tz", OutTimezone)),
		partial(164, "settimeofday", sysSettimeofday, "the clock is the host's, so it is always EPERM", P("tv", Timeval), P("tz", Timezone)),
		partial(159, "adjtimex", sysAdjtimex, "reads; changes are EPERM", P("buf", InOutTimex)),
		full(201, "time", sysTime, P("tloc", OutLong)),
		partial(227, "clock_settime", sysClockSettime, "the clocks are the host's, so it is always EPERM", P("clockid", Clock), P("tp", Timespec)),
		full(228, "clock_gettime", sysClockGettime, P("clockid", Clock), P("tp", OutTimespec)),
		full(229, "clock_getres", sysClockGetres, P("clockid", Clock), P("res", OutTimespec)),
		partial(230, "clock_nanosleep", sysClockNanosleep, "a sleep on CLOCK_REALTIME does not notice when the host's clock is set; another process's CPU clock is EINVAL",
			P("clockid", Clock), PF("flags", Flags, timerFlags), P("request", Timespec), P("remain", OutTimespec)),
		partial(305, "clock_adjtime", sysClockAdjtime, "reads CLOCK_REALTIME; changes are EPERM", P("clockid", Clock), P("buf", InOutTimex)),
	}
}

var timerFlags = &FlagSet{Names: []FlagName{{unix.TIMER_ABSTIME, "TIMER_ABSTIME"}}}

// toDuration checks a timespec as timespec64_valid does. Times beyond what a
// Duration holds are cut to its end, 292 years.
func toDuration(sec, nsec int64) (time.Duration, error) {
	if sec < 0 || nsec < 0 || nsec >= 1e9 {
		return 0, unix.EINVAL
	}
	if sec >= math.MaxInt64/int64(time.Second) {
		return math.MaxInt64, nil
	}
	return time.Duration(sec)*time.Second + time.Duration(nsec), nil
}

// copyInTimespec reads and checks the struct timespec at addr.
func copyInTimespec(t *kernel.Task, addr uint64) (time.Duration, error) {
	sec, nsec, err := t.CopyInTime(addr)
	if err != nil {
		return 0, err
	}
	return toDuration(sec, nsec)
}

// copyOutTimespec writes d to addr.
func copyOutTimespec(t *kernel.Task, addr uint64, d time.Duration) error {
	return t.CopyOutTime(addr, int64(d/time.Second), int64(d%time.Second))
}

// copyInTimeval reads and checks the struct timeval at addr.
func copyInTimeval(t *kernel.Task, addr uint64) (time.Duration, error) {
	sec, usec, err := t.CopyInTime(addr)
	if err != nil {
		return 0, err
	}
	if usec < 0 || usec >= 1e6 {
		return 0, unix.EINVAL
	}
	return toDuration(sec, usec*1000)
}

// isHostClock reports whether the host keeps the clock.
func isHostClock(id int32) bool {
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW,
		unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE, unix.CLOCK_BOOTTIME,
		unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM, unix.CLOCK_TAI:
		return true
	}
	return false
}

// sysClockGettime is clock_gettime(2). The vDSO answers most of these calls
// without us.
func sysClockGettime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id := a.Int(0)
	if !isHostClock(id) {
		d, err := t.CPUTimeOf(id)
		if err != nil {
			return 0, err
		}
		return 0, copyOutTimespec(t, a[1], d)
	}
	sec, nsec, err := hostClock(id)
	if err != nil {
		return 0, err
	}
	if o := t.ClockOffset(id); o != 0 {
		return 0, copyOutTimespec(t, a[1], time.Duration(sec)*time.Second+time.Duration(nsec)+o)
	}
	return 0, t.CopyOutTime(a[1], sec, nsec)
}

// hostClock reads a clock of the host's.
func hostClock(id int32) (sec, nsec int64, err error) {
	switch id {
	case unix.CLOCK_REALTIME_ALARM:
		id = unix.CLOCK_REALTIME
	case unix.CLOCK_BOOTTIME_ALARM:
		id = unix.CLOCK_BOOTTIME
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		return 0, 0, unix.EINVAL
	}
	return ts.Sec, ts.Nsec, nil
}

// sysClockGetres is clock_getres(2).
func sysClockGetres(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id := a.Int(0)
	resolution := time.Duration(1)
	switch {
	case id == unix.CLOCK_REALTIME_COARSE || id == unix.CLOCK_MONOTONIC_COARSE:
		var ts unix.Timespec
		if unix.ClockGetres(id, &ts) == nil {
			resolution = time.Duration(ts.Nano())
		}
	case isHostClock(id):
	default:
		if _, err := t.CPUTimeOf(id); err != nil {
			return 0, err
		}
	}
	if a[1] == 0 {
		return 0, nil
	}
	return 0, copyOutTimespec(t, a[1], resolution)
}

// sysClockSettime is clock_settime(2).
func sysClockSettime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if id := a.Int(0); id != unix.CLOCK_REALTIME {
		return 0, unix.EINVAL
	}
	if _, err := copyInTimespec(t, a[1]); err != nil {
		return 0, err
	}
	return 0, unix.EPERM
}

// sysSettimeofday is settimeofday(2).
func sysSettimeofday(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[0] != 0 {
		if _, err := copyInTimeval(t, a[0]); err != nil {
			return 0, err
		}
	}
	return 0, unix.EPERM
}

// sysGettimeofday is gettimeofday(2). The time zone is UTC, as on every Linux
// whose /etc/rc doesn't set it.
func sysGettimeofday(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[0] != 0 {
		sec, nsec, err := hostClock(unix.CLOCK_REALTIME)
		if err != nil {
			return 0, err
		}
		if err := t.CopyOutTime(a[0], sec, nsec/1000); err != nil {
			return 0, err
		}
	}
	if a[1] != 0 {
		return 0, t.CopyOutUint64(a[1], 0)
	}
	return 0, nil
}

// sysTime is time(2).
func sysTime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	sec, _, err := hostClock(unix.CLOCK_REALTIME)
	if err != nil {
		return 0, err
	}
	if a[0] != 0 {
		if err := t.CopyOutUint64(a[0], uint64(sec)); err != nil {
			return 0, err
		}
	}
	return uintptr(sec), nil
}

// sysNanosleep is nanosleep(2).
func sysNanosleep(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := copyInTimespec(t, a[0])
	if err != nil {
		return 0, err
	}
	return sleepUntil(t, time.Now().Add(d), a[1])
}

// sleepUntil sleeps until deadline. A signal without a handler lets it sleep
// on; with one it writes to remain, if that is not 0, what was left.
func sleepUntil(t *kernel.Task, deadline time.Time, remain uint64) (uintptr, error) {
	err := t.Block(nil, deadline)
	if err == unix.ETIMEDOUT {
		return 0, nil
	}
	if err != abi.ERESTARTSYS {
		return 0, err
	}
	if remain != 0 {
		if err := copyOutTimespec(t, remain, max(0, time.Until(deadline))); err != nil {
			return 0, err
		}
	}
	return 0, t.SetRestart(func(t *kernel.Task) (uintptr, error) {
		return sleepUntil(t, deadline, remain)
	})
}

// sysClockNanosleep is clock_nanosleep(2).
func sysClockNanosleep(t *kernel.Task, a kernel.Args) (uintptr, error) {
	id, flags := a.Int(0), a.Int(1)
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME, unix.CLOCK_TAI:
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE:
		return 0, unix.EOPNOTSUPP
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if !t.Credentials().Can(unix.CAP_WAKE_ALARM) {
			return 0, unix.EPERM
		}
		if id == unix.CLOCK_REALTIME_ALARM {
			id = unix.CLOCK_REALTIME
		} else {
			id = unix.CLOCK_BOOTTIME
		}
	case unix.CLOCK_THREAD_CPUTIME_ID:
		return 0, unix.EINVAL
	default:
		if _, err := t.CPUTimeOf(id); err != nil {
			return 0, err
		}
	}
	d, err := copyInTimespec(t, a[2])
	if err != nil {
		return 0, err
	}
	absolute := flags&unix.TIMER_ABSTIME != 0
	if !isHostClock(id) {
		return sleepCPU(t, id, d, absolute, a[3])
	}
	if absolute {
		// The same call leads to the same instant, so it is made again.
		err := t.Block(nil, t.WallDeadline(id, d))
		switch err {
		case unix.ETIMEDOUT:
			return 0, nil
		case abi.ERESTARTSYS:
			return 0, abi.ERESTARTNOHAND
		}
		return 0, err
	}
	return sleepUntil(t, time.Now().Add(d), a[3])
}

// sleepCPU sleeps until a processor-time clock has advanced.
func sleepCPU(t *kernel.Task, id int32, at time.Duration, absolute bool, remain uint64) (uintptr, error) {
	now, err := t.CPUTimeOf(id)
	if err != nil {
		return 0, err
	}
	if !absolute {
		at = time.Duration(min(uint64(now)+uint64(at), math.MaxInt64))
	}
	err = t.BlockCPU(id, at)
	if err != abi.ERESTARTSYS {
		return 0, err
	}
	if absolute {
		return 0, abi.ERESTARTNOHAND
	}
	if now, err := t.CPUTimeOf(id); remain != 0 && err == nil {
		if err := copyOutTimespec(t, remain, max(0, at-now)); err != nil {
			return 0, err
		}
	}
	return 0, t.SetRestart(func(t *kernel.Task) (uintptr, error) {
		now, err := t.CPUTimeOf(id)
		if err != nil {
			return 0, err
		}
		return sleepCPU(t, id, max(0, at-now), false, remain)
	})
}

// sysAdjtimex is adjtimex(2).
func sysAdjtimex(t *kernel.Task, a kernel.Args) (uintptr, error) { return adjtime(t, a[0]) }

// sysClockAdjtime is clock_adjtime(2).
func sysClockAdjtime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	switch id := a.Int(0); {
	case id == unix.CLOCK_REALTIME:
		return adjtime(t, a[1])
	case isHostClock(id):
		return 0, unix.EOPNOTSUPP
	}
	return 0, unix.EINVAL
}

// adjtime answers how the host's clock is disciplined.
func adjtime(t *kernel.Task, addr uint64) (uintptr, error) {
	var tx unix.Timex
	if err := kernel.CopyInStruct(t, addr, &tx); err != nil {
		return 0, err
	}
	// ADJ_OFFSET_SS_READ only reads too.
	const adjOffsetSSRead = 0xa001
	if tx.Modes != 0 && tx.Modes != adjOffsetSSRead {
		return 0, unix.EPERM
	}
	// An unsynchronised clock is what a machine without ntpd has.
	const (
		timeError = 5
		staUnsync = 0x40
	)
	sec, nsec, err := hostClock(unix.CLOCK_REALTIME)
	if err != nil {
		return 0, err
	}
	tx = unix.Timex{
		Modes: tx.Modes, Maxerror: 16000000, Esterror: 16000000, Status: staUnsync,
		Constant: 2, Precision: 1, Tolerance: 32768000, Tick: 10000,
		Time: unix.Timeval{Sec: sec, Usec: nsec / 1000},
	}
	return timeError, kernel.CopyOutStruct(t, addr, &tx)
}
