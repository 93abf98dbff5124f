package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// lockCaveat is what all locking calls have in common.
const lockCaveat = "accounts and limits as Linux does, but pins nothing in the host's memory"

func memlockRows() []Row {
	return []Row{
		partial(149, "mlock", sysMlock, lockCaveat, P("addr", Addr), P("len", Unsigned)),
		full(150, "munlock", sysMunlock, P("addr", Addr), P("len", Unsigned)),
		partial(151, "mlockall", sysMlockall, lockCaveat, PF("flags", Flags, mlockallFlags)),
		full(152, "munlockall", sysMunlockall),
		partial(325, "mlock2", sysMlock2, lockCaveat, P("addr", Addr), P("len", Unsigned), PF("flags", Flags, mlock2Flags)),
	}
}

const mlockOnFault = 1 // MLOCK_ONFAULT

var mlock2Flags = &FlagSet{Names: []FlagName{{mlockOnFault, "MLOCK_ONFAULT"}}}

var mlockallFlags = &FlagSet{Names: []FlagName{
	{unix.MCL_CURRENT, "MCL_CURRENT"}, {unix.MCL_FUTURE, "MCL_FUTURE"}, {unix.MCL_ONFAULT, "MCL_ONFAULT"},
}}

func sysMlock(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.MM().MLock(a[0], a[1], false, mayLock(t))
}

func sysMlock2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Uint(2)&^mlockOnFault != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.MM().MLock(a[0], a[1], a.Uint(2) != 0, mayLock(t))
}

func sysMunlock(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.MM().MUnlock(a[0], a[1])
}

func sysMlockall(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.MM().MLockAll(a.Uint(0), mayLock(t))
}

func sysMunlockall(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	t.MM().MUnlockAll()
	return 0, nil
}
