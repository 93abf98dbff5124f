package waiter

import "sync/atomic"

// Outflow is what guests send out of the sandbox. A call that has much to send is at work for as long as the host's for
// the first of it are: then another processor that would have nothing to do gives that to the host.
type Outflow struct{ calls atomic.Int32 }

// ToHost is the outflow of the sandbox.
var ToHost Outflow

// Begin notes that a call begins to send much, to which End is the end.
func (o *Outflow) Begin() { o.calls.Add(1) }

// End notes that one has sent it, or has failed.
func (o *Outflow) End() { o.calls.Add(-1) }

// Meanwhile has work done on another processor than the caller's, soon, and reports whether it will be: while a call has
// much to send.
func (o *Outflow) Meanwhile(work func()) bool { return o.calls.Load() != 0 && FromHost.help(work) }
