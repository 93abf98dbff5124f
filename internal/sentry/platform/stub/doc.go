// Package stub is what the platforms share: host processes that hold guest
// address spaces, their code, and the operations that the sentry has them run.
//
// A stub process starts as a copy of the sentry that drops everything but
// this package's own machine code (code_amd64.s), the host's vDSO, and one
// shared memory file of context slots, then confines itself with a seccomp
// filter. It is the template: address spaces are forks of it or of each other.
//
// The highest part of the address space, which the guest is not told of, is
// the stub region:
//
//	Base          slots: one of SlotSize bytes per thread, shared with the sentry,
//	              and behind them the process's staging windows
//	Text          the stub's code, one page
//
// A slot is a page of control data (type page), a window through which bytes
// are copied, and the thread's signal stack.
//
// Nothing in a slot is trusted. Guest code can write to its own process's
// slots, jump anywhere into the stub's code, and so make the few calls of the
// filter with any arguments. The worst that may come of it is that the process
// dies or that its own memory is wrong. The sentry reads each field once,
// bounds it, and never waits for a stub without being interruptible.
//
// Lock order: Process.opMu, Stubs.mu, Process.mu.
package stub
