package kernel

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// StopKind says why a traced task stopped (ptrace(2), "Stopped states").
type StopKind int

// The kinds of stops.
const (
	StopSignal  StopKind = iota // signal-delivery-stop
	StopEntry                   // syscall-enter-stop
	StopExit                    // syscall-exit-stop
	StopSeccomp                 // PTRACE_EVENT_SECCOMP
	StopEvent                   // another PTRACE_EVENT stop
	StopGroup                   // group-stop, and PTRACE_EVENT_STOP
)

// ptraceStop is one stop of a traced task. Its goroutine waits, and does what
// the tracer asks for meanwhile: so only one goroutine ever uses the context.
type ptraceStop struct {
	kind StopKind
	// code is the signal that wait(2) tells, with the event in bits 8 to 15.
	code int32
	// info is what PTRACE_GETSIGINFO tells; nil for a group-stop.
	info    *abi.Siginfo
	message uint64 // PTRACE_GETEVENTMSG
	// sig is the signal that the task goes on with.
	sig int32

	// What follows is guarded by ThreadGroup.mu.

	// reported: the tracer has waited for it. listening: by PTRACE_LISTEN the
	// stop is not seen any more.
	reported, listening bool

	requests chan func()
	// over is closed when the task goes on.
	over chan struct{}
}

// ptraceStop stops the task, if it is traced, until its tracer lets it go on,
// and returns the signal that it goes on with. It is for the task's own
// goroutine, with no lock held. A task that is killed goes on at once.
func (t *Task) ptraceStop(s *ptraceStop) int32 {
	t.beginDebug()
	g := t.group
	s.requests, s.over = make(chan func()), make(chan struct{})
	g.mu.Lock()
	if t.ptrace.tracer == nil || t.killed && !t.ptrace.ending {
		g.mu.Unlock()
		return s.sig
	}
	deaths := g.deaths
	t.ptrace.stop = s
	t.showRestart()
	g.mu.Unlock()
	t.tellTracer(s)
	t.rest()
	t.ctx.Forget()
	t.clock.pause(t, modeTraced)
	for over := false; !over; {
		select {
		case f := <-s.requests:
			f()
		case <-s.over:
			over = true
		case <-t.wake:
			// What woke the task is looked at afterwards; only its death
			// ends the stop.
			g.mu.Lock()
			if t.ptrace.stop == s && t.killed && (!t.ptrace.ending || g.deaths != deaths) {
				t.endStopLocked()
			}
			g.mu.Unlock()
		}
	}
	t.clock.resume(t)
	t.markWork()
	t.takeRestart()
	return s.sig
}

// endStopLocked ends the task's stop. group.mu is held.
func (t *Task) endStopLocked() {
	close(t.ptrace.stop.over)
	t.ptrace.stop = nil
}

// wakeListenerLocked ends a stop of which the tracer said that it listens.
// group.mu is held.
func (t *Task) wakeListenerLocked() {
	if s := t.ptrace.stop; s != nil && s.listening {
		t.endStopLocked()
	}
}

// showRestart has the registers show what Linux has there while a call that
// was interrupted may be made again, and takeRestart believes what the tracer
// has made of it: debuggers run functions of a program that waits, and put
// the registers back.
func (t *Task) showRestart() {
	if t.restart != 0 {
		t.ctx.Regs().Rax = negative(t.restart)
	}
}

func (t *Task) takeRestart() {
	r := t.ctx.Regs()
	t.restart = 0
	if int64(r.Orig_rax) < 0 {
		return
	}
	switch e := unix.Errno(-int64(r.Rax)); e {
	case abi.ERESTARTSYS, abi.ERESTARTNOINTR, abi.ERESTARTNOHAND, abi.ERESTARTRESTARTBLOCK:
		t.restart = e
		r.Rax = negative(unix.EINTR)
	}
}

// tellTracer sends SIGCHLD for a stop, unless SA_NOCLDSTOP is set, and wakes
// who waits for it.
func (t *Task) tellTracer(s *ptraceStop) {
	tracer := t.Tracer()
	if tracer == nil {
		return
	}
	p := tracer.group
	if act := p.SignalHandlers().Action(int32(unix.SIGCHLD)); act.Handler != abi.SIG_IGN && act.Flags&abi.SA_NOCLDSTOP == 0 {
		p.Signal(t.traceeInfo(tracer, abi.CLD_TRAPPED, s.code&0x7f))
	}
	p.childWait.Notify(waiter.In)
}

// StoppedTask is a stopped task, as its tracer sees it.
type StoppedTask struct {
	*Task
	stop *ptraceStop
}

// Stopped returns o for looking into: ESRCH unless t traces it and it is
// stopped.
func (t *Task) Stopped(o *Task) (StoppedTask, error) {
	o.group.mu.Lock()
	defer o.group.mu.Unlock()
	s := o.ptrace.stop
	if o.ptrace.tracer != t || s == nil || s.listening {
		return StoppedTask{}, unix.ESRCH
	}
	return StoppedTask{o, s}, nil
}

// Do runs f on the stopped task's goroutine, which may use its context. ESRCH
// if it was killed meanwhile.
func (o StoppedTask) Do(f func() error) (err error) {
	done := make(chan struct{})
	select {
	case o.stop.requests <- func() {
		defer close(done)
		err = f()
	}:
		<-done
		return err
	case <-o.stop.over:
		return unix.ESRCH
	}
}

// CheckRip is called when the instruction pointer was set; see Do.
func (o StoppedTask) CheckRip() { o.checkRip() }

// Kind says why the task stopped, Code what wait(2) told of it.
func (o StoppedTask) Kind() StopKind { return o.stop.kind }
func (o StoppedTask) Code() int32    { return o.stop.code }

// Message is PTRACE_GETEVENTMSG's.
func (o StoppedTask) Message() uint64 { return o.stop.message }

// Siginfo is PTRACE_GETSIGINFO's: EINVAL for a group-stop.
func (o StoppedTask) Siginfo() (info abi.Siginfo, err error) {
	o.group.mu.Lock()
	defer o.group.mu.Unlock()
	if o.stop.info == nil {
		return info, unix.EINVAL
	}
	return *o.stop.info, nil
}

// SetSiginfo is PTRACE_SETSIGINFO, likewise.
func (o StoppedTask) SetSiginfo(info *abi.Siginfo) error {
	o.group.mu.Lock()
	defer o.group.mu.Unlock()
	if o.stop.info == nil {
		return unix.EINVAL
	}
	*o.stop.info = *info
	return nil
}

// SetPtraceOptions is PTRACE_SETOPTIONS: EINVAL for what there is not.
func (o StoppedTask) SetPtraceOptions(options uint64) error {
	if options&^uint64(ptraceOptions) != 0 {
		return unix.EINVAL
	}
	o.group.mu.Lock()
	defer o.group.mu.Unlock()
	o.ptrace.options = uint32(options)
	return nil
}

// The ways in which a stopped task goes on.
const (
	ResumeFreely  = 0
	ResumeSyscall = ptraceSyscalls
	ResumeEmulate = ptraceEmulate
	ResumeStep    = ptraceStep
	// ResumeEmulateStep is PTRACE_SYSEMU_SINGLESTEP.
	ResumeEmulateStep = ptraceEmulate | ptraceStep
)

// Resume lets the task go on in one of these ways, with a signal or 0: EIO if
// that is no signal.
func (o StoppedTask) Resume(mode, sig int32) error {
	if sig != 0 && !ValidSignal(sig) {
		return unix.EIO
	}
	g := o.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if o.ptrace.stop != o.stop {
		return unix.ESRCH
	}
	o.ptrace.mode.Store(mode)
	if o.stop.kind == StopGroup {
		o.ptrace.passed = g.stop.seq
		o.stopped = false
	}
	o.stop.sig = sig
	o.endStopLocked()
	return nil
}

// Listen is PTRACE_LISTEN: EIO unless the task is seized and in a group-stop.
func (o StoppedTask) Listen() error {
	g := o.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if o.ptrace.stop != o.stop || !o.ptrace.seized || o.stop.kind != StopGroup {
		return unix.EIO
	}
	o.stop.listening = true
	if o.ptrace.trap {
		o.wakeListenerLocked()
	}
	return nil
}

// Detach is PTRACE_DETACH: the task goes on untraced, with a signal or 0.
func (o StoppedTask) Detach(sig int32) error {
	if sig != 0 && !ValidSignal(sig) {
		return unix.EIO
	}
	k := o.k
	k.mu.Lock()
	defer k.mu.Unlock()
	if o.ptrace.tracer == nil {
		return unix.ESRCH
	}
	o.untraceLocked(sig)
	return nil
}
