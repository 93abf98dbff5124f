package syscalls

import (
	"coffer/internal/sentry/fs/eventfd"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func eventfdRows() []Row {
	return []Row{
		full(284, "eventfd", sysEventfd, P("initval", Unsigned)).returns(FD),
		full(290, "eventfd2", sysEventfd2, P("initval", Unsigned), PF("flags", Flags, eventfdFlags)).returns(FD),
	}
}

var eventfdFlags = &FlagSet{Names: []FlagName{
	{unix.EFD_CLOEXEC, "EFD_CLOEXEC"}, {unix.EFD_NONBLOCK, "EFD_NONBLOCK"}, {unix.EFD_SEMAPHORE, "EFD_SEMAPHORE"},
}}

// sysEventfd is eventfd(2) without flags.
func sysEventfd(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return installFile(t, eventfd.New(uint64(a.Uint(0)), 0), false)
}

// sysEventfd2 is eventfd(2).
func sysEventfd2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a.Uint(1)
	if flags&^(unix.EFD_CLOEXEC|unix.EFD_NONBLOCK|unix.EFD_SEMAPHORE) != 0 {
		return 0, unix.EINVAL
	}
	return installFile(t, eventfd.New(uint64(a.Uint(0)), flags), flags&unix.EFD_CLOEXEC != 0)
}
