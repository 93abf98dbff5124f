package kernel

import (
	"sync/atomic"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// ptraceState is a Task's part in ptrace(2) as the one that is traced.
type ptraceState struct {
	// tracer is who traces the task, or nil. It is written with Kernel.mu and
	// group.mu held; ThreadGroup.tracees of the tracer has the task as long.
	tracer *Task
	// mode says what the task does between stops; see the constants.
	mode atomic.Int32

	// What follows is guarded by group.mu.

	// seized: by PTRACE_SEIZE. options are PTRACE_O_*.
	seized  bool
	options uint32
	// stop is the stop that the task is in, or nil.
	stop *ptraceStop
	// trap asks the task to stop with PTRACE_EVENT_STOP.
	trap bool
	// passed is the number of the stop of the process (jobControl.seq) from
	// which the tracer has resumed this task alone.
	passed uint64

	// ended says that the thread has ended, with status, and that its tracer
	// has not waited for it yet. Kernel.mu guards it.
	ended  bool
	status ExitStatus

	// formerTID is the number that the task had before execve(2), and forcedTF
	// says that its trap flag is ours. They are the task's own.
	formerTID int32
	forcedTF  bool
	// ending says that the task stops on its way to its end by itself; the
	// task's own.
	ending bool
}

// What a traced task does until its next stop; 0 is to run freely. The bits
// say at what it stops.
const (
	ptraceSyscalls int32 = 1 << iota // at system calls
	ptraceEmulate                    // before system calls, which are not made
	ptraceStep                       // after each instruction
)

// Limits of PTRACE_SETOPTIONS. PTRACE_O_SUSPEND_SECCOMP is for kernels with
// checkpointing.
const ptraceOptions = 0xff | unix.PTRACE_O_EXITKILL

// Tracer returns who traces the task, or nil.
func (t *Task) Tracer() *Task {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.ptrace.tracer
}

// TraceMe is PTRACE_TRACEME: the parent becomes the tracer. EPERM if there is
// one already, or no parent to be it.
func (t *Task) TraceMe() error {
	k := t.k
	k.mu.Lock()
	defer k.mu.Unlock()
	tracer := t.group.parentThread
	if p := t.group.parent; tracer == nil && p != nil {
		if list := p.Tasks(); len(list) > 0 {
			tracer = list[0]
		}
	}
	if tracer == nil || t.ptrace.tracer != nil {
		return unix.EPERM
	}
	t.traceByLocked(tracer, 0, false)
	return nil
}

// traceByLocked makes tracer the one who traces t. Kernel.mu is held.
func (t *Task) traceByLocked(tracer *Task, options uint32, seize bool) {
	g := t.group
	g.mu.Lock()
	t.ptrace.tracer, t.ptrace.options, t.ptrace.seized = tracer, options, seize
	g.mu.Unlock()
	tracer.group.addTraceeLocked(t)
}

func (g *ThreadGroup) addTraceeLocked(t *Task) {
	if g.tracees == nil {
		g.tracees = make(map[*Task]struct{})
	}
	g.tracees[t] = struct{}{}
}

// Attach is PTRACE_ATTACH, and with seize PTRACE_SEIZE with options: t traces
// o from now on. EPERM unless it may, EIO for options that there are not.
func (t *Task) Attach(o *Task, seize bool, options uint64) error {
	if seize && options&^uint64(ptraceOptions) != 0 {
		return unix.EIO
	}
	if o.group == t.group {
		return unix.EPERM
	}
	if err := t.MayTrace(o); err != nil {
		return err
	}
	k, g := t.k, o.group
	k.mu.Lock()
	defer k.mu.Unlock()
	if o.gone || o.ptrace.tracer != nil {
		return unix.EPERM
	}
	o.traceByLocked(t, uint32(options), seize)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !seize {
		// A SIGSTOP has nobody told of anything.
		_, _ = g.sendLocked(o, kernelSignal(int32(unix.SIGSTOP)), sendOptions{})
	}
	if g.stop.wanted {
		// From a stop that nobody sees it goes on to one that we see.
		o.kickLocked()
	}
	return nil
}

// Interrupt is PTRACE_INTERRUPT: o, which t has seized, stops soon. ESRCH if it
// is not traced by t, EIO if not seized.
func (t *Task) Interrupt(o *Task) error {
	g := o.group
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case o.ptrace.tracer != t || o.gone:
		return unix.ESRCH
	case !o.ptrace.seized:
		return unix.EIO
	}
	o.ptrace.trap = true
	o.wakeListenerLocked()
	o.kickLocked()
	return nil
}

// KillTracee is PTRACE_KILL. ESRCH if o is not traced by t.
func (t *Task) KillTracee(o *Task) error {
	if o.Tracer() != t {
		return unix.ESRCH
	}
	return o.Signal(t.UserSignal(int32(unix.SIGKILL), abi.SI_USER))
}

// untraceLocked ends that o is traced. If it is stopped it goes on, with
// signal sig if that is not 0; if its process is, it stops as others do.
// Kernel.mu is held.
func (o *Task) untraceLocked(sig int32) {
	g := o.group
	delete(o.ptrace.tracer.group.tracees, o)
	g.mu.Lock()
	defer g.mu.Unlock()
	o.ptrace.tracer = nil
	o.ptrace.seized, o.ptrace.options, o.ptrace.trap, o.ptrace.passed = false, 0, false, 0
	o.ptrace.mode.Store(0)
	if s := o.ptrace.stop; s != nil {
		s.sig = sig
		o.endStopLocked()
	}
}

// dropTraceesLocked is called at the end of t, for all that it traces.
// Kernel.mu is held.
func (t *Task) dropTraceesLocked(notices *[]func()) {
	for o := range t.group.tracees {
		if o.ptrace.tracer != t {
			continue
		}
		kill := o.ptraceOption(unix.PTRACE_O_EXITKILL)
		o.forgetTraceeLocked(0, notices)
		if kill {
			*notices = append(*notices, o.group.Kill)
		}
	}
}

// forgetTraceeLocked ends that o is traced, also if it has ended: a thread's
// number is free then, and a process is its parent's. Kernel.mu is held.
func (o *Task) forgetTraceeLocked(sig int32, notices *[]func()) {
	g := o.group
	abroad := o.ptrace.tracer.group != g.parent
	o.untraceLocked(sig)
	switch {
	case o.ptrace.ended:
		o.ptrace.ended = false
		if p := o.pid.Load(); p.tracee == o {
			p.tracee = nil
			p.release()
		}
	case o == g.leader && g.zombie && abroad && !g.reaped:
		g.becomeZombieLocked(notices)
	}
}

// tracedAbroadLocked reports whether the leader's tracer is not of the process
// that would wait for g, which then waits until that one has. Kernel.mu is held.
func (g *ThreadGroup) tracedAbroadLocked() bool {
	t := g.leader.ptrace.tracer
	return t != nil && t.group != g.parent
}

// leavePtraceLocked is called at the end of a traced thread. It reports
// whether the tracer is to wait for it. Kernel.mu is held.
func (t *Task) leavePtraceLocked(status ExitStatus, notices *[]func()) (kept bool) {
	tracer := t.ptrace.tracer
	if tracer == nil || t == t.group.leader {
		return false
	}
	p := tracer.group
	act := p.SignalHandlers().Action(int32(unix.SIGCHLD))
	if act.Handler == abi.SIG_IGN || act.Flags&abi.SA_NOCLDWAIT != 0 {
		t.untraceLocked(0)
		return false
	}
	t.ptrace.ended, t.ptrace.status = true, status
	code, how := endOf(status)
	info := t.traceeInfo(tracer, code, how)
	*notices = append(*notices, func() {
		p.Signal(info)
		p.childWait.Notify(waiter.In)
	})
	return true
}

// traceeInfo makes the siginfo of a traced task's change of state for its
// tracer.
func (t *Task) traceeInfo(tracer *Task, code, status int32) *abi.Siginfo {
	info := &abi.Siginfo{Signo: int32(unix.SIGCHLD), Code: code}
	info.SetPID(t.TIDIn(tracer.PIDs()))
	info.SetUID(tracer.Credentials().UserNS.FromUID(t.Credentials().RUID))
	info.SetStatus(status)
	return info
}

// traceeNumber is the number of a new task c for the tracer of t.
func (t *Task) traceeNumber(c *Task) uint64 {
	if tracer := t.Tracer(); tracer != nil {
		return uint64(c.TIDIn(tracer.PIDs()))
	}
	return 0
}

// ptraceOption reports whether an option is set.
func (t *Task) ptraceOption(option uint32) bool {
	t.group.mu.Lock()
	defer t.group.mu.Unlock()
	return t.ptrace.tracer != nil && t.ptrace.options&option != 0
}

// TracedByUnprivileged reports whether a tracer that may not trace privileged
// programs watches the task, so that it must not become one by execve(2).
func (t *Task) TracedByUnprivileged() bool {
	tracer := t.Tracer()
	return tracer != nil && !tracer.Credentials().Can(unix.CAP_SYS_PTRACE)
}

// beginDebug readies the task for being looked into. It is for its own
// goroutine.
func (t *Task) beginDebug() {
	if d, ok := t.ctx.(platform.Debuggable); ok {
		d.BeginDebug()
	}
	if err := t.ctx.Flush(); err != nil {
		t.opFailed(err)
	}
}
