package kernel

import (
	"errors"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// run is the task's goroutine: deliver signals, run guest code, answer what
// happened, until the task ends.
func (t *Task) run() {
	defer t.k.running.Done()
	sound := false
	defer func() {
		if !sound {
			t.reportCrash()
		}
	}()
	t.begin()
	if t.gate != nil {
		// Only death ends the wait otherwise, and is seen below.
		_ = t.BlockKillable(t.gate)
		// A limit of 0 would have ended it while it waited.
		t.group.startCPULimit()
	}
	for t.prepareReturn() {
		t.clock.enterGuest(t)
		// Whoever sets work looks at mode afterwards; so either it is seen
		// here, or Switch is interrupted.
		if t.work.Load() {
			t.clock.leaveGuest(t)
			continue
		}
		if t.ptrace.mode.Load()&ptraceStep != 0 {
			t.forceTF()
		}
		ev := t.ctx.Switch()
		if t.ptrace.forcedTF {
			t.unforceTF()
		}
		t.clock.leaveGuest(t)
		if ev.Kind == platform.EventSyscall {
			t.syscall()
		} else {
			t.event(&ev)
		}
	}
	t.exit()
	sound = true
}

// begin does what a new task does before its first instruction.
func (t *Task) begin() {
	t.clock.since.Store(stampNow())
	if t.childTID != 0 {
		// As on Linux a bad address is nobody's error.
		_ = t.CopyOutUint32(t.childTID, uint32(t.TID()))
		t.childTID = 0
	}
}

// forceTF has the processor stop after the next instruction, unforceTF undoes
// it: the flag is the guest's if it was set before.
func (t *Task) forceTF() {
	r := t.ctx.Regs()
	t.ptrace.forcedTF = r.Eflags&flagTF == 0
	r.Eflags |= flagTF
}

func (t *Task) unforceTF() {
	t.ctx.Regs().Eflags &^= flagTF
	t.ptrace.forcedTF = false
}

// syscall answers a system call, with stops before and after it if the task's
// tracer wants them.
func (t *Task) syscall() {
	if t.ptrace.mode.Load() == 0 || t.ptraceEntry() {
		t.answer()
	}
	if t.ptrace.mode.Load() != 0 {
		t.ptraceExit()
	}
}

// answer makes the system call that the registers say.
func (t *Task) answer() {
	r := t.ctx.Regs()
	args := callArgs(r)
	t.calls.add(r.Orig_rax, args)
	t.late, t.lateFrom = t.late[:0], nil
	v, err := t.k.Syscalls.Dispatch(t, r.Orig_rax, args)
	// execve has replaced the context.
	r = t.ctx.Regs()
	if err == nil {
		r.Rax = uint64(v)
		return
	}
	switch errno := errnoOf(err); errno {
	case abi.ERESTARTSYS, abi.ERESTARTNOINTR, abi.ERESTARTNOHAND, abi.ERESTARTRESTARTBLOCK:
		t.restart = errno
		r.Rax = negative(unix.EINTR)
		t.markWork()
	default:
		r.Rax = negative(errno)
	}
}

// callArgs are the arguments of a system call.
func callArgs(r *abi.Regs) Args { return Args{r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9} }

// errnoOf finds the errno in an error. What has none is EIO.
func errnoOf(err error) unix.Errno {
	if e, ok := err.(unix.Errno); ok {
		return e
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}

// negative is how RAX shows an error.
func negative(e unix.Errno) uint64 { return uint64(-int64(e)) }

// event answers what stopped guest code other than a system call.
func (t *Task) event(ev *platform.Event) {
	switch ev.Kind {
	case platform.EventInterrupt:
		t.markWork()
	case platform.EventFault:
		t.fault(ev)
	case platform.EventOpFailed:
		t.opFailed(ev.Err)
	case platform.EventGone:
		t.lost()
	}
}

// opFailed makes the failure of a queued host operation the result of the
// system call that queued it.
func (t *Task) opFailed(err error) {
	if t.mem == nil {
		t.lost()
		return
	}
	var op *platform.OpError
	errors.As(err, &op)
	if !t.lateFailed(op) {
		t.ctx.Regs().Rax = negative(t.mem.OpFailed(t.ctx, err))
	}
}

// lost ends the process because the host has ended its stub.
func (t *Task) lost() {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	t.group.endLocked(Signaled(int32(unix.SIGKILL), false))
	t.markWork()
}

// fault answers an exception of the guest's instruction: memory may know what
// to do (a stack that grows), else the signal is forced on the task.
func (t *Task) fault(ev *platform.Event) {
	t.ctx.Regs().Orig_rax = ^uint64(0)
	if ev.Signal == int32(unix.SIGSEGV) && t.mem != nil && t.mem.HandleFault(t.ctx, ev.Addr, faultAccess(ev.ErrorCode)) {
		return
	}
	if ev.Signal == int32(unix.SIGSEGV) && t.vsyscall() {
		return
	}
	t.trapNo, t.errorCode, t.faultAddr = ev.TrapNo, ev.ErrorCode, ev.Addr
	info := &abi.Siginfo{Signo: ev.Signal, Code: ev.Code}
	info.SetAddr(ev.Addr)
	t.ForceSignal(info)
}

// faultAccess is the unix.PROT_* bit that a page fault's error code asks for.
func faultAccess(code uint64) int32 {
	switch {
	case code&2 != 0:
		return unix.PROT_WRITE
	case code&16 != 0:
		return unix.PROT_EXEC
	}
	return unix.PROT_READ
}

// SetRestart says how to go on if the present call, which is about to return
// abi.ERESTARTRESTARTBLOCK, is restarted after a signal without a handler: by
// calling f instead of the call itself (restart_syscall(2)).
func (t *Task) SetRestart(f func(*Task) (uintptr, error)) error {
	t.restartFn = f
	return abi.ERESTARTRESTARTBLOCK
}

// Restart is restart_syscall(2).
func (t *Task) Restart() (uintptr, error) {
	f := t.restartFn
	t.restartFn = nil
	if f == nil {
		return 0, unix.EINTR
	}
	return f(t)
}

// sysRestart is the number of restart_syscall(2).
const sysRestart = unix.SYS_RESTART_SYSCALL

// finishCall decides what becomes of a call that a signal interrupted. act is
// the handler that is about to run, or nil if none does.
func (t *Task) finishCall(act *abi.Sigaction) {
	e := t.restart
	if e == 0 {
		return
	}
	t.restart = 0
	r := t.ctx.Regs()
	again := e == abi.ERESTARTNOINTR
	if act == nil {
		again = true
	} else if e == abi.ERESTARTSYS {
		again = act.Flags&abi.SA_RESTART != 0
	}
	switch {
	case !again:
		r.Rax = negative(unix.EINTR)
		return
	case e == abi.ERESTARTRESTARTBLOCK:
		r.Rax = sysRestart
	default:
		r.Rax = r.Orig_rax
	}
	// Back to the syscall instruction, which is two bytes long.
	r.Rip -= 2
}
