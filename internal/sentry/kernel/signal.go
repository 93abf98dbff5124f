package kernel

import (
	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// Sets of signals by what their default disposition does (signal(7)).
var (
	stopSignals    = abi.SetOf(unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	ignoredSignals = abi.SetOf(unix.SIGCONT, unix.SIGCHLD, unix.SIGWINCH, unix.SIGURG)
	coreSignals    = abi.SetOf(unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGFPE,
		unix.SIGSEGV, unix.SIGBUS, unix.SIGSYS, unix.SIGXCPU, unix.SIGXFSZ)
	// unblockable signals can be neither blocked, caught nor ignored.
	unblockable = abi.SetOf(unix.SIGKILL, unix.SIGSTOP)
	// synchronous signals come from the thread's own instruction, and are
	// delivered before others so that their frames show where it was.
	synchronous = abi.SetOf(unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGTRAP, unix.SIGFPE, unix.SIGSYS)
)

// ValidSignal reports whether n numbers a signal: 1 to 64.
func ValidSignal(n int32) bool { return n >= 1 && n <= abi.NumSignals }

// kernelSignal is what the kernel itself sends (SEND_SIG_PRIV).
func kernelSignal(sig int32) *abi.Siginfo {
	return &abi.Siginfo{Signo: sig, Code: abi.SI_KERNEL}
}

// KernelSignal makes the siginfo of a signal that the kernel sends, such as
// SIGPIPE or a terminal's SIGINT.
func KernelSignal(sig unix.Signal) *abi.Siginfo { return kernelSignal(int32(sig)) }

// UserSignal makes the siginfo of a signal that t sends with kill(2)
// (abi.SI_USER) or tkill(2) (abi.SI_TKILL).
func (t *Task) UserSignal(sig, code int32) *abi.Siginfo {
	info := &abi.Siginfo{Signo: sig, Code: code}
	info.SetPID(t.PID())
	c := t.Credentials()
	info.SetUID(c.UserNS.FromUID(c.RUID))
	return info
}
