package ptrace

import (
	"errors"
	"runtime"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/stub"

	"golang.org/x/sys/unix"
)

// errDead says that the tracee has ended.
var errDead = errors.New("the traced stub thread has ended")

// context is a stub's thread that, once seized, is stopped whenever it does
// not run for us.
type context struct {
	*stub.Thread
	// tracer is the ID of the sentry's thread that seized it, or 0.
	tracer int
	dead   bool
}

var _ platform.Context = (*context)(nil)

func newContext(t *stub.Thread) *context {
	c := &context{Thread: t}
	t.Drive = c.drive
	return c
}

// Switch implements platform.Context.
func (c *context) Switch() platform.Event {
	c.Settle()
	if err := c.Failed(); err != nil {
		if c.Gone() {
			return platform.Event{Kind: platform.EventGone, Err: err}
		}
		return platform.Event{Kind: platform.EventOpFailed, Err: err}
	}
	if c.tracer == 0 && !c.dead {
		if err := c.seize(); err != nil {
			c.die()
		}
	}
	if c.dead {
		return platform.Event{Kind: platform.EventGone, Err: errDead}
	}
	if !c.StartGuest() {
		return platform.Event{Kind: platform.EventInterrupt}
	}
	ev, ok := c.runGuest()
	c.StopGuest()
	if !ok {
		c.die()
		return platform.Event{Kind: platform.EventGone, Err: errDead}
	}
	return ev
}

// Bound implements platform.Context: a tracer is a thread.
func (c *context) Bound() bool { return true }

// die notes that the tracee has ended, which the guest can only bring about
// by breaking its stub.
func (c *context) die() {
	c.dead = true
	c.Process().Abandon()
}

// seize becomes the thread's tracer and stops it.
func (c *context) seize() error {
	// An empty batch: a new thread may not have got as far as to have its
	// signal stack.
	if !c.DriveShared() {
		return errDead
	}
	runtime.LockOSThread()
	const options = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD
	if err := request(unix.PTRACE_SEIZE, c.TID(), options); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	c.tracer = unix.Gettid()
	if err := request(unix.PTRACE_INTERRUPT, c.TID(), 0); err != nil {
		return err
	}
	for {
		stop, ok := wait(c.TID())
		if !ok {
			return errDead
		}
		if stop.event == unix.PTRACE_EVENT_STOP {
			break
		}
		// A signal that came first.
		if err := request(unix.PTRACE_CONT, c.TID(), 0); err != nil {
			return err
		}
	}
	// Now that it can't end, and another one have its number.
	if !c.HasTID() {
		_ = request(unix.PTRACE_DETACH, c.TID(), 0)
		runtime.UnlockOSThread()
		c.tracer = 0
		return errDead
	}
	c.SetTraced()
	return nil
}

// runGuest resumes the guest until something happens. It returns false if the
// tracee is gone.
func (c *context) runGuest() (platform.Event, bool) {
	regs := c.GuestRegs()
	if err := setRegs(c.TID(), &regs); err != nil {
		return platform.Event{}, false
	}
	for {
		if err := request(unix.PTRACE_SYSEMU, c.TID(), 0); err != nil {
			return platform.Event{}, false
		}
		stop, ok := wait(c.TID())
		if !ok {
			return platform.Event{}, false
		}
		switch {
		case stop.event != 0:
			// A stop of the whole process from without: go on.
		case stop.sig == unix.SIGTRAP|0x80:
			if !c.takeRegs() {
				return platform.Event{}, false
			}
			if !is64(c.TID()) {
				r := c.Regs()
				r.Rax = r.Orig_rax
				return stub.Int80Event(r), true
			}
			return platform.Event{Kind: platform.EventSyscall}, true
		case stop.sig == unix.SIGURG:
			if c.RseqRegistered() {
				// Only the delivery of a signal makes the host abort a
				// restartable sequence, and here the stub's own code may be
				// next, at whose sight the host would forget about it.
				return c.handled(stop.sig)
			}
			if c.Interrupted() {
				ok := c.takeRegs()
				c.Regs().Orig_rax = ^uint64(0)
				return platform.Event{Kind: platform.EventInterrupt}, ok
			}
		default:
			// Only the host's signal frame has all that there is to know of
			// a fault: let the stub's handler take it.
			return c.handled(stop.sig)
		}
	}
}

// handled has the stub's handler take a signal that guest code got, and
// returns the event that it tells.
func (c *context) handled(sig unix.Signal) (platform.Event, bool) {
	if !c.runStub(sig) {
		return platform.Event{}, false
	}
	return c.Event(), true
}

// takeRegs reads the guest's registers.
func (c *context) takeRegs() bool {
	r := c.Regs()
	if getRegs(c.TID(), r) != nil {
		return false
	}
	r.Ds, r.Es, r.Fs, r.Gs = 0, 0, 0, 0
	c.SetBases(r.Fs_base, r.Gs_base)
	return true
}

// drive is the thread's Drive.
func (c *context) drive() bool {
	if c.dead {
		return false
	}
	if c.tracer == 0 {
		return c.DriveShared()
	}
	defer c.Overdue().Stop()
	var regs abi.Regs
	c.RunBatch(&regs)
	if setRegs(c.TID(), &regs) != nil || !c.runStub(0) {
		c.die()
		return false
	}
	return true
}

// runStub resumes the stub's own code, with a signal, until its breakpoint.
func (c *context) runStub(sig unix.Signal) bool {
	for {
		if err := request(unix.PTRACE_CONT, c.TID(), uintptr(sig)); err != nil {
			return false
		}
		stop, ok := wait(c.TID())
		if !ok {
			return false
		}
		sig = 0
		switch {
		case stop.event != 0:
		case stop.sig == unix.SIGTRAP:
			return true
		case stop.sig == unix.SIGURG:
			// An interrupt: the next Switch answers it.
		default:
			sig = stop.sig // a fault in an operation
		}
	}
}

// CloneThread implements platform.Context.
func (c *context) CloneThread() (platform.Context, error) {
	t, err := c.Clone()
	if err != nil {
		return nil, err
	}
	return newContext(t), nil
}

// Fork implements platform.Context.
func (c *context) Fork() (platform.AddressSpace, platform.Context, error) {
	t, err := c.Thread.Fork()
	if err != nil {
		return nil, nil, err
	}
	return firstContext(t)
}

// Unpatch implements platform.Context: nothing is ever rewritten.
func (c *context) Unpatch(addr, length uint64) {}

// Release implements platform.Context.
func (c *context) Release() {
	if c.tracer == 0 {
		c.Thread.Release()
		return
	}
	if c.tracer != unix.Gettid() {
		// Only its tracer could let it go; it ends with its process.
		c.Drop(false)
		return
	}
	ended := c.dead
	if !c.dead {
		var regs abi.Regs
		c.AddExit()
		c.RunBatch(&regs)
		if setRegs(c.TID(), &regs) != nil || request(unix.PTRACE_DETACH, c.TID(), 0) != nil {
			ended = true
		}
	}
	if ended {
		reap(c.TID())
	}
	runtime.UnlockOSThread()
	c.tracer = 0
	c.Drop(!ended)
}
