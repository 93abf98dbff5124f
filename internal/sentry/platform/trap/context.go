package trap

import (
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/stub"
)

// context is a thread of a stub whose handler gives it back to us.
type context struct{ *stub.Thread }

var _ platform.Context = (*context)(nil)

func newContext(t *stub.Thread) *context {
	t.SetBorrowable()
	return &context{t}
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
	there := c.RunGuest()
	c.StopGuest()
	if !there {
		return platform.Event{Kind: platform.EventGone, Err: c.Failed()}
	}
	return c.Event()
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
