package syscalls

import (
	"coffer/internal/bpf"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func seccompRows() []Row {
	return []Row{
		partial(317, "seccomp", sysSeccomp,
			"SECCOMP_RET_LOG and SECCOMP_FILTER_FLAG_LOG log nothing; strict mode leaves rdtsc to the program",
			PF("operation", Enum, seccompOperations), PF("flags", Flags, seccompFlags), PD("args", seccompArg)),
	}
}

var seccompOperations = &FlagSet{Names: []FlagName{
	{unix.SECCOMP_SET_MODE_STRICT, "SECCOMP_SET_MODE_STRICT"}, {unix.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER"},
	{unix.SECCOMP_GET_ACTION_AVAIL, "SECCOMP_GET_ACTION_AVAIL"}, {unix.SECCOMP_GET_NOTIF_SIZES, "SECCOMP_GET_NOTIF_SIZES"},
}}

var seccompFlags = &FlagSet{Names: []FlagName{
	{unix.SECCOMP_FILTER_FLAG_TSYNC, "SECCOMP_FILTER_FLAG_TSYNC"}, {unix.SECCOMP_FILTER_FLAG_LOG, "SECCOMP_FILTER_FLAG_LOG"},
	{unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"},
	{unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, "SECCOMP_FILTER_FLAG_NEW_LISTENER"},
	{unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH, "SECCOMP_FILTER_FLAG_TSYNC_ESRCH"},
	{unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"},
}}

// sysSeccomp is seccomp(2).
func sysSeccomp(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(1)
	switch a.Uint(0) {
	case unix.SECCOMP_SET_MODE_STRICT:
		if flags != 0 || a[2] != 0 {
			return 0, unix.EINVAL
		}
		return 0, t.SetSeccompStrict()
	case unix.SECCOMP_SET_MODE_FILTER:
		return addSeccompFilter(t, flags, a[2])
	case unix.SECCOMP_GET_ACTION_AVAIL:
		if flags != 0 {
			return 0, unix.EINVAL
		}
		action, err := t.CopyInUint32(a[2])
		if err != nil {
			return 0, err
		}
		return 0, seccompActionAvailable(action)
	case unix.SECCOMP_GET_NOTIF_SIZES:
		if flags != 0 {
			return 0, unix.EINVAL
		}
		sizes := kernel.SeccompSizes()
		return 0, kernel.CopyOutStruct(t, a[2], &sizes)
	}
	return 0, unix.EINVAL
}

// seccompActionAvailable says whether filters may return the action:
// EOPNOTSUPP.
func seccompActionAvailable(action uint32) error {
	switch action {
	case unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP, unix.SECCOMP_RET_ERRNO,
		unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_RET_TRACE, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_ALLOW:
		return nil
	}
	return unix.EOPNOTSUPP
}

// addSeccompFilter is SECCOMP_SET_MODE_FILTER. It returns the listener's
// descriptor if one is asked for, or the number of the thread that can't be
// synchronized.
func addSeccompFilter(t *kernel.Task, flags uint32, addr uint64) (uintptr, error) {
	const (
		sync     = unix.SECCOMP_FILTER_FLAG_TSYNC
		esrch    = unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
		listen   = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		killable = unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
		all      = sync | esrch | listen | killable | unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	)
	if flags&^uint32(all) != 0 || flags&(sync|listen|esrch) == sync|listen || flags&(killable|listen) == killable {
		return 0, unix.EINVAL
	}
	p, err := readFilter(t, addr)
	if err != nil {
		return 0, err
	}
	var l *kernel.SeccompListener
	fd := int32(0)
	if flags&listen != 0 {
		var d *vfs.FileDescription
		l, d = kernel.NewSeccompListener(flags&killable != 0)
		defer d.DecRef()
		if fd, err = t.FDs().Install(d, 0, t.Limit(unix.RLIMIT_NOFILE), true); err != nil {
			return 0, err
		}
	}
	failed, err := t.AttachSeccomp(p, flags&sync != 0, l)
	if failed != 0 && flags&esrch != 0 {
		err = unix.ESRCH
	}
	if l != nil && (err != nil || failed != 0) {
		if d := t.FDs().Remove(fd); d != nil {
			_ = t.FDs().Close(t, d)
		}
	}
	switch {
	case err != nil:
		return 0, err
	case failed != 0:
		return uintptr(failed), nil
	}
	return uintptr(fd), nil
}

// sockFprog is struct sock_fprog.
type sockFprog struct {
	Len    uint16
	_      [6]byte
	Filter uint64
}

// readFilter reads a filter: EACCES unless the task may restrict itself so,
// EINVAL if the filter is not a good one.
func readFilter(t *kernel.Task, addr uint64) (*bpf.Program, error) {
	var prog sockFprog
	if err := kernel.CopyInStruct(t, addr, &prog); err != nil {
		return nil, err
	}
	if prog.Len == 0 || prog.Len > bpf.MaxInstructions {
		return nil, unix.EINVAL
	}
	// Else a program with more rights than the caller could be misled.
	if c := t.Credentials(); !c.NoNewPrivs && !c.Can(unix.CAP_SYS_ADMIN) {
		return nil, unix.EACCES
	}
	code := make([]unix.SockFilter, prog.Len)
	if err := kernel.CopyInSlice(t, prog.Filter, code); err != nil {
		return nil, err
	}
	return bpf.New(code)
}

func prGetSeccomp(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	mode, _ := t.SeccompMode()
	return uintptr(mode), nil
}

func prSetSeccomp(t *kernel.Task, a kernel.Args) (uintptr, error) {
	switch a[1] {
	case unix.SECCOMP_MODE_STRICT:
		return 0, t.SetSeccompStrict()
	case unix.SECCOMP_MODE_FILTER:
		return addSeccompFilter(t, 0, a[2])
	}
	return 0, unix.EINVAL
}
