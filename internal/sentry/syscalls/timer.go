package syscalls

import (
	"time"

	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func timerRows() []Row {
	return []Row{
		full(36, "getitimer", sysGetitimer, PF("which", Enum, itimerNames), P("value", OutItimerval)),
		full(37, "alarm", sysAlarm, P("seconds", Unsigned)),
		full(38, "setitimer", sysSetitimer, PF("which", Enum, itimerNames), P("new_value", Itimerval), P("old_value", OutItimerval)),
		partial(222, "timer_create", sysTimerCreate, "another process's CPU clock is EINVAL; the alarm clocks don't wake a host that sleeps",
			P("clockid", Clock), P("sevp", Sigevent), P("timerid", OutInt)),
		full(223, "timer_settime", sysTimerSettime, P("timerid", Dec), PF("flags", Flags, timerFlags), P("new_value", Itimerspec), P("old_value", OutItimerspec)),
		full(224, "timer_gettime", sysTimerGettime, P("timerid", Dec), P("value", OutItimerspec)),
		full(225, "timer_getoverrun", sysTimerGetoverrun, P("timerid", Dec)),
		full(226, "timer_delete", sysTimerDelete, P("timerid", Dec)),
	}
}

var itimerNames = &FlagSet{Names: []FlagName{
	{unix.ITIMER_REAL, "ITIMER_REAL"}, {unix.ITIMER_VIRTUAL, "ITIMER_VIRTUAL"}, {unix.ITIMER_PROF, "ITIMER_PROF"},
}}

// copyOutItimerval writes struct itimerval: interval, then value. What is left
// is rounded up, so that a running timer does not show 0.
func copyOutItimerval(t *kernel.Task, addr uint64, v kernel.TimerValue) error {
	left := (v.Left + time.Microsecond - 1) / time.Microsecond
	interval := v.Interval / time.Microsecond
	if err := t.CopyOutTime(addr, int64(interval/1e6), int64(interval%1e6)); err != nil {
		return err
	}
	return t.CopyOutTime(addr+16, int64(left/1e6), int64(left%1e6))
}

// sysGetitimer is getitimer(2).
func sysGetitimer(t *kernel.Task, a kernel.Args) (uintptr, error) {
	which := a.Int(0)
	if which < 0 || which > unix.ITIMER_PROF {
		return 0, unix.EINVAL
	}
	return 0, copyOutItimerval(t, a[1], t.ThreadGroup().IntervalTimer(int(which)))
}

// sysSetitimer is setitimer(2). Without a new value the timer is stopped, as
// Linux does.
func sysSetitimer(t *kernel.Task, a kernel.Args) (uintptr, error) {
	which := a.Int(0)
	var v kernel.TimerValue
	var err error
	if a[1] != 0 {
		if v.Interval, err = copyInTimeval(t, a[1]); err != nil {
			return 0, err
		}
		if v.Left, err = copyInTimeval(t, a[1]+16); err != nil {
			return 0, err
		}
	}
	if which < 0 || which > unix.ITIMER_PROF {
		return 0, unix.EINVAL
	}
	old := t.ThreadGroup().SetIntervalTimer(int(which), v)
	if a[2] == 0 {
		return 0, nil
	}
	return 0, copyOutItimerval(t, a[2], old)
}

// sysAlarm is alarm(2).
func sysAlarm(t *kernel.Task, a kernel.Args) (uintptr, error) {
	v := kernel.TimerValue{Left: time.Duration(a.Uint(0)) * time.Second}
	old := t.ThreadGroup().SetIntervalTimer(unix.ITIMER_REAL, v).Left
	// Rounded, but never to 0 while the timer runs.
	left := old.Round(time.Second)
	if old > 0 && left == 0 {
		left = time.Second
	}
	return uintptr(left / time.Second), nil
}

// sysTimerCreate is timer_create(2).
func sysTimerCreate(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var event *kernel.TimerEvent
	if a[1] != 0 {
		// struct sigevent: value, signo, notify, thread ID, padding to 64 bytes.
		var raw struct {
			Value              uint64
			Signo, Notify, TID int32
			_                  [44]byte
		}
		if err := kernel.CopyInStruct(t, a[1], &raw); err != nil {
			return 0, err
		}
		event = &kernel.TimerEvent{Notify: raw.Notify, Signo: raw.Signo, Value: raw.Value, TID: raw.TID}
	}
	id, err := t.NewPosixTimer(a.Int(0), event)
	if err != nil {
		return 0, err
	}
	if err := t.CopyOutUint32(a[2], uint32(id)); err != nil {
		t.ThreadGroup().DeletePosixTimer(id)
		return 0, err
	}
	return 0, nil
}

// sysTimerSettime is timer_settime(2).
func sysTimerSettime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[2] == 0 {
		return 0, unix.EINVAL
	}
	var v kernel.TimerValue
	var err error
	if v.Interval, err = copyInTimespec(t, a[2]); err != nil {
		return 0, err
	}
	if v.Left, err = copyInTimespec(t, a[2]+16); err != nil {
		return 0, err
	}
	absolute := a.Int(1)&unix.TIMER_ABSTIME != 0
	old, err := t.SetPosixTimer(a.Int(0), v, absolute)
	if err != nil || a[3] == 0 {
		return 0, err
	}
	return 0, copyOutItimerspec(t, a[3], old)
}

func copyOutItimerspec(t *kernel.Task, addr uint64, v kernel.TimerValue) error {
	if err := copyOutTimespec(t, addr, v.Interval); err != nil {
		return err
	}
	return copyOutTimespec(t, addr+16, v.Left)
}

// sysTimerGettime is timer_gettime(2).
func sysTimerGettime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	v, err := t.ThreadGroup().PosixTimer(a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, copyOutItimerspec(t, a[1], v)
}

// sysTimerGetoverrun is timer_getoverrun(2).
func sysTimerGetoverrun(t *kernel.Task, a kernel.Args) (uintptr, error) {
	n, err := t.ThreadGroup().PosixTimerOverrun(a.Int(0))
	return uintptr(n), err
}

// sysTimerDelete is timer_delete(2).
func sysTimerDelete(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.ThreadGroup().DeletePosixTimer(a.Int(0))
}
