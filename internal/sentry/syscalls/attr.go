package syscalls

import (
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func attrRows() []Row {
	return []Row{
		full(76, "truncate", sysTruncate, P("path", PathStr), P("length", Dec)),
		full(77, "ftruncate", sysFtruncate, P("fd", FD), P("length", Dec)),
		full(90, "chmod", sysChmod, P("path", PathStr), P("mode", Mode)),
		full(91, "fchmod", sysFchmod, P("fd", FD), P("mode", Mode)),
		full(92, "chown", sysChown, P("path", PathStr), P("uid", Dec), P("gid", Dec)),
		full(93, "fchown", sysFchown, P("fd", FD), P("uid", Dec), P("gid", Dec)),
		full(94, "lchown", sysLchown, P("path", PathStr), P("uid", Dec), P("gid", Dec)),
		full(132, "utime", sysUtime, P("path", PathStr), P("times", Utimbuf)),
		full(235, "utimes", sysUtimes, P("path", PathStr), P("times", Timevals)),
		full(260, "fchownat", sysFchownat, P("dirfd", DirFD), P("path", PathStr), P("uid", Dec), P("gid", Dec), PF("flags", Flags, atFlagNames)),
		full(261, "futimesat", sysFutimesat, P("dirfd", DirFD), P("path", PathStr), P("times", Timevals)),
		full(268, "fchmodat", sysFchmodat, P("dirfd", DirFD), P("path", PathStr), P("mode", Mode)),
		full(280, "utimensat", sysUtimensat, P("dirfd", DirFD), P("path", PathStr), P("times", Timespecs), PF("flags", Flags, atFlagNames)),
		full(452, "fchmodat2", sysFchmodat2, P("dirfd", DirFD), P("path", PathStr), P("mode", Mode), PF("flags", Flags, atFlagNames)),
	}
}

func sysTruncate(t *kernel.Task, a kernel.Args) (uintptr, error) {
	p, err := resolveAt(t, unix.AT_FDCWD, a[0], 0)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, tooLarge(t, vfs.Truncate(t, p, int64(a[1])))
}

func sysFtruncate(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	return 0, tooLarge(t, d.Truncate(t, int64(a[1])))
}

// tooLarge sends SIGXFSZ if a file would have grown beyond RLIMIT_FSIZE.
func tooLarge(t *kernel.Task, err error) error {
	if err == unix.EFBIG {
		t.Signal(kernel.KernelSignal(unix.SIGXFSZ))
	}
	return err
}

func sysChmod(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return chmodAt(t, unix.AT_FDCWD, a[0], a.Uint(1), 0)
}

func sysFchmodat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return chmodAt(t, a.Int(0), a[1], a.Uint(2), 0)
}

func sysFchmodat2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(3)&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return chmodAt(t, a.Int(0), a[1], a.Uint(2), a.Uint(3))
}

func chmodAt(t *kernel.Task, dirfd int32, addr uint64, mode, flags uint32) (uintptr, error) {
	p, err := resolveAt(t, dirfd, addr, flags)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, vfs.Chmod(t, p, mode)
}

func sysFchmod(t *kernel.Task, a kernel.Args) (uintptr, error) {
	p, err := placeOf(t, a.Int(0), false)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, vfs.Chmod(t, p, a.Uint(1))
}

func sysChown(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return chownAt(t, unix.AT_FDCWD, a[0], a.Uint(1), a.Uint(2), 0)
}

func sysLchown(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return chownAt(t, unix.AT_FDCWD, a[0], a.Uint(1), a.Uint(2), unix.AT_SYMLINK_NOFOLLOW)
}

func sysFchownat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(4)&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return chownAt(t, a.Int(0), a[1], a.Uint(2), a.Uint(3), a.Uint(4))
}

func chownAt(t *kernel.Task, dirfd int32, addr uint64, uid, gid, flags uint32) (uintptr, error) {
	p, err := resolveAt(t, dirfd, addr, flags)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, chown(t, p, uid, gid)
}

// chown gives p owners that are named as in the task's user namespace: EINVAL
// for one without a mapping.
func chown(t *kernel.Task, p vfs.Path, uid, gid uint32) error {
	users := t.Credentials().UserNS
	u, g := users.ToUID(uid), users.ToGID(gid)
	if u == auth.NoID && uid != auth.NoID || g == auth.NoID && gid != auth.NoID {
		return unix.EINVAL
	}
	return vfs.Chown(t, p, u, g)
}

func sysFchown(t *kernel.Task, a kernel.Args) (uintptr, error) {
	p, err := placeOf(t, a.Int(0), false)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, chown(t, p, a.Uint(1), a.Uint(2))
}

// fileTimes are what utimensat(2) and its elders set; nil leaves a stamp.
type fileTimes struct {
	atime, mtime *vfs.Time
	// now says that both are the present time, whoever owns the file.
	now bool
}

func sysUtime(t *kernel.Task, a kernel.Args) (uintptr, error) {
	ft := fileTimes{now: a[1] == 0}
	if !ft.now {
		at, err := t.CopyInUint64(a[1])
		if err != nil {
			return 0, err
		}
		mt, err := t.CopyInUint64(a[1] + 8)
		if err != nil {
			return 0, err
		}
		ft.atime, ft.mtime = &vfs.Time{Sec: int64(at)}, &vfs.Time{Sec: int64(mt)}
	}
	return utimesAt(t, unix.AT_FDCWD, a[0], ft, 0)
}

func sysUtimes(t *kernel.Task, a kernel.Args) (uintptr, error) {
	ft, err := copyInTimevals(t, a[1])
	if err != nil {
		return 0, err
	}
	return utimesAt(t, unix.AT_FDCWD, a[0], ft, 0)
}

func sysFutimesat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	ft, err := copyInTimevals(t, a[2])
	if err != nil {
		return 0, err
	}
	if a[1] == 0 {
		return utimesFD(t, a.Int(0), ft)
	}
	return utimesAt(t, a.Int(0), a[1], ft, 0)
}

// copyInTimevals reads two struct timeval, or takes NULL for the present.
func copyInTimevals(t *kernel.Task, addr uint64) (fileTimes, error) {
	if addr == 0 {
		return fileTimes{now: true}, nil
	}
	var ts [2]vfs.Time
	for i := range ts {
		sec, usec, err := t.CopyInTime(addr + uint64(16*i))
		if err != nil {
			return fileTimes{}, err
		}
		if usec < 0 || usec >= 1e6 {
			return fileTimes{}, unix.EINVAL
		}
		ts[i] = vfs.Time{Sec: sec, Nsec: uint32(usec) * 1000}
	}
	return fileTimes{atime: &ts[0], mtime: &ts[1]}, nil
}

func sysUtimensat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	ft, err := copyInTimespecs(t, a[2])
	if err != nil {
		return 0, err
	}
	if !ft.now && ft.atime == nil && ft.mtime == nil {
		return 0, nil // nothing is to change, and nothing is looked at
	}
	if a[1] == 0 && a.Int(0) != unix.AT_FDCWD {
		if flags != 0 {
			return 0, unix.EINVAL
		}
		return utimesFD(t, a.Int(0), ft)
	}
	return utimesAt(t, a.Int(0), a[1], ft, flags)
}

// copyInTimespecs reads two struct timespec, with UTIME_NOW and UTIME_OMIT.
func copyInTimespecs(t *kernel.Task, addr uint64) (fileTimes, error) {
	if addr == 0 {
		return fileTimes{now: true}, nil
	}
	var ts [2]*vfs.Time
	nows := 0
	for i := range ts {
		sec, nsec, err := t.CopyInTime(addr + uint64(16*i))
		switch {
		case err != nil:
			return fileTimes{}, err
		case nsec == unix.UTIME_OMIT:
		case nsec == unix.UTIME_NOW:
			now := vfs.Now()
			ts[i] = &now
			nows++
		case nsec < 0 || nsec >= 1e9:
			return fileTimes{}, unix.EINVAL
		default:
			ts[i] = &vfs.Time{Sec: sec, Nsec: uint32(nsec)}
		}
	}
	return fileTimes{atime: ts[0], mtime: ts[1], now: nows == 2}, nil
}

func utimesAt(t *kernel.Task, dirfd int32, addr uint64, ft fileTimes, flags uint32) (uintptr, error) {
	p, err := resolveAt(t, dirfd, addr, flags)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, vfs.Utimes(t, p, ft.atime, ft.mtime, ft.now)
}

func utimesFD(t *kernel.Task, fd int32, ft fileTimes) (uintptr, error) {
	p, err := placeOf(t, fd, false)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	return 0, vfs.Utimes(t, p, ft.atime, ft.mtime, ft.now)
}
