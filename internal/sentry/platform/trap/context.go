package trap

import (
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/stub"
)

// context is a thread of a stub whose handler gives it back to us.
type context struct {
	*stub.Thread
	// call is the state at the last event, if that was a system call: if it
	// is the same at the next Switch, the guest returns from it.
	call struct {
		valid      bool
		rip, flags uint64
	}
}

var _ platform.Context = (*context)(nil)

func newContext(t *stub.Thread) *context {
	t.SetBorrowable()
	return &context{Thread: t}
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
	if !c.StartGuest() {
		return platform.Event{Kind: platform.EventInterrupt}
	}
	r := c.Regs()
	fast := c.call.valid && r.Rip == c.call.rip && r.Rcx == r.Rip && r.Eflags == c.call.flags
	there := c.RunGuest(r.Rip, fast)
	c.StopGuest()
	if !there {
		return platform.Event{Kind: platform.EventGone, Err: c.Failed()}
	}
	ev := c.Event()
	c.call.valid = ev.Kind == platform.EventSyscall
	c.call.rip, c.call.flags = r.Rip, r.Eflags
	return ev
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
	return t.AddressSpace(), newContext(t), nil
}

// Unpatch implements platform.Context.
func (c *context) Unpatch(addr, length uint64) {}
