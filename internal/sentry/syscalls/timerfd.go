package syscalls

import (
	"time"

	"coffer/internal/sentry/fs/timerfd"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func timerfdRows() []Row {
	return []Row{
		full(283, "timerfd_create", sysTimerfdCreate, P("clockid", Clock), PF("flags", Flags, timerfdFlags)).returns(FD),
		partial(286, "timerfd_settime", sysTimerfdSettime,
			"TFD_TIMER_CANCEL_ON_SET has no effect, since nobody inside can set the clock",
			P("fd", FD), PF("flags", Flags, timerfdSetFlags), P("new_value", Itimerspec), P("old_value", OutItimerspec)),
		full(287, "timerfd_gettime", sysTimerfdGettime, P("fd", FD), P("curr_value", OutItimerspec)),
	}
}

var (
	timerfdFlags = &FlagSet{Names: []FlagName{
		{unix.TFD_CLOEXEC, "TFD_CLOEXEC"}, {unix.TFD_NONBLOCK, "TFD_NONBLOCK"},
	}}
	timerfdSetFlags = &FlagSet{Names: []FlagName{
		{unix.TFD_TIMER_ABSTIME, "TFD_TIMER_ABSTIME"}, {unix.TFD_TIMER_CANCEL_ON_SET, "TFD_TIMER_CANCEL_ON_SET"},
	}}
)

// sysTimerfdCreate is timerfd_create(2).
func sysTimerfdCreate(t *kernel.Task, a kernel.Args) (uintptr, error) {
	clock, flags := a.Int(0), a.Uint(1)
	if flags&^(unix.TFD_CLOEXEC|unix.TFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	switch clock {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if !t.Credentials().Can(unix.CAP_WAKE_ALARM) {
			return 0, unix.EPERM
		}
	default:
		return 0, unix.EINVAL
	}
	return installFile(t, timerfd.New(clock, flags), flags&unix.TFD_CLOEXEC != 0)
}

// timerFile returns the timer behind fd, and its description with a
// reference.
func timerFile(t *kernel.Task, fd int32) (*timerfd.File, *vfs.FileDescription, error) {
	d, err := t.File(fd)
	if err != nil {
		return nil, nil, err
	}
	f, ok := d.File.(*timerfd.File)
	if !ok {
		d.DecRef()
		return nil, nil, unix.EINVAL
	}
	return f, d, nil
}

// sysTimerfdSettime is timerfd_settime(2).
func sysTimerfdSettime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(1)
	if flags&^(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET) != 0 {
		return 0, unix.EINVAL
	}
	interval, err := copyInTimespec(t, a[2])
	if err != nil {
		return 0, err
	}
	value, err := copyInTimespec(t, a[2]+16)
	if err != nil {
		return 0, err
	}
	f, d, err := timerFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	if flags&unix.TFD_TIMER_ABSTIME != 0 && value != 0 {
		// 0 would stop it; what has passed by any other time expires at once too.
		value = max(1, value-t.ClockOffset(f.Clock()))
	}
	old := f.Set(flags, timerfd.Setting{Value: int64(value), Interval: int64(interval)})
	if a[3] == 0 {
		return 0, nil
	}
	return 0, copyOutSetting(t, a[3], old)
}

// sysTimerfdGettime is timerfd_gettime(2).
func sysTimerfdGettime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	f, d, err := timerFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	return 0, copyOutSetting(t, a[1], f.Get())
}

func copyOutSetting(t *kernel.Task, addr uint64, s timerfd.Setting) error {
	if err := copyOutTimespec(t, addr, time.Duration(s.Interval)); err != nil {
		return err
	}
	return copyOutTimespec(t, addr+16, time.Duration(s.Value))
}
