package socket

import "sync/atomic"

// PeekOffset is where the next receive with MSG_PEEK begins (SO_PEEK_OFF, socket(7)); with
// one below 0, which it is at first, all begin with what is the oldest.
type PeekOffset struct {
	complement atomic.Int32
}

func (o *PeekOffset) Get() int32  { return ^o.complement.Load() }
func (o *PeekOffset) Set(v int32) { o.complement.Store(^v) }

// Peeked notes that n bytes from there on have been looked at.
func (o *PeekOffset) Peeked(n int) {
	if v := o.Get(); v >= 0 {
		o.Set(v + int32(n))
	}
}

// Taken notes that n bytes have been taken from the beginning.
func (o *PeekOffset) Taken(n int) {
	if v := o.Get(); v > 0 {
		o.Set(max(v-int32(n), 0))
	}
}
