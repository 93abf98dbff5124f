package platform

// RestartableSequences is implemented by contexts whose thread is one of the
// host's, which then keeps the guest's restartable sequences: it writes the
// CPU's number to the area and aborts sequences, whatever interrupts them,
// the platform's own signals included.
//
// A forked context is registered as its origin was, a cloned one is not.
type RestartableSequences interface {
	// Rseq is rseq(2) for the thread, with its errors.
	Rseq(addr uint64, length, flags, sig uint32) error
	// DropRseq ends the registration, if there is one. It must be called
	// before others can learn that the thread won't run any more: they may
	// unmap the area, and the host ends a process whose area is gone.
	DropRseq()
}
