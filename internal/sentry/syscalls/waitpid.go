package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func waitRows() []Row {
	return []Row{
		full(unix.SYS_WAIT4, "wait4", sysWait4,
			P("pid", Dec), P("wstatus", OutWaitStatus), PF("options", Flags, waitFlags), P("rusage", OutWaitRusage)),
		full(unix.SYS_WAITID, "waitid", sysWaitid,
			PF("idtype", Enum, waitTypes), P("id", Dec), P("infop", OutSiginfo), PF("options", Flags, waitFlags), P("rusage", OutRusage)),
	}
}

var waitFlags = &FlagSet{Names: []FlagName{
	{kernel.WNOHANG, "WNOHANG"}, {kernel.WSTOPPED, "WSTOPPED"}, {kernel.WEXITED, "WEXITED"},
	{kernel.WCONTINUED, "WCONTINUED"}, {kernel.WNOWAIT, "WNOWAIT"}, {kernel.WNOTHREAD, "__WNOTHREAD"},
	{kernel.WALL, "__WALL"}, {kernel.WCLONE, "__WCLONE"},
}}

// Kinds of ID for waitid(2).
const (
	idAll = iota
	idPID
	idPGID
	idPIDFD
)

var waitTypes = &FlagSet{Names: []FlagName{{idAll, "P_ALL"}, {idPID, "P_PID"}, {idPGID, "P_PGID"}, {idPIDFD, "P_PIDFD"}}}

func sysWait4(t *kernel.Task, a kernel.Args) (uintptr, error) {
	pid, options := a.Int(0), a.Uint(2)
	if options&^uint32(kernel.WNOHANG|kernel.WSTOPPED|kernel.WCONTINUED|kernel.WNOTHREAD|kernel.WALL|kernel.WCLONE) != 0 {
		return 0, unix.EINVAL
	}
	w := kernel.WaitSelector{Options: options | kernel.WEXITED}
	switch {
	case pid == -1<<31:
		return 0, unix.ESRCH
	case pid > 0:
		w.PID = pid
	case pid == 0:
		w.PGID = t.ThreadGroup().PGIDIn(t.PIDs())
	case pid < -1:
		w.PGID = -pid
	}
	res, err := t.WaitChild(&w)
	if err != nil || res.PID == 0 {
		return 0, err
	}
	if a[1] != 0 {
		if err := t.CopyOutUint32Late(a[1], res.Wait); err != nil {
			return 0, err
		}
	}
	return uintptr(res.PID), copyOutWaitUsage(t, a[3], &res)
}

func sysWaitid(t *kernel.Task, a kernel.Args) (uintptr, error) {
	kind, id, options := a.Int(0), a.Int(1), a.Uint(3)
	const changes = kernel.WEXITED | kernel.WSTOPPED | kernel.WCONTINUED
	if options&^uint32(changes|kernel.WNOHANG|kernel.WNOWAIT|kernel.WNOTHREAD|kernel.WALL|kernel.WCLONE) != 0 ||
		options&changes == 0 {
		return 0, unix.EINVAL
	}
	w := kernel.WaitSelector{Options: options}
	nonblocking := false
	switch kind {
	case idAll:
	case idPID:
		if id <= 0 {
			return 0, unix.EINVAL
		}
		w.PID = id
	case idPGID:
		if id < 0 {
			return 0, unix.EINVAL
		}
		if w.PGID = id; id == 0 {
			w.PGID = t.ThreadGroup().PGIDIn(t.PIDs())
		}
	case idPIDFD:
		if id < 0 {
			return 0, unix.EINVAL
		}
		d, err := t.File(id)
		if err != nil {
			return 0, err
		}
		w.Child = kernel.PIDFDGroup(d)
		nonblocking = d.Nonblocking()
		d.DecRef()
		if w.Child == nil {
			return 0, unix.EBADF
		}
	default:
		return 0, unix.EINVAL
	}
	if nonblocking {
		w.Options |= kernel.WNOHANG
	}
	res, err := t.WaitChild(&w)
	if err != nil {
		return 0, err
	}
	if nonblocking && res.PID == 0 && options&kernel.WNOHANG == 0 {
		return 0, unix.EAGAIN
	}
	if res.PID != 0 {
		if err := copyOutWaitUsage(t, a[4], &res); err != nil {
			return 0, err
		}
	}
	if a[2] != 0 {
		return 0, copyOutWaitInfo(t, a[2], &res)
	}
	return 0, nil
}

// waitInfo is what waitid(2) fills in of siginfo_t.
type waitInfo struct {
	Signo, Errno, Code, pad int32
	PID                     int32
	UID                     uint32
	Status                  int32
}

func copyOutWaitInfo(t *kernel.Task, addr uint64, res *kernel.WaitResult) error {
	info := waitInfo{PID: res.PID, UID: res.UID, Code: res.Code, Status: res.Status}
	if res.PID != 0 {
		info.Signo = int32(unix.SIGCHLD)
	}
	return kernel.CopyOutStructLate(t, addr, &info)
}

func copyOutWaitUsage(t *kernel.Task, addr uint64, res *kernel.WaitResult) error {
	if addr == 0 {
		return nil
	}
	ru := unix.Rusage{
		Utime: unix.NsecToTimeval(int64(res.User)),
		Stime: unix.NsecToTimeval(int64(res.System)),
	}
	if res.Child != nil {
		ru.Maxrss = int64(res.Child.MaxRSS() >> 10)
	}
	return kernel.CopyOutStructLate(t, addr, &ru)
}
