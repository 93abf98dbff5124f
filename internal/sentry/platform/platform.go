// Package platform runs guest code until something happens.
//
// A guest address space is the address space of a host process, the stub:
// the guest's private memory is the stub's own anonymous memory, and its file
// mappings are the stub's mappings of host descriptors. So the host kernel
// resolves faults, copies on write and forks, at native cost, and the sentry
// sees none of it. What the stub's address space shall look like, the sentry
// decides: it queues Ops, and the stub's own thread runs them in one batch on
// its way back to guest code.
//
// The platform knows nothing of tasks, files or what a system call means.
package platform

import (
	"coffer/internal/sentry/abi"
)

// Platform makes address spaces.
type Platform interface {
	// Name is what --intercept calls it.
	Name() string
	// NewAddressSpace returns an empty address space, from a warm pool where
	// the platform keeps one, with one context that has run no guest code.
	NewAddressSpace() (AddressSpace, Context, error)
	// Limits tells which addresses the guest may use.
	Limits() Limits
	// Close ends all stubs.
	Close()
}

// Limits bound the guest's addresses: [Min, Max). VDSO is where the platform
// put the vDSO's image, and VDSOEnd its end; both lie within the limits; 0 if
// there is none. VVAR is where its data begins, directly below VDSO.
type Limits struct {
	Min, Max            uint64
	VVAR, VDSO, VDSOEnd uint64
	// FPSize is the size in bytes of the extended state in a signal frame, as
	// Context.SaveFP writes it; FPFeatures are its XSAVE features.
	FPSize     int
	FPFeatures uint64
}

// AddressSpace is one guest address space. Methods are safe for concurrent
// use.
type AddressSpace interface {
	// CopyIn reads guest memory at addr with the guest's own permissions. It
	// returns how many bytes it read, and EFAULT if that is less than len(dst).
	CopyIn(addr uint64, dst []byte) (int, error)
	// CopyOut writes guest memory, likewise.
	CopyOut(addr uint64, src []byte) (int, error)
	// Poke writes guest memory regardless of the mapping's protection, on a
	// private copy, as a debugger does (PTRACE_POKETEXT).
	Poke(addr uint64, src []byte) (int, error)
	// Usage returns the host's figures for the stub, in bytes.
	Usage() Usage
	// IncRef and DecRef count the users beyond the contexts; the stub ends
	// when the last context and reference are gone.
	IncRef()
	DecRef()
}

// Usage is what an address space takes of the host, in bytes.
type Usage struct{ RSS, Anon, Shared uint64 }

// Context is one thread of guest execution. Except for Interrupt and Kill its
// methods are for one goroutine at a time, the task's own.
type Context interface {
	// Regs are the guest's registers, valid while Switch is not running.
	// Changing them changes what the next Switch resumes. FS and GS base are
	// part of them.
	Regs() *abi.Regs
	// Switch runs queued Ops, then guest code, until something happens.
	Switch() Event
	// Interrupt makes a running Switch, or the next, return soon with an
	// EventInterrupt (or with another event that happened first). last says that
	// all users of the address space are to end: the stub gets less time to answer, and is ended
	// without.
	Interrupt(last bool)

	// Rest says that the goroutine is about to wait for something else, so
	// that the stub does not spin for an answer. Switch goes on as ever.
	Rest()
	// Forget says that others may have changed guest memory for the call that was made to
	// see it, as a tracer does that stops it. What came along with the call is no good any
	// more. (After any other wait only a large buffer still is: at which moment a call that
	// waits midway reads it is not for the guest to know.)
	Forget()
	// Bound reports whether the goroutine is bound to a thread of the host, so that
	// letting others run in its place would take turns of threads.
	Bound() bool
	// Yield says that the goroutine lets others run, so that they need not wait for
	// what it could do without.
	Yield()

	// PutsOff reports whether what the task has to do about others, and its guest need not
	// wait for, may wait for its next calls: if there is more to do then, at once takes less.
	PutsOff() bool
	// Later has a Switch to come, or Rest, do what, within tens of microseconds if guest code
	// goes on: when that does not come back at once.
	Later(what Later)

	// Queue adds a host operation to the batch that runs before guest code
	// goes on. A failure is an EventOpFailed from Switch. The operations of
	// all contexts of an address space run in the order in which they were
	// queued, and Switch and Flush of any context run all that are queued.
	Queue(Op)
	// Flush runs the queued operations now. It returns the first failure, an
	// *OpError.
	Flush() error

	// CopyIn and CopyOut are as an AddressSpace's, by the calling thread's
	// own stub where that is cheaper.
	CopyIn(addr uint64, dst []byte) (int, error)
	CopyOut(addr uint64, src []byte) (int, error)
	// CameAlong reports whether n bytes at addr came along with the call, so that CopyIn of
	// them costs nothing.
	CameAlong(addr uint64, n int) bool
	// CopyOutLate writes guest memory on the way back to guest code, so at no
	// cost of its own: for what a call has to tell last. EFAULT at once if no
	// guest memory can be there, else a failure is an EventOpFailed with an
	// OpWrite. src may be changed after the call.
	CopyOutLate(addr uint64, src []byte) error
	// FillLate is CopyOutLate of the first bytes of p, as many as fill returns, which puts
	// them there. p has n bytes, which guests may reach: fill only writes them, and has
	// nothing done that needs the thread. It is false, and fill is not called, where
	// there is no such place now.
	FillLate(addr uint64, n int, fill func(p []byte) int) bool
	// LateFailed reports whether the next Switch will tell of a failure, as far as that is known.
	LateFailed() bool
	// CompareAndSwap32 swaps atomically with regard to guest threads and
	// returns the value found. EFAULT as usual.
	CompareAndSwap32(addr uint64, old, new uint32) (uint32, error)

	// SaveFP writes the extended state (x87, SSE, AVX, AVX-512) to guest
	// memory at addr, 64-byte aligned, in XSAVE format with FPSize bytes, as
	// a signal frame holds it. RestoreFP loads it from there; EFAULT or
	// EINVAL if it can't be.
	SaveFP(addr uint64) error
	RestoreFP(addr uint64) error
	// ResetFP gives the state that a new program starts with.
	ResetFP() error

	// CloneThread starts another thread in the same address space, with a
	// copy of the registers and extended state; it runs at its own Switch.
	CloneThread() (Context, error)
	// Fork copies the address space (the host's copy-on-write) and the
	// calling thread.
	Fork() (AddressSpace, Context, error)
	// AddressSpace is the one that the context runs in.
	AddressSpace() AddressSpace

	// HideRegs tells the sentry-visible instruction pointer apart from where
	// the platform rewrote code; see package trap. Unpatch undoes all
	// rewriting that meets [addr, addr+length), because the guest is about to
	// write to it, read it by other means, or replace it.
	Unpatch(addr, length uint64)
	// Release ends the stub's thread.
	Release()
}

// Later is what a task has put off.
type Later interface{ Do() }

// EventKind says why Switch returned.
type EventKind int

// Why Switch returned.
const (
	// EventSyscall: the guest made a system call; Regs().Orig_rax is its
	// number, Rax is -ENOSYS, Rip after the instruction.
	EventSyscall EventKind = iota
	// EventFault: the guest's instruction raised an exception.
	EventFault
	// EventInterrupt: Interrupt was called.
	EventInterrupt
	// EventOpFailed: a queued operation failed; no guest code ran since.
	EventOpFailed
	// EventGone: the host ended the stub (out of memory, or the guest broke
	// its own stub beyond use). The context must be released.
	EventGone
)

// Event is why Switch returned.
type Event struct {
	Kind EventKind
	// Signal, Code, Addr describe a fault as siginfo_t does; TrapNo and
	// ErrorCode as sigcontext does.
	Signal, Code      int32
	Addr              uint64
	TrapNo, ErrorCode uint64
	// Err is the failure of EventOpFailed, and for EventGone what is known.
	Err error
	// Vsyscall says that the fault is a jump to one of the legacy vsyscall page's entries.
	Vsyscall bool
}

// OpKind is a host memory operation.
type OpKind uint8

// The operations.
const (
	OpMmap OpKind = iota
	OpMunmap
	OpMprotect
	OpMremap
	OpMadvise
	OpMsync
	OpMlock
	OpMunlock
	// OpWrite writes Data to guest memory, of WriteMax bytes at most, with the
	// guest's own permissions. Its failure is EFAULT.
	OpWrite
)

// WriteMax is the most that one OpWrite writes.
const WriteMax = 4096

// Op is one host operation on the stub's address space. Addresses and lengths
// are page-aligned and within Limits; the mm package has checked them.
type Op struct {
	Kind         OpKind
	Addr, Length uint64
	Prot         int32  // OpMmap, OpMprotect: unix.PROT_*
	Flags        int32  // OpMmap: unix.MAP_*, always with MAP_FIXED; OpMremap: MREMAP_*; OpMsync: MS_*
	FD           int    // OpMmap: a descriptor of the sentry's, or -1
	SameFD       bool   // OpMmap: the context's operation before had the same FD, which was not closed since
	Code         Code   // OpMmap: another part of FD, mapped along
	Offset       uint64 // OpMmap: file offset
	NewAddr      uint64 // OpMremap
	NewLength    uint64 // OpMremap
	Advice       int32  // OpMadvise: unix.MADV_*
	Data         string // OpWrite
}

// Code is code of the platform's own that a mapping of FD brings along: Length
// bytes from Offset on, at Addr.
type Code struct{ Addr, Length, Offset uint64 }

// OpError is the failure of one operation. Next is the failure of a later one
// in the same batch, or nil.
type OpError struct {
	Op Op
	// Errno is nil for an OpWrite that was made, but after one of the same context that was not.
	Errno error
	Next  *OpError
}

func (e *OpError) Error() string { return "host memory operation failed: " + e.Errno.Error() }
func (e *OpError) Unwrap() error { return e.Errno }
