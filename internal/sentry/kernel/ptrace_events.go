package kernel

import (
	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

const (
	sigTrap = int32(unix.SIGTRAP)
	// sysGood marks a stop at a system call, if PTRACE_O_TRACESYSGOOD is set.
	sysGood = 0x80
	// Messages of stops at system calls (PTRACE_EVENTMSG_*).
	messageEntry, messageExit = 1, 2
)

// trapInfo is the siginfo of a stop that no signal caused: its code is the
// stop's.
func (t *Task) trapInfo(sig, code int32) *abi.Siginfo {
	info := t.UserSignal(sig, code)
	info.SetPID(t.TID())
	return info
}

// ptraceEvent stops the task for one of PTRACE_EVENT_*, if its tracer asked
// for that.
func (t *Task) ptraceEvent(event int32, message uint64) {
	if !t.ptraceOption(1 << event) {
		return
	}
	kind := StopEvent
	if event == unix.PTRACE_EVENT_SECCOMP {
		kind = StopSeccomp
	}
	code := sigTrap | event<<8
	t.pass(t.ptraceStop(&ptraceStop{kind: kind, code: code, info: t.trapInfo(sigTrap, code), message: message}))
}

// pass sends the task the signal that it goes on with after a stop that is not
// for a signal.
func (t *Task) pass(sig int32) {
	if sig != 0 {
		t.Signal(kernelSignal(sig))
	}
}

// mustDie reports whether the task is to end.
func (t *Task) mustDie() bool {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.killed
}

// ptraceSignal shows a signal to the tracer before it is delivered. It reports
// whether there still is one to deliver, which may be another.
func (t *Task) ptraceSignal(info *abi.Siginfo) bool {
	sig := t.ptraceStop(&ptraceStop{kind: StopSignal, code: info.Signo, info: info, sig: info.Signo})
	if sig == 0 || t.mustDie() {
		return false
	}
	if sig != info.Signo {
		*info = abi.Siginfo{Signo: sig, Code: abi.SI_USER}
		if tracer := t.Tracer(); tracer != nil {
			*info = *tracer.UserSignal(sig, abi.SI_USER)
		}
	}
	if sig == int32(unix.SIGKILL) || t.blocked.load().Has(sig) {
		t.Signal(info)
		return false
	}
	return true
}

// ptraceEntry stops the task before a system call if its tracer wants that. It
// reports whether the call is to be made.
func (t *Task) ptraceEntry() bool {
	mode := t.ptrace.mode.Load()
	if mode&(ptraceSyscalls|ptraceEmulate) == 0 {
		return true
	}
	t.syscallStop(StopEntry, messageEntry)
	t.restart = 0 // whatever the tracer has put into RAX
	return !t.mustDie() && mode&ptraceEmulate == 0 && int32(t.ctx.Regs().Orig_rax) != -1
}

// ptraceExit stops the task after a system call if its tracer wants that.
func (t *Task) ptraceExit() {
	if t.leaving {
		return
	}
	switch mode := t.ptrace.mode.Load(); {
	case mode&ptraceSyscalls != 0:
		t.syscallStop(StopExit, messageExit)
	case mode&ptraceStep != 0:
		// The instruction is over.
		info := &abi.Siginfo{Signo: sigTrap, Code: trapBreakpoint}
		info.SetAddr(t.ctx.Regs().Rip)
		t.ForceSignal(info)
	}
}

// trapBreakpoint is TRAP_BRKPT.
const trapBreakpoint = 1

func (t *Task) syscallStop(kind StopKind, message uint64) {
	code := sigTrap
	if t.ptraceOption(unix.PTRACE_O_TRACESYSGOOD) {
		code |= sysGood
	}
	t.pass(t.ptraceStop(&ptraceStop{kind: kind, code: code, info: t.trapInfo(sigTrap, code), message: message}))
}

// ptraceTrap stops the task with PTRACE_EVENT_STOP: by PTRACE_INTERRUPT, when
// its process stops or goes on, or at the beginning of one that is traced from
// birth. sig is the signal that stopped the process, or SIGTRAP.
func (t *Task) ptraceTrap(sig int32) {
	code := sig | unix.PTRACE_EVENT_STOP<<8
	t.pass(t.ptraceStop(&ptraceStop{kind: StopGroup, code: code, info: t.trapInfo(sig, code)}))
}

// ptraceGroupStop stops a traced task because its process is. group.mu is
// held, and again when it returns.
func (t *Task) ptraceGroupStop() {
	g := t.group
	sig, seized := g.stop.signal, t.ptrace.seized
	t.ptrace.trap = false
	n := g.checkStoppedLocked()
	g.mu.Unlock()
	n.run(g)
	if seized {
		t.ptraceTrap(sig)
	} else {
		t.pass(t.ptraceStop(&ptraceStop{kind: StopGroup, code: sig}))
	}
	g.mu.Lock()
}

// cloneEvent is the event that a new task is for its maker's tracer: one of
// PTRACE_EVENT_FORK, _VFORK and _CLONE.
func (a *CloneArgs) cloneEvent() int32 {
	switch {
	case a.has(unix.CLONE_VFORK):
		return unix.PTRACE_EVENT_VFORK
	case a.ExitSignal != int32(unix.SIGCHLD) || a.has(unix.CLONE_THREAD):
		return unix.PTRACE_EVENT_CLONE
	}
	return unix.PTRACE_EVENT_FORK
}

// inheritPtraceLocked has a new task be traced as its maker is, if its tracer
// wants that. It returns the event that is to be told, or 0. Kernel.mu and
// group.mu are held, and nobody knows c yet.
func (t *Task) inheritPtraceLocked(c *Task, a *CloneArgs) (event int32) {
	tracer := t.ptrace.tracer
	if tracer == nil || a.has(unix.CLONE_UNTRACED) {
		return 0
	}
	event = a.cloneEvent()
	if t.ptrace.options>>event&1 == 0 {
		event = 0
	}
	if event == 0 && !a.has(unix.CLONE_PTRACE) {
		return 0
	}
	c.ptrace.tracer, c.ptrace.seized, c.ptrace.options = tracer, t.ptrace.seized, t.ptrace.options
	tracer.group.addTraceeLocked(c)
	if c.ptrace.seized {
		c.ptrace.trap = true
	} else {
		c.pending.push(&queuedSignal{info: abi.Siginfo{Signo: int32(unix.SIGSTOP), Code: abi.SI_USER}})
	}
	return event
}

// ptraceExec tells the tracer that a program was loaded.
func (t *Task) ptraceExec() {
	t.group.mu.Lock()
	plain := t.ptrace.tracer != nil && !t.ptrace.seized && t.ptrace.options&unix.PTRACE_O_TRACEEXEC == 0
	t.group.mu.Unlock()
	if plain {
		t.Signal(t.UserSignal(sigTrap, abi.SI_USER))
		return
	}
	t.ptraceEvent(unix.PTRACE_EVENT_EXEC, uint64(t.ptrace.formerTID))
}

// ptraceEnd stops a traced task that is about to end, if its tracer asked for
// that, unless SIGKILL or another thread's execve(2) ends it.
func (t *Task) ptraceEnd() {
	g := t.group
	g.mu.Lock()
	t.ptrace.ending = !t.killed || g.exiting && g.exitCode.Signal() != int32(unix.SIGKILL)
	status := t.endStatusLocked()
	g.mu.Unlock()
	if t.ptrace.ending && t.ctx != nil && t.mem != nil {
		t.ptraceEvent(unix.PTRACE_EVENT_EXIT, uint64(status))
	}
}

// endStatusLocked is how a thread that is about to end ends. group.mu is held.
func (t *Task) endStatusLocked() ExitStatus {
	switch {
	case t.leaving:
		return t.exitCode
	case t.group.exiting:
		return t.group.exitCode
	}
	// Another thread's execve(2) ends it.
	return Signaled(int32(unix.SIGKILL), false)
}
