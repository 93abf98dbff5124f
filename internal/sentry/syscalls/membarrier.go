package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func membarrierRows() []Row {
	return []Row{
		partial(324, "membarrier", sysMembarrier, "no MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ; the expedited commands take as long as the others",
			PF("cmd", Enum, membarrierCommands), PF("flags", Flags, membarrierFlags), P("cpu_id", Dec)),
	}
}

// membarrier(2)'s commands.
const (
	barrierQuery               = 0
	barrierGlobal              = 1 << 0
	barrierGlobalExpedited     = 1 << 1
	barrierRegisterGlobal      = 1 << 2
	barrierPrivate             = 1 << 3
	barrierRegisterPrivate     = 1 << 4
	barrierPrivateSyncCore     = 1 << 5
	barrierRegisterPrivateCore = 1 << 6
	barrierGetRegistrations    = 1 << 9
	barrierCommands            = barrierGlobal | barrierGlobalExpedited | barrierRegisterGlobal | barrierPrivate | barrierRegisterPrivate | barrierPrivateSyncCore | barrierRegisterPrivateCore | barrierGetRegistrations
)

var membarrierFlags = &FlagSet{Names: []FlagName{{1, "MEMBARRIER_CMD_FLAG_CPU"}}}

var membarrierCommands = &FlagSet{Names: []FlagName{
	{barrierQuery, "MEMBARRIER_CMD_QUERY"}, {barrierGlobal, "MEMBARRIER_CMD_GLOBAL"},
	{barrierGlobalExpedited, "MEMBARRIER_CMD_GLOBAL_EXPEDITED"},
	{barrierRegisterGlobal, "MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED"},
	{barrierPrivate, "MEMBARRIER_CMD_PRIVATE_EXPEDITED"},
	{barrierRegisterPrivate, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED"},
	{barrierPrivateSyncCore, "MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE"},
	{barrierRegisterPrivateCore, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE"},
	{1 << 7, "MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ"}, {1 << 8, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ"},
	{barrierGetRegistrations, "MEMBARRIER_CMD_GET_REGISTRATIONS"},
}}

func sysMembarrier(t *kernel.Task, a kernel.Args) (uintptr, error) {
	cmd := a.Uint(0)
	if a.Uint(1) != 0 {
		return 0, unix.EINVAL
	}
	m := t.MM()
	switch cmd {
	case barrierQuery:
		return barrierCommands, nil
	case barrierGetRegistrations:
		return uintptr(m.Barriers()), nil
	case barrierRegisterGlobal, barrierRegisterPrivate, barrierRegisterPrivateCore:
		m.RegisterBarrier(cmd)
		return 0, nil
	case barrierPrivate, barrierPrivateSyncCore:
		if m.Barriers()&(cmd<<1) == 0 {
			return 0, unix.EPERM
		}
		if m.Users() == 1 {
			return 0, nil // the call itself was a barrier
		}
	case barrierGlobal, barrierGlobalExpedited:
	default:
		return 0, unix.EINVAL
	}
	return 0, hostBarrier()
}

// hostBarrier makes every processor of the host pass a full memory barrier,
// also those that run guest code now: stubs cannot be barred one by one from
// outside.
func hostBarrier() error {
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, barrierGlobal, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
