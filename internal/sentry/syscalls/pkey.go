package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

// There are no protection keys, as on a processor without them.
const pkeyCaveat = "there are no protection keys, as on a processor without them"

func pkeyRows() []Row {
	return []Row{
		partial(329, "pkey_mprotect", sysPkeyMprotect, pkeyCaveat,
			P("addr", Addr), P("len", Unsigned), PF("prot", Flags, protFlags), P("pkey", Dec)),
		partial(330, "pkey_alloc", sysPkeyAlloc, pkeyCaveat, P("flags", Hex), PF("access_rights", Flags, pkeyRights)),
		partial(331, "pkey_free", sysPkeyFree, pkeyCaveat, P("pkey", Dec)),
	}
}

var pkeyRights = &FlagSet{Names: []FlagName{{1, "PKEY_DISABLE_ACCESS"}, {2, "PKEY_DISABLE_WRITE"}}}

// sysPkeyMprotect is mprotect(2) for key -1, "none".
func sysPkeyMprotect(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a.Int(3) != -1 {
		return 0, unix.EINVAL
	}
	return sysMprotect(t, a)
}

func sysPkeyAlloc(_ *kernel.Task, a kernel.Args) (uintptr, error) {
	const rights = 3 // PKEY_DISABLE_ACCESS | PKEY_DISABLE_WRITE
	if a[0] != 0 || a[1]&^rights != 0 {
		return 0, unix.EINVAL
	}
	return 0, unix.ENOSPC
}

func sysPkeyFree(*kernel.Task, kernel.Args) (uintptr, error) { return 0, unix.EINVAL }
