package syscalls

import (
	"sync"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

func prctlRows() []Row {
	return []Row{
		partial(157, "prctl", sysPrctl,
			"PR_SET_MM sets fields one by one (no PR_SET_MM_MAP); PR_SET_SYSCALL_USER_DISPATCH is EINVAL as without that feature; speculation controls are not there",
			PF("option", Enum, prctlNames), PD("arg2", prctlArg(1)), PD("arg3", prctlArg(2)), PD("arg4", prctlArg(3)), PD("arg5", prctlArg(4))),
		partial(158, "arch_prctl", sysArchPrctl, "FS and GS bases and CPUID; shadow stacks and AMX permission are EINVAL",
			PF("op", Enum, archPrctlNames), PD("addr", archPrctlArg)),
	}
}

var prctlNames = &FlagSet{Names: []FlagName{
	{unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"}, {unix.PR_GET_PDEATHSIG, "PR_GET_PDEATHSIG"},
	{unix.PR_GET_DUMPABLE, "PR_GET_DUMPABLE"}, {unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"},
	{unix.PR_GET_KEEPCAPS, "PR_GET_KEEPCAPS"}, {unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"},
	{unix.PR_GET_TIMING, "PR_GET_TIMING"}, {unix.PR_SET_TIMING, "PR_SET_TIMING"},
	{unix.PR_SET_NAME, "PR_SET_NAME"}, {unix.PR_GET_NAME, "PR_GET_NAME"},
	{unix.PR_GET_SECCOMP, "PR_GET_SECCOMP"}, {unix.PR_SET_SECCOMP, "PR_SET_SECCOMP"},
	{unix.PR_CAPBSET_READ, "PR_CAPBSET_READ"}, {unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"},
	{unix.PR_GET_TSC, "PR_GET_TSC"}, {unix.PR_SET_TSC, "PR_SET_TSC"},
	{unix.PR_GET_SECUREBITS, "PR_GET_SECUREBITS"}, {unix.PR_SET_SECUREBITS, "PR_SET_SECUREBITS"},
	{unix.PR_SET_TIMERSLACK, "PR_SET_TIMERSLACK"}, {unix.PR_GET_TIMERSLACK, "PR_GET_TIMERSLACK"},
	{unix.PR_MCE_KILL, "PR_MCE_KILL"}, {unix.PR_MCE_KILL_GET, "PR_MCE_KILL_GET"},
	{unix.PR_SET_MM, "PR_SET_MM"},
	{unix.PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER"}, {unix.PR_GET_CHILD_SUBREAPER, "PR_GET_CHILD_SUBREAPER"},
	{unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"}, {unix.PR_GET_NO_NEW_PRIVS, "PR_GET_NO_NEW_PRIVS"},
	{unix.PR_GET_TID_ADDRESS, "PR_GET_TID_ADDRESS"},
	{unix.PR_SET_THP_DISABLE, "PR_SET_THP_DISABLE"}, {unix.PR_GET_THP_DISABLE, "PR_GET_THP_DISABLE"},
	{unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"},
	{unix.PR_GET_SPECULATION_CTRL, "PR_GET_SPECULATION_CTRL"}, {unix.PR_SET_SPECULATION_CTRL, "PR_SET_SPECULATION_CTRL"},
	{unix.PR_SET_IO_FLUSHER, "PR_SET_IO_FLUSHER"}, {unix.PR_GET_IO_FLUSHER, "PR_GET_IO_FLUSHER"},
	{unix.PR_SET_SYSCALL_USER_DISPATCH, "PR_SET_SYSCALL_USER_DISPATCH"},
	{unix.PR_SET_VMA, "PR_SET_VMA"}, {prGetAuxv, "PR_GET_AUXV"},
}}

const prGetAuxv = 0x41555856 // PR_GET_AUXV

// prctlFunc answers one option of prctl(2); a[0] is the option.
type prctlFunc func(t *kernel.Task, a kernel.Args) (uintptr, error)

var prctlFuncs = sync.OnceValue(func() map[int32]prctlFunc {
	return map[int32]prctlFunc{
		unix.PR_SET_PDEATHSIG:        prSetPdeathsig,
		unix.PR_GET_PDEATHSIG:        prGetPdeathsig,
		unix.PR_GET_DUMPABLE:         prGetDumpable,
		unix.PR_SET_DUMPABLE:         prSetDumpable,
		unix.PR_GET_KEEPCAPS:         prGetKeepcaps,
		unix.PR_SET_KEEPCAPS:         prSetKeepcaps,
		unix.PR_GET_TIMING:           prZero, // PR_TIMING_STATISTICAL
		unix.PR_SET_TIMING:           prOnlyZero,
		unix.PR_SET_NAME:             prSetName,
		unix.PR_GET_NAME:             prGetName,
		unix.PR_GET_SECCOMP:          prGetSeccomp,
		unix.PR_SET_SECCOMP:          prSetSeccomp,
		unix.PR_CAPBSET_READ:         prCapbsetRead,
		unix.PR_CAPBSET_DROP:         prCapbsetDrop,
		unix.PR_GET_TSC:              prGetTSC,
		unix.PR_SET_TSC:              prSetTSC,
		unix.PR_GET_SECUREBITS:       prGetSecurebits,
		unix.PR_SET_SECUREBITS:       prSetSecurebits,
		unix.PR_SET_TIMERSLACK:       prSetTimerslack,
		unix.PR_GET_TIMERSLACK:       prGetTimerslack,
		unix.PR_MCE_KILL:             prMCEKill,
		unix.PR_MCE_KILL_GET:         prMCEKillGet,
		unix.PR_SET_MM:               prSetMM,
		unix.PR_SET_VMA:              prSetVMA,
		unix.PR_SET_CHILD_SUBREAPER:  prSetSubreaper,
		unix.PR_GET_CHILD_SUBREAPER:  prGetSubreaper,
		unix.PR_SET_NO_NEW_PRIVS:     prSetNoNewPrivs,
		unix.PR_GET_NO_NEW_PRIVS:     prGetNoNewPrivs,
		unix.PR_GET_TID_ADDRESS:      prGetTIDAddress,
		unix.PR_SET_THP_DISABLE:      prSetTHPDisable,
		unix.PR_GET_THP_DISABLE:      prGetTHPDisable,
		unix.PR_CAP_AMBIENT:          prCapAmbient,
		unix.PR_SET_IO_FLUSHER:       prSetIOFlusher,
		unix.PR_GET_IO_FLUSHER:       prGetIOFlusher,
		unix.PR_GET_SPECULATION_CTRL: prGetSpeculation,
		unix.PR_SET_SPECULATION_CTRL: prSetSpeculation,
		prGetAuxv:                    prAuxv,
	}
})

// sysPrctl is prctl(2). Options that are not in the table are EINVAL, as in a
// Linux without them.
func sysPrctl(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if f := prctlFuncs()[a.Int(0)]; f != nil {
		return f(t, a)
	}
	return 0, unix.EINVAL
}

// unused reports whether the arguments from i to 4 are 0, as newer options
// demand.
func unused(a kernel.Args, i int) bool {
	for ; i <= 4; i++ {
		if a[i] != 0 {
			return false
		}
	}
	return true
}

func prZero(*kernel.Task, kernel.Args) (uintptr, error) { return 0, nil }

func prOnlyZero(_ *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] != 0 {
		return 0, unix.EINVAL
	}
	return 0, nil
}

func boolResult(b bool) (uintptr, error) {
	if b {
		return 1, nil
	}
	return 0, nil
}

func prSetPdeathsig(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] != 0 && (a[1] > 64 || !kernel.ValidSignal(a.Int(1))) {
		return 0, unix.EINVAL
	}
	t.SetDeathSignal(a.Int(1))
	return 0, nil
}

func prGetPdeathsig(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.CopyOutUint32(a[1], uint32(t.DeathSignal()))
}

func prGetDumpable(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	return uintptr(t.MM().Dumpable()), nil
}

func prSetDumpable(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] > 1 {
		return 0, unix.EINVAL
	}
	t.MM().SetDumpable(a.Int(1))
	return 0, nil
}

func prGetKeepcaps(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	return boolResult(t.Credentials().KeepCaps)
}

func prSetKeepcaps(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] > 1 {
		return 0, unix.EINVAL
	}
	return change(t, func(c *auth.Credentials) error { return c.SetKeepCaps(a[1] == 1) })
}

// commLen is TASK_COMM_LEN.
const commLen = 16

func prSetName(t *kernel.Task, a kernel.Args) (uintptr, error) {
	name, err := t.CopyInString(a[1], commLen)
	if err == unix.ENAMETOOLONG { // cut, as Linux does
		var raw [commLen - 1]byte
		if _, err = t.CopyIn(a[1], raw[:]); err == nil {
			name = string(raw[:])
		}
	}
	if err != nil {
		return 0, err
	}
	t.SetComm(name)
	return 0, nil
}

func prGetName(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var raw [commLen]byte
	copy(raw[:commLen-1], t.Comm())
	_, err := t.CopyOut(a[1], raw[:])
	return 0, err
}

func prCapbsetRead(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] > unix.CAP_LAST_CAP {
		return 0, unix.EINVAL
	}
	return boolResult(t.Credentials().Bounding.Has(int(a[1])))
}

func prCapbsetDrop(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] > unix.CAP_LAST_CAP {
		return 0, unix.EINVAL
	}
	return change(t, func(c *auth.Credentials) error { return c.DropBounding(int(a[1])) })
}

func prGetTSC(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.CopyOutUint32(a[1], unix.PR_TSC_ENABLE)
}

// prSetTSC can't forbid rdtsc: the host's control is per thread of the stub.
func prSetTSC(_ *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] != unix.PR_TSC_ENABLE {
		return 0, unix.EINVAL
	}
	return 0, nil
}

func prGetSecurebits(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	return uintptr(t.Credentials().SecureBits), nil
}

func prSetSecurebits(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return change(t, func(c *auth.Credentials) error { return c.SetSecureBits(a.Uint(1)) })
}

func prSetTimerslack(t *kernel.Task, a kernel.Args) (uintptr, error) {
	t.UpdateAttributes(func(v *kernel.Attributes) {
		v.TimerSlack = a[1]
		if int64(a[1]) <= 0 {
			v.TimerSlack = v.DefaultSlack
		}
	})
	return 0, nil
}

func prGetTimerslack(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	return uintptr(t.Attributes().TimerSlack), nil
}

func prMCEKill(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[3]|a[4] != 0 {
		return 0, unix.EINVAL
	}
	policy := int32(unix.PR_MCE_KILL_DEFAULT)
	switch a[1] {
	case unix.PR_MCE_KILL_CLEAR:
		if a[2] != 0 {
			return 0, unix.EINVAL
		}
	case unix.PR_MCE_KILL_SET:
		if a[2] > unix.PR_MCE_KILL_DEFAULT {
			return 0, unix.EINVAL
		}
		policy = a.Int(2)
	default:
		return 0, unix.EINVAL
	}
	t.UpdateAttributes(func(v *kernel.Attributes) { v.MCEKill = policy })
	return 0, nil
}

func prMCEKillGet(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !unused(a, 1) {
		return 0, unix.EINVAL
	}
	return uintptr(t.Attributes().MCEKill), nil
}

func prSetSubreaper(t *kernel.Task, a kernel.Args) (uintptr, error) {
	t.ThreadGroup().SetSubreaper(a[1] != 0)
	return 0, nil
}

func prGetSubreaper(t *kernel.Task, a kernel.Args) (uintptr, error) {
	v, _ := boolResult(t.ThreadGroup().Subreaper())
	return 0, t.CopyOutUint32(a[1], uint32(v))
}

func prSetNoNewPrivs(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] != 1 || !unused(a, 2) {
		return 0, unix.EINVAL
	}
	return change(t, func(c *auth.Credentials) error {
		c.NoNewPrivs = true
		return nil
	})
}

func prGetNoNewPrivs(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !unused(a, 1) {
		return 0, unix.EINVAL
	}
	return boolResult(t.Credentials().NoNewPrivs)
}

func prGetTIDAddress(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return 0, t.CopyOutUint64(a[1], t.ClearTIDAddress())
}

func prSetTHPDisable(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !unused(a, 2) {
		return 0, unix.EINVAL
	}
	t.UpdateAttributes(func(v *kernel.Attributes) { v.NoTHP = a[1] != 0 })
	return 0, nil
}

func prGetTHPDisable(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !unused(a, 1) {
		return 0, unix.EINVAL
	}
	return boolResult(t.Attributes().NoTHP)
}

func prCapAmbient(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] == unix.PR_CAP_AMBIENT_CLEAR_ALL {
		if !unused(a, 2) {
			return 0, unix.EINVAL
		}
		return change(t, func(c *auth.Credentials) error {
			c.Ambient = 0
			return nil
		})
	}
	if !unused(a, 3) || a[2] > unix.CAP_LAST_CAP {
		return 0, unix.EINVAL
	}
	capability := int(a[2])
	switch a[1] {
	case unix.PR_CAP_AMBIENT_IS_SET:
		return boolResult(t.Credentials().Ambient.Has(capability))
	case unix.PR_CAP_AMBIENT_RAISE:
		return change(t, func(c *auth.Credentials) error { return c.RaiseAmbient(capability) })
	case unix.PR_CAP_AMBIENT_LOWER:
		return change(t, func(c *auth.Credentials) error {
			c.Ambient &^= 1 << uint(capability)
			return nil
		})
	}
	return 0, unix.EINVAL
}

func prSetIOFlusher(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !t.Credentials().Can(unix.CAP_SYS_RESOURCE) {
		return 0, unix.EPERM
	}
	if a[1] > 1 || !unused(a, 2) {
		return 0, unix.EINVAL
	}
	t.UpdateAttributes(func(v *kernel.Attributes) { v.IOFlusher = a[1] == 1 })
	return 0, nil
}

func prGetIOFlusher(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !t.Credentials().Can(unix.CAP_SYS_RESOURCE) {
		return 0, unix.EPERM
	}
	if !unused(a, 1) {
		return 0, unix.EINVAL
	}
	return boolResult(t.Attributes().IOFlusher)
}

// maxSpeculation is the highest misfeature that Linux knows
// (PR_SPEC_L1D_FLUSH).
const maxSpeculation = unix.PR_SPEC_L1D_FLUSH

// prGetSpeculation says that the state is not this process's to change.
func prGetSpeculation(_ *kernel.Task, a kernel.Args) (uintptr, error) {
	if !unused(a, 2) {
		return 0, unix.EINVAL
	}
	if a[1] > maxSpeculation {
		return 0, unix.ENODEV
	}
	return unix.PR_SPEC_ENABLE, nil
}

func prSetSpeculation(_ *kernel.Task, a kernel.Args) (uintptr, error) {
	if !unused(a, 3) {
		return 0, unix.EINVAL
	}
	if a[1] > maxSpeculation {
		return 0, unix.ENODEV
	}
	return 0, unix.ENXIO
}

// prAuxv is PR_GET_AUXV: it copies what fits, and returns the whole length.
func prAuxv(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if !unused(a, 3) {
		return 0, unix.EINVAL
	}
	auxv := t.MM().Info().Auxv
	if _, err := t.CopyOut(a[1], auxv[:min(uint64(len(auxv)), a[2])]); err != nil {
		return 0, err
	}
	return uintptr(len(auxv)), nil
}

// Operations of arch_prctl(2).
const (
	archSetGS    = 0x1001
	archSetFS    = 0x1002
	archGetFS    = 0x1003
	archGetGS    = 0x1004
	archGetCPUID = 0x1011
	archSetCPUID = 0x1012
)

var archPrctlNames = &FlagSet{Names: []FlagName{
	{archSetGS, "ARCH_SET_GS"}, {archSetFS, "ARCH_SET_FS"}, {archGetFS, "ARCH_GET_FS"}, {archGetGS, "ARCH_GET_GS"},
	{archGetCPUID, "ARCH_GET_CPUID"}, {archSetCPUID, "ARCH_SET_CPUID"},
	{0x1021, "ARCH_GET_XCOMP_SUPP"}, {0x1022, "ARCH_GET_XCOMP_PERM"}, {0x1023, "ARCH_REQ_XCOMP_PERM"},
	{0x5001, "ARCH_SHSTK_ENABLE"}, {0x5002, "ARCH_SHSTK_DISABLE"}, {0x5005, "ARCH_SHSTK_STATUS"},
}}

// sysArchPrctl is arch_prctl(2).
func sysArchPrctl(t *kernel.Task, a kernel.Args) (uintptr, error) {
	regs := t.Context().Regs()
	switch a.Int(0) {
	case archSetFS:
		if a[1] >= mm.TaskSize {
			return 0, unix.EPERM
		}
		regs.Fs_base = a[1]
		return 0, nil
	case archSetGS:
		if a[1] >= mm.TaskSize {
			return 0, unix.EPERM
		}
		regs.Gs_base = a[1]
		return 0, nil
	case archGetFS:
		return 0, t.CopyOutUint64(a[1], regs.Fs_base)
	case archGetGS:
		return 0, t.CopyOutUint64(a[1], regs.Gs_base)
	case archGetCPUID:
		return 1, nil
	case archSetCPUID:
		if a[1] == 0 { // CPUID faulting is the host's to switch on
			return 0, unix.ENODEV
		}
		return 0, nil
	}
	return 0, unix.EINVAL
}
