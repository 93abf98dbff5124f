package platform

// TextMapper is implemented by contexts that may map something else in place of
// a program's code: what they know to be the same, with system calls rewritten.
type TextMapper interface {
	// QueueText queues o, a private mapping of a file that is readable and
	// executable, at a place that reserve has not been asked for. reserve keeps
	// a range of addresses for code of the platform's own, out of the guest's
	// sight, and reports false if it is not free.
	QueueText(o Op, reserve func(addr, size uint64) bool)
}
