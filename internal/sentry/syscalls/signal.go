package syscalls

import (
	"encoding/binary"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func signalRows() []Row {
	return []Row{
		full(unix.SYS_RT_SIGACTION, "rt_sigaction", sysRtSigaction,
			P("signum", Signal), P("act", Sigaction), P("oldact", OutSigaction), P("sigsetsize", Unsigned)),
		full(unix.SYS_RT_SIGPROCMASK, "rt_sigprocmask", sysRtSigprocmask,
			PF("how", Enum, maskHow), P("set", SigSet), P("oldset", OutSigSet), P("sigsetsize", Unsigned)),
		full(unix.SYS_RT_SIGRETURN, "rt_sigreturn", sysRtSigreturn),
		full(unix.SYS_RT_SIGPENDING, "rt_sigpending", sysRtSigpending, P("set", OutSigSet), P("sigsetsize", Unsigned)),
		full(unix.SYS_RT_SIGTIMEDWAIT, "rt_sigtimedwait", sysRtSigtimedwait,
			P("set", SigSet), P("info", OutSiginfo), P("timeout", Timespec), P("sigsetsize", Unsigned)),
		full(unix.SYS_RT_SIGSUSPEND, "rt_sigsuspend", sysRtSigsuspend, P("mask", SigSet), P("sigsetsize", Unsigned)),
		full(unix.SYS_PAUSE, "pause", sysPause),
		full(unix.SYS_SIGALTSTACK, "sigaltstack", sysSigaltstack, P("ss", SigStack), P("old_ss", OutSigStack)),
		full(unix.SYS_RESTART_SYSCALL, "restart_syscall", sysRestartSyscall),
	}
}

const (
	sigBlock = iota
	sigUnblock
	sigSetmask
)

var maskHow = &FlagSet{Names: []FlagName{{sigBlock, "SIG_BLOCK"}, {sigUnblock, "SIG_UNBLOCK"}, {sigSetmask, "SIG_SETMASK"}}}

// sigsetSize is the only size of a signal set that the calls take.
const sigsetSize = 8

func sysRtSigaction(t *kernel.Task, a kernel.Args) (uintptr, error) {
	sig := a.Int(0)
	if a[3] != sigsetSize {
		return 0, unix.EINVAL
	}
	if !kernel.ValidSignal(sig) {
		return 0, unix.EINVAL
	}
	var act abi.Sigaction
	g := t.ThreadGroup()
	var old abi.Sigaction
	if a[1] == 0 {
		old = g.SignalHandlers().Action(sig)
	} else {
		if err := kernel.CopyInStruct(t, a[1], &act); err != nil {
			return 0, err
		}
		var err error
		if old, err = g.SetAction(sig, act); err != nil {
			return 0, err
		}
	}
	if a[2] != 0 {
		return 0, kernel.CopyOutStructLate(t, a[2], &old)
	}
	return 0, nil
}

func sysRtSigprocmask(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[3] != sigsetSize {
		return 0, unix.EINVAL
	}
	old := t.SignalMask()
	if a[1] != 0 {
		v, err := t.CopyInUint64(a[1])
		if err != nil {
			return 0, err
		}
		set := abi.SignalSet(v)
		switch a.Int(0) {
		case sigBlock:
			set |= old
		case sigUnblock:
			set = old &^ set
		case sigSetmask:
		default:
			return 0, unix.EINVAL
		}
		t.SetSignalMask(set)
	}
	if a[2] != 0 {
		return 0, t.CopyOutUint64Late(a[2], uint64(old))
	}
	return 0, nil
}

func sysRtSigreturn(t *kernel.Task, _ kernel.Args) (uintptr, error) { return t.SigReturn() }

func sysRtSigpending(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] > sigsetSize {
		return 0, unix.EINVAL
	}
	var b [sigsetSize]byte
	binary.LittleEndian.PutUint64(b[:], uint64(t.PendingSignals()&t.SignalMask()))
	_, err := t.CopyOut(a[0], b[:a[1]])
	return 0, err
}

func sysRtSigtimedwait(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[3] != sigsetSize {
		return 0, unix.EINVAL
	}
	set, err := t.CopyInUint64(a[0])
	if err != nil {
		return 0, err
	}
	timeout := time.Duration(-1)
	if a[2] != 0 {
		var ts unix.Timespec
		if err := kernel.CopyInStruct(t, a[2], &ts); err != nil {
			return 0, err
		}
		if ts.Sec < 0 || ts.Nsec < 0 || ts.Nsec >= 1e9 {
			return 0, unix.EINVAL
		}
		timeout = time.Duration(min(ts.Sec, 1<<33))*time.Second + time.Duration(ts.Nsec)
	}
	info, err := t.WaitSignal(abi.SignalSet(set), timeout)
	if err != nil {
		return 0, err
	}
	if a[1] != 0 {
		b := info.Bytes()
		if _, err := t.CopyOut(a[1], b[:]); err != nil {
			return 0, err
		}
	}
	return uintptr(info.Signo), nil
}

func sysRtSigsuspend(t *kernel.Task, a kernel.Args) (uintptr, error) {
	if a[1] != sigsetSize {
		return 0, unix.EINVAL
	}
	set, err := t.CopyInUint64(a[0])
	if err != nil {
		return 0, err
	}
	t.PushMask(abi.SignalSet(set))
	return pause(t)
}

func sysPause(t *kernel.Task, _ kernel.Args) (uintptr, error) { return pause(t) }

// pause sleeps until a signal comes that has a handler or ends the process.
func pause(t *kernel.Task) (uintptr, error) {
	err := t.Block(nil, time.Time{})
	t.PopMask(true)
	if err == abi.ERESTARTSYS {
		err = abi.ERESTARTNOHAND
	}
	return 0, err
}

// stack is stack_t in guest memory.
type stack struct {
	Addr  uint64
	Flags uint32
	pad   uint32
	Size  uint64
}

func sysSigaltstack(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var in *abi.Stack
	if a[0] != 0 {
		var s stack
		if err := kernel.CopyInStruct(t, a[0], &s); err != nil {
			return 0, err
		}
		in = &abi.Stack{Addr: s.Addr, Flags: s.Flags, Size: s.Size}
	}
	old, err := t.SetAltStack(in)
	if err != nil || a[1] == 0 {
		return 0, err
	}
	return 0, kernel.CopyOutStruct(t, a[1], &stack{Addr: old.Addr, Flags: old.Flags, Size: old.Size})
}

func sysRestartSyscall(t *kernel.Task, _ kernel.Args) (uintptr, error) { return t.Restart() }
