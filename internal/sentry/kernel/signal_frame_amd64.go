package kernel

import (
	"encoding/binary"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// The signal frame of amd64 Linux (arch/x86/include/uapi/asm/sigcontext.h and
// ucontext.h): struct rt_sigframe at the handler's stack pointer is the return
// address, struct ucontext, siginfo_t; the XSAVE area lies above it, aligned
// to 64 bytes, and the ucontext points there.
const (
	frameUcontext = 8
	frameSigctx   = frameUcontext + 40
	frameSigmask  = frameSigctx + 256
	frameSiginfo  = frameSigmask + 8
	frameSize     = frameSiginfo + abi.SiginfoSize

	// redZone is what the ABI lets a function use below its stack pointer.
	redZone = 128

	// Bits of uc_flags.
	ucFPXState        = 1
	ucSigcontextSS    = 2
	ucStrictRestoreSS = 4

	userCS = 0x33
	userSS = 0x2b

	// Flags (RFLAGS) that a handler starts without, and those that
	// rt_sigreturn(2) may set.
	flagTF       = 1 << 8
	flagDF       = 1 << 10
	flagRF       = 1 << 16
	flagAC       = 1 << 18
	restoreFlags = flagAC | 1<<11 | flagDF | flagTF | 1<<7 | 1<<6 | 1<<4 | 1<<2 | 1<<0 | flagRF
)

var le = binary.LittleEndian

// onAltStack reports whether a stack pointer lies on the alternate stack.
func onAltStack(s *abi.Stack, sp uint64) bool {
	return s.Flags&abi.SS_AUTODISARM == 0 && sp > s.Addr && sp-s.Addr <= s.Size
}

// altStackFlags is what sigaltstack(2) reports in ss_flags.
func altStackFlags(s *abi.Stack, sp uint64) uint32 {
	switch {
	case s.Size == 0:
		return abi.SS_DISABLE
	case onAltStack(s, sp):
		return abi.SS_ONSTACK
	}
	return 0
}

// pushFrame puts a frame for the handler on the guest's stack and sets the
// registers to run it. mask is what the handler's return restores. On error
// nothing but stack memory has changed.
func (t *Task) pushFrame(info *abi.Siginfo, act *abi.Sigaction, mask abi.SignalSet) error {
	if act.Flags&abi.SA_RESTORER == 0 {
		return unix.EFAULT
	}
	r := t.ctx.Regs()
	sp := r.Rsp - redZone
	nested := onAltStack(&t.altStack, r.Rsp)
	entering := false
	if act.Flags&abi.SA_ONSTACK != 0 && altStackFlags(&t.altStack, r.Rsp) == 0 {
		sp = t.altStack.Addr + t.altStack.Size
		entering = true
	}
	limits := t.k.Platform.Limits()
	fp := (sp - uint64(limits.FPSize)) &^ 63
	sp = (fp-frameSize)&^15 - 8
	// A frame that does not fit the alternate stack must not go below it.
	if (nested || entering) && (sp <= t.altStack.Addr || sp-t.altStack.Addr > t.altStack.Size) {
		return unix.EFAULT
	}
	if sp >= limits.Max {
		return unix.EFAULT
	}
	if err := t.saveFP(fp); err != nil {
		return err
	}
	var f [frameSize]byte
	le.PutUint64(f[0:], act.Restorer)
	le.PutUint64(f[frameUcontext:], ucFPXState|ucSigcontextSS|ucStrictRestoreSS)
	le.PutUint64(f[frameUcontext+16:], t.altStack.Addr)
	le.PutUint32(f[frameUcontext+24:], altStackFlags(&t.altStack, r.Rsp)|t.altStack.Flags&abi.SS_AUTODISARM)
	le.PutUint64(f[frameUcontext+32:], t.altStack.Size)
	t.putSigcontext(f[frameSigctx:frameSigmask], r, uint64(mask), fp)
	le.PutUint64(f[frameSigmask:], uint64(mask))
	if act.Flags&abi.SA_SIGINFO != 0 {
		b := info.Bytes()
		copy(f[frameSiginfo:], b[:])
	}
	if _, err := t.CopyOut(sp, f[:]); err != nil {
		return err
	}
	// A handler starts with the extended state of a new program.
	if err := t.ctx.ResetFP(); err != nil {
		return err
	}
	if t.altStack.Flags&abi.SS_AUTODISARM != 0 {
		t.altStack = abi.Stack{}
	}
	r.Rdi = uint64(info.Signo)
	r.Rax = 0
	r.Rsi = sp + frameSiginfo
	r.Rdx = sp + frameUcontext
	r.Rip = act.Handler
	r.Rsp = sp
	r.Eflags &^= flagDF | flagRF | flagTF
	r.Cs, r.Ss = userCS, userSS
	r.Orig_rax = ^uint64(0)
	t.checkRip()
	return nil
}

// saveFP writes the extended state to the frame.
func (t *Task) saveFP(fp uint64) error {
	err := t.ctx.SaveFP(fp)
	if err != nil && t.mem.HandleFault(t.ctx, fp, unix.PROT_WRITE) {
		err = t.ctx.SaveFP(fp)
	}
	return err
}

// putSigcontext fills struct sigcontext_64.
func (t *Task) putSigcontext(b []byte, r *abi.Regs, mask, fp uint64) {
	for i, p := range sigcontextRegs(r) {
		le.PutUint64(b[8*i:], *p)
	}
	le.PutUint64(b[136:], r.Eflags)
	le.PutUint16(b[144:], userCS)
	le.PutUint16(b[150:], userSS)
	le.PutUint64(b[152:], t.errorCode)
	le.PutUint64(b[160:], t.trapNo)
	le.PutUint64(b[168:], mask)
	le.PutUint64(b[176:], t.faultAddr)
	le.PutUint64(b[184:], fp)
}

// sigcontextRegs are the registers in struct sigcontext_64's order.
func sigcontextRegs(r *abi.Regs) [17]*uint64 {
	return [17]*uint64{
		&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15,
		&r.Rdi, &r.Rsi, &r.Rbp, &r.Rbx, &r.Rdx, &r.Rax, &r.Rcx, &r.Rsp, &r.Rip,
	}
}

// SigReturn is rt_sigreturn(2): it takes the registers, the mask, the
// alternate stack and the extended state back from the frame. It returns what
// RAX shall hold. A frame that is no good forces SIGSEGV.
func (t *Task) SigReturn() (uintptr, error) {
	r := t.ctx.Regs()
	// The handler's return has popped the return address.
	var f [frameSiginfo]byte
	if _, err := t.CopyIn(r.Rsp-8, f[:]); err != nil {
		t.badFrame()
		return uintptr(r.Rax), nil
	}
	ctx := f[frameSigctx:frameSigmask]
	fp := le.Uint64(ctx[184:])
	var err error
	if fp == 0 {
		err = t.ctx.ResetFP()
	} else {
		err = t.ctx.RestoreFP(fp)
	}
	if err != nil {
		t.badFrame()
		return uintptr(r.Rax), nil
	}
	for i, p := range sigcontextRegs(r) {
		*p = le.Uint64(ctx[8*i:])
	}
	r.Eflags = r.Eflags&^restoreFlags | le.Uint64(ctx[136:])&restoreFlags
	r.Cs, r.Ss = userCS, userSS
	r.Orig_rax = ^uint64(0)
	t.SetSignalMask(abi.SignalSet(le.Uint64(f[frameSigmask:])))
	// As on Linux an unfit alternate stack is left as it is.
	_, _ = t.SetAltStack(&abi.Stack{
		Addr:  le.Uint64(f[frameUcontext+16:]),
		Flags: le.Uint32(f[frameUcontext+24:]),
		Size:  le.Uint64(f[frameUcontext+32:]),
	})
	t.restartFn = nil
	t.checkRip()
	return uintptr(r.Rax), nil
}

// badFrame forces SIGSEGV because of an unreadable frame.
func (t *Task) badFrame() {
	t.ForceSignal(kernelSignal(int32(unix.SIGSEGV)))
}

// checkRip forces SIGSEGV if the guest asked to go on at an address that the
// processor would refuse to load, which must not happen inside of the stub.
func (t *Task) checkRip() {
	if r := t.ctx.Regs(); r.Rip >= 1<<47-pageSize {
		r.Rip = 1<<47 - pageSize
		t.ForceSignal(kernelSignal(int32(unix.SIGSEGV)))
	}
}

// SetAltStack changes the alternate signal stack (sigaltstack(2)) unless s is
// nil, and returns the former one with its flags. EPERM while running on it,
// ENOMEM if it is too small.
func (t *Task) SetAltStack(s *abi.Stack) (old abi.Stack, err error) {
	sp := t.ctx.Regs().Rsp
	old = t.altStack
	old.Flags = altStackFlags(&t.altStack, sp) | t.altStack.Flags&abi.SS_AUTODISARM
	if s == nil {
		return old, nil
	}
	if onAltStack(&t.altStack, sp) {
		return old, unix.EPERM
	}
	switch s.Flags &^ uint32(abi.SS_AUTODISARM) {
	case abi.SS_DISABLE:
		t.altStack = abi.Stack{Flags: s.Flags & abi.SS_AUTODISARM}
		return old, nil
	case 0, abi.SS_ONSTACK:
	default:
		return old, unix.EINVAL
	}
	if s.Size < abi.MINSIGSTKSZ {
		return old, unix.ENOMEM
	}
	t.altStack = abi.Stack{Addr: s.Addr, Size: s.Size, Flags: s.Flags & abi.SS_AUTODISARM}
	return old, nil
}
