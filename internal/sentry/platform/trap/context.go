package trap

import (
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/stub"
)

// context is a thread of a stub whose handler gives it back to us.
type context struct {
	*stub.Thread
	space *space
	texts *texts
	// counts are the context's own.
	counts platform.Counts
	// call is the state at the last event, if that was a system call: if it
	// is the same at the next Switch, the guest returns from it.
	call struct {
		valid      bool
		rip, flags uint64
		// rewritten says that it was made by the trampoline of site.
		rewritten bool
		site      place
	}
	// forked says that the context forked since its last event.
	forked bool
}

var _ platform.Context = (*context)(nil)

func newContext(t *stub.Thread, s *space, x *texts) *context {
	t.SetBorrowable()
	return &context{Thread: t, space: s, texts: x}
}

const flagTF = 0x100

// Switch implements platform.Context.
func (c *context) Switch() platform.Event {
	c.Prepare()
	if err := c.Failed(); err != nil {
		if c.Gone() {
			return platform.Event{Kind: platform.EventGone, Err: err}
		}
		return platform.Event{Kind: platform.EventOpFailed, Err: err}
	}
	r := c.Regs()
	if r.Gs_base != 0 || r.Eflags&flagTF != 0 {
		// Rewritten calls need the GS base, and a jump to a trampoline would
		// show to who single-steps.
		c.space.disable(c.Thread)
	}
	if !c.StartGuest() {
		return platform.Event{Kind: platform.EventInterrupt}
	}
	rip, fast := c.resumption()
	there := c.RunGuest(rip, fast)
	c.StopGuest()
	if !there {
		return platform.Event{Kind: platform.EventGone, Err: c.Failed()}
	}
	if err := c.Failed(); err != nil && !c.Gone() {
		return platform.Event{Kind: platform.EventOpFailed, Err: err}
	}
	ev := c.Event()
	c.call.valid = ev.Kind == platform.EventSyscall
	if c.call.valid {
		c.counts.Calls++
	}
	c.call.site, c.call.rewritten = c.space.trampoline(r.Rip)
	if c.call.rewritten {
		r.Rip = c.call.site.origin(r.Rip)
		if c.call.valid {
			r.Rcx = r.Rip
		}
	} else if c.call.valid && c.Trapped() {
		c.counts.Trapped++
		c.space.trapped(c.Thread, r.Rip-2, r.Orig_rax)
	}
	if c.forked {
		// Not in Fork: the owner of the address space holds its locks there.
		c.forked = false
		c.space.learn(c.Thread)
	}
	c.call.rip, c.call.flags = r.Rip, r.Eflags
	return ev
}

// resumption returns where the guest goes on, and whether that is a return
// from the call that it made.
func (c *context) resumption() (rip uint64, fast bool) {
	r := c.Regs()
	if !c.call.valid || r.Rip != c.call.rip {
		return c.space.displaced(r.Rip), false
	}
	fast = r.Rcx == r.Rip && r.Eflags == c.call.flags
	if st := &c.call.site; c.call.rewritten && !st.Kept && c.space.live(st) {
		return st.Return + st.bias, fast
	}
	if !c.call.rewritten {
		// It may have been rewritten meanwhile.
		return c.space.displaced(r.Rip), fast
	}
	return r.Rip, fast
}

// CloneThread implements platform.Context.
func (c *context) CloneThread() (platform.Context, error) {
	t, err := c.Clone()
	if err != nil {
		return nil, err
	}
	return newContext(t, c.space, c.texts), nil
}

// Fork implements platform.Context.
func (c *context) Fork() (platform.AddressSpace, platform.Context, error) {
	// What is rewritten must not change between the copy of the memory and
	// that of the books.
	c.space.mu.Lock()
	defer c.space.mu.Unlock()
	t, err := c.Thread.Fork()
	if err != nil {
		return nil, nil, err
	}
	c.forked = true
	return t.AddressSpace(), newContext(t, c.space.fork(t.Process()), c.texts), nil
}

// Unpatch implements platform.Context.
func (c *context) Unpatch(addr, length uint64) { c.space.unpatch(c.Thread, addr, length) }

// BeginDebug implements platform.Debuggable.
func (c *context) BeginDebug() { c.space.disable(c.Thread) }
