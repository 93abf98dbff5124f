package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func processRows() []Row {
	return []Row{
		full(unix.SYS_GETPID, "getpid", sysGetpid),
		full(unix.SYS_GETPPID, "getppid", sysGetppid),
		full(unix.SYS_GETTID, "gettid", sysGettid),
		full(unix.SYS_SETSID, "setsid", sysSetsid),
		full(unix.SYS_GETSID, "getsid", sysGetsid, P("pid", Dec)),
		full(unix.SYS_SETPGID, "setpgid", sysSetpgid, P("pid", Dec), P("pgid", Dec)),
		full(unix.SYS_GETPGID, "getpgid", sysGetpgid, P("pid", Dec)),
		full(unix.SYS_GETPGRP, "getpgrp", sysGetpgrp),
		full(unix.SYS_SET_TID_ADDRESS, "set_tid_address", sysSetTidAddress, P("tidptr", Addr)),
	}
}

func sysGetpid(t *kernel.Task, _ kernel.Args) (uintptr, error) { return uintptr(t.PID()), nil }

func sysGettid(t *kernel.Task, _ kernel.Args) (uintptr, error) { return uintptr(t.TID()), nil }

func sysGetppid(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	return uintptr(t.ThreadGroup().PPIDIn(t.PIDs())), nil
}

func sysSetsid(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	sid, err := t.ThreadGroup().SetSID()
	return uintptr(sid), err
}

// processOf returns the process that a number means, 0 for the caller's.
func processOf(t *kernel.Task, pid int32) (*kernel.ThreadGroup, error) {
	if pid == 0 {
		return t.ThreadGroup(), nil
	}
	if g := findGroup(t, pid); g != nil && pid > 0 {
		return g, nil
	}
	return nil, unix.ESRCH
}

func sysGetsid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	g, err := processOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	return uintptr(g.SIDIn(t.PIDs())), nil
}

func sysGetpgid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	g, err := processOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	return uintptr(g.PGIDIn(t.PIDs())), nil
}

func sysGetpgrp(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	return uintptr(t.ThreadGroup().PGIDIn(t.PIDs())), nil
}

func sysSetpgid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.ThreadGroup().SetPGID(a.Int(0), a.Int(1))
}

func sysSetTidAddress(t *kernel.Task, a kernel.Args) (uintptr, error) {
	t.SetClearTID(a[0])
	return uintptr(t.TID()), nil
}
