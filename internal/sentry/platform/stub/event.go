package stub

import (
	"slices"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Selectors of user code and data on amd64 Linux.
const (
	userCS   = 0x33
	userCS32 = 0x23
	userSS   = 0x2b
)

// Trap numbers and error codes of the exceptions that are made up here.
const (
	trapGeneralProtection = 13
	// int80Error is the selector error code of INT 0x80: vector, IDT.
	int80Error = 0x80<<3 | 2
)

const (
	segvKernel    = 0x80 // SI_KERNEL
	sysSeccomp    = 1    // SYS_SECCOMP
	sysUretprobe  = 335
	flagsSettable = 0x50dd5 | 0x200000 // what user code may change of RFLAGS
	flagsAlways   = 0x202
	// flagsSlow are those that the stub changes for itself: TF, DF, NT, RF, AC.
	flagsSlow = 0x100 | 0x400 | 0x4000 | 0x10000 | 0x40000
)

// Event returns what the stub told when it gave the turn back from guest
// code, and takes over the registers.
func (t *Thread) Event() platform.Event {
	kind := t.page.event
	t.trapped = kind != eventCall
	regs := &t.regs
	fs, gs := regs.Fs_base, regs.Gs_base
	*regs = t.page.regs
	if kind == eventCall {
		regs.Gs_base = gs
	} else if !t.proc.stubs.fsgsbase {
		// The registers are still what we gave.
		regs.Fs_base, regs.Gs_base = fs, gs
	} else if kind == eventInterrupt {
		// Likewise, or as the guest came by stubEntry.
		regs.Gs_base = gs
	} else if regs.Gs_base == t.slotAddr() {
		// The guest did not set it.
		regs.Gs_base = gs
	}
	t.fsBase, t.gsBase = regs.Fs_base, regs.Gs_base
	regs.Ds, regs.Es, regs.Fs, regs.Gs = 0, 0, 0, 0
	regs.Orig_rax = ^uint64(0)
	if kind == eventCall {
		t.takeFetched()
		regs.Orig_rax = regs.Rax
		regs.Rax = ^uint64(unix.ENOSYS) + 1
		return platform.Event{Kind: platform.EventSyscall}
	}
	if kind != eventSignal {
		t.intr.Store(false)
		return platform.Event{Kind: platform.EventInterrupt}
	}
	sig := unix.Signal(t.page.sig)
	if sig == interruptSignal {
		t.intr.Store(false)
		return platform.Event{Kind: platform.EventInterrupt}
	}
	return signalEvent(regs, sig, int32(t.page.code), t.page.addr, t.page.arch, t.page.trapno, t.page.err)
}

// Int80Event is the event of an INT 0x80, which a 64-bit program is not
// offered: what it would be on a host without 32-bit emulation. The
// instruction pointer is past the instruction.
func Int80Event(regs *abi.Regs) platform.Event {
	regs.Rip -= 2
	regs.Orig_rax = ^uint64(0)
	return platform.Event{
		Kind: platform.EventFault, Signal: int32(unix.SIGSEGV), Code: segvKernel,
		TrapNo: trapGeneralProtection, ErrorCode: int80Error,
	}
}

// Trapped reports whether the last event came by a signal, not by stubEntry.
func (t *Thread) Trapped() bool { return t.trapped }

// signalEvent makes an event of a signal that guest code raised, and adapts
// the registers to it.
func signalEvent(regs *abi.Regs, sig unix.Signal, code int32, addr uint64, arch uint32, trapno, errorCode uint64) platform.Event {
	if sig == unix.SIGSYS && code == sysSeccomp {
		if arch == auditArchX8664 {
			regs.Orig_rax = regs.Rax
			regs.Rax = ^uint64(unix.ENOSYS) + 1
			return platform.Event{Kind: platform.EventSyscall}
		}
		return Int80Event(regs)
	}
	if sig == unix.SIGILL && code == segvKernel {
		// Newer hosts let uretprobe(2) pass all filters, and answer it with
		// this signal when no probe is there. (Its sister, uprobe, they
		// answer with ENXIO; nothing can be done about that.)
		regs.Orig_rax = sysUretprobe
		regs.Rax = ^uint64(unix.ENOSYS) + 1
		return platform.Event{Kind: platform.EventSyscall}
	}
	if !slices.Contains(handled, sig) {
		// The guest has written that to its slot: numbers beyond the last signal too.
		sig, code = unix.SIGSEGV, segvKernel
	}
	return platform.Event{
		Kind: platform.EventFault, Signal: int32(sig), Code: code, Addr: addr,
		TrapNo: trapno, ErrorCode: errorCode,
	}
}

// sanitize makes of regs what user code may have, so that the stub's IRETQ
// does not fault.
func sanitize(regs *abi.Regs) {
	if regs.Cs != userCS32 {
		regs.Cs = userCS
	}
	regs.Ss = userSS
	regs.Eflags = regs.Eflags&flagsSettable | flagsAlways
}
