package stub

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sigaction is the host's struct kernel_sigaction.
type sigaction struct {
	handler, flags, restorer, mask uint64
}

// Flags of the stub's handlers. None blocks a signal, and the stub never
// returns by rt_sigreturn(2): its signal mask is always empty, and guest code
// has no way to change that.
const handlerFlags = 0x4 | // SA_SIGINFO
	0x08000000 | // SA_ONSTACK
	0x10000000 | // SA_RESTART
	0x40000000 | // SA_NODEFER
	0x04000000 // SA_RESTORER

// handled are the signals that a stub takes; it ignores all others, which
// come from without, such as a terminal.
var handled = []unix.Signal{
	unix.SIGSYS, unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, interruptSignal,
}

// furnish turns a copy of the sentry into the template: nothing mapped but
// the stub region and the vDSO, no signal that ends it, no way to reach the
// host but the filter's.
func (s *Stubs) furnish(t *Thread, gatesFD int, sp special, haveSpecial bool) error {
	window := t.slotAddr() + windowOffset
	w := t.slotWindow()
	var failed error
	do := func(what string, nr uint64, args ...uint64) {
		if failed != nil {
			return
		}
		if _, err := t.call(nr, args...); err != nil {
			failed = fmt.Errorf("%s: %w", what, err)
		}
	}

	do("leaving the session", unix.SYS_SETSID)
	if s.user >= 0 {
		id := uint64(s.user)
		do("leaving groups", unix.SYS_SETGROUPS, 0, 0)
		do("changing the group", unix.SYS_SETRESGID, id, id, id)
		do("changing the user, and giving up capabilities", unix.SYS_SETRESUID, id, id, id)
		// The host made the process a secret for that, of the sentry too.
		do("staying within the sentry's reach", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)
	}
	copy(w, "coffer-stub\x00")
	do("naming", unix.SYS_PRCTL, unix.PR_SET_NAME, window)
	do("following the sentry's death", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL))
	clear(w[:16])
	do("forbidding core dumps", unix.SYS_SETRLIMIT, unix.RLIMIT_CORE, window)

	act := (*sigaction)(unsafe.Pointer(&w[0]))
	for sig := unix.Signal(1); sig <= 64; sig++ {
		if sig == unix.SIGKILL || sig == unix.SIGSTOP {
			continue
		}
		*act = sigaction{handler: 1} // SIG_IGN
		for _, h := range handled {
			if sig == h {
				*act = sigaction{handler: s.text + uint64(s.code.handler), flags: handlerFlags, restorer: s.text}
			}
		}
		do("setting a signal's handler", unix.SYS_RT_SIGACTION, uint64(sig), window, 0, 8)
	}
	clear(w[:8])
	do("unblocking signals", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, window, 0, 8)

	if failed == nil {
		failed = dropRseq(t)
	}
	if failed == nil {
		failed = s.mapGates(t, gatesFD)
	}
	// Unmap everything but the stub region and the vDSO.
	hole := func(from, to uint64) {
		if from < to {
			do("unmapping the sentry", unix.SYS_MUNMAP, from, to-from)
		}
	}
	end := s.text + textSize + gatesSize
	switch {
	case !haveSpecial:
		hole(0, s.base)
		hole(end, taskSize)
	case sp.end <= s.base:
		hole(0, sp.vvar)
		hole(sp.end, s.base)
		hole(end, taskSize)
	default:
		hole(0, s.base)
		hole(end, sp.vvar)
		hole(sp.end, taskSize)
	}
	if failed != nil {
		return failed
	}
	if haveSpecial {
		moved, err := moveSpecial(t, sp, s.base)
		switch {
		case err == errGone:
			return err
		case err == nil:
			sp = moved
		case sp.vvar >= s.base:
			// It stays where the guest can't be told of it.
			haveSpecial = false
		}
		if haveSpecial {
			s.limits.VVAR, s.limits.VDSO, s.limits.VDSOEnd = sp.vvar, sp.vdso, sp.end
			s.clockGettime = s.findClockGettime(t)
		}
	}

	do("keeping the slots out of forks", unix.SYS_MADVISE, s.base, slotsSize, unix.MADV_DONTFORK)
	if failed != nil {
		return failed
	}
	// The sentry's thread base must not show.
	do("resetting the thread base", unix.SYS_ARCH_PRCTL, archSetFS, 0)
	if err := t.ResetFP(); err != nil {
		return fmt.Errorf("resetting the floating-point state: %w", err)
	}

	do("giving up privileges by exec", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	prog := filter(s.text)
	size := unsafe.Sizeof(prog[0])
	if uintptr(len(prog))*size+16 > windowSize {
		return fmt.Errorf("the seccomp filter has %d instructions, more than fit", len(prog))
	}
	copy(unsafe.Slice((*unix.SockFilter)(unsafe.Pointer(&w[16])), len(prog)), prog)
	*(*[2]uint64)(unsafe.Pointer(&w[0])) = [2]uint64{uint64(len(prog)), window + 16}
	// SPEC_ALLOW: the stub runs no code of others' that the filter must keep
	// from speculating; with the default, some hosts slow the guest down.
	do("installing the seccomp filter", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, window)
	return failed
}
