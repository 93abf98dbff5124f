package syscalls

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/fs/signalfd"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func signalfdRows() []Row {
	return []Row{
		partial(282, "signalfd", sysSignalfd, signalfdCaveat, P("fd", FD), P("mask", SigSet), P("sizemask", Unsigned)).returns(FD),
		partial(289, "signalfd4", sysSignalfd4, signalfdCaveat, P("fd", FD), P("mask", SigSet), P("sizemask", Unsigned),
			PF("flags", Flags, signalfdFlags)).returns(FD),
	}
}

const signalfdCaveat = "poll and epoll report the signals of the thread that made the file, also to a child that inherits it"

var signalfdFlags = &FlagSet{Names: []FlagName{
	{unix.SFD_CLOEXEC, "SFD_CLOEXEC"}, {unix.SFD_NONBLOCK, "SFD_NONBLOCK"},
}}

// sysSignalfd is signalfd(2) without flags.
func sysSignalfd(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return setSignalfd(t, a.Int(0), a[1], a[2], 0)
}

// sysSignalfd4 is signalfd(2).
func sysSignalfd4(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return setSignalfd(t, a.Int(0), a[1], a[2], a.Uint(3))
}

func setSignalfd(t *kernel.Task, fd int32, addr, size uint64, flags uint32) (uintptr, error) {
	if size != 8 || flags&^(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	v, err := t.CopyInUint64(addr)
	if err != nil {
		return 0, err
	}
	mask := abi.SignalSet(v)
	if fd == -1 {
		d := signalfd.New(mask, t, t.ThreadGroup().SignalQueue(), flags)
		return installFile(t, d, flags&unix.SFD_CLOEXEC != 0)
	}
	d, err := t.File(fd)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	f, ok := d.File.(*signalfd.File)
	if !ok {
		return 0, unix.EINVAL
	}
	f.SetMask(mask)
	return uintptr(fd), nil
}
