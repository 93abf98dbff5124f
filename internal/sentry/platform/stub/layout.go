package stub

import (
	"unsafe"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// Sizes of the stub region.
const (
	// PageSize is the host's page size.
	PageSize = 4096
	// SlotSize is a thread's share of the region. A power of two: the code
	// finds its slot by masking the signal stack's pointer.
	SlotSize = 64 << 10
	// slotsSize is the size of the shared memory file and of its mapping.
	slotsSize = 512 << 20
	// MaxThreads is how many threads a process can have. Behind their slots come
	// the tables of nolinks.go and the staging windows.
	MaxThreads = noLinksOffset / SlotSize
	// textSize is the size of the code's mapping.
	textSize = 2 * PageSize
	// taskSize is the end of user space with four-level page tables.
	taskSize = 0x7fff_ffff_f000
	// minAddr is the lowest address that the guest may map.
	minAddr = 0x10000
)

// baseMark stands in stubEntry for the slots' base, shifted by baseShift. The
// base is a multiple of slotsSize.
const (
	baseMark  = 0x7ead_beef
	baseShift = 29
)

// Offsets within a slot. Its pages take memory once they are touched. The signal
// stack has room for two frames with the state of AMX, the largest there is.
const (
	windowOffset = PageSize
	windowSize   = 32 << 10
	stackOffset  = 36 << 10
)

// A process has a few larger windows, for those of its threads that copy much:
// see staging.go.
const (
	stagingSize   = 1 << 20
	stagingCount  = 8
	stagingOffset = slotsSize - stagingCount*stagingSize
)

// Values of page.turn: whose turn it is, and whether the other side sleeps
// on the word.
const (
	turnStub   = 0
	turnSentry = 1
	turnSleep  = 2
	turnErrand = 4 // the stub is sent to wake the stub at page.errand
)

// stubAnywhere stands for the processor that the stub cannot tell it runs on.
// The sentry has another value for that, so that the two never seem to meet.
const stubAnywhere = ^uint32(1)

// cpuNumber is the part of what a segment's limit says that is the processor's
// number; the rest is its node.
const cpuNumber = 0xfff

// Values of page.after: what the stub does once it has run its operations.
const (
	afterRun   = 0 // resume the guest
	afterPost  = 1 // give the turn back
	afterCheck = 2 // resume the guest, unless an operation failed
)

// Values of page.event: why the stub gave the turn back.
const (
	eventSignal    = 1
	eventInterrupt = 2
	eventOps       = 3
	eventCall      = 4
)

// opsMax is how many operations fit a batch.
const opsMax = 32

// op is one operation: a host call, or one of the pseudo-calls below.
type op struct {
	nr     uint64
	args   [6]uint64
	result uint64
}

// Pseudo-calls, that need more than one instruction of the stub's.
const (
	opPseudo  = 0x10000
	opReceive = 0x10000 // take two descriptors from the socket into page.fd, page.fd2
	opMmapFD  = 0x10001 // mmap with the received descriptor
	opCloseFD = 0x10002 // close the received descriptor
	opCopyIn  = 0x10003 // (addr, length, slot offset): guest memory to the slot; result: bytes left
	opCopyOut = 0x10004 // (addr, length, slot offset): the slot to guest memory; result: bytes left
	opSwap    = 0x10005 // (addr, old, new): compare and swap; result: the value found
	opXsave   = 0x10006 // (addr, mask)
	opXrstor  = 0x10007 // (addr, mask)
	opThread  = 0x10008 // clone(2)'s arguments; the child starts on its own slot
	opStore   = 0x1000a // (addr, word): an aligned store
	opFork    = 0x10009 // (flags, slots, size); the child takes page.fd and page.fd2
)

// page is the control page of a slot. The assembly knows its fields through
// go_asm.h.
type page struct {
	// What the hand-off needs, alone in a cache line. turn is its futex word.
	// spin is how long the stub spins before it sleeps, in cycles of the TSC;
	// it looks at it all the time. stubCPU and sentryCPU are where the two
	// sides ran last.
	turn      uint32
	spin      uint32
	stubCPU   uint32
	sentryCPU uint32
	errand    uint64 // the gate that turnErrand is about
	gate      uint64 // where the stub sleeps
	_         [8]uint32

	// Written by the sentry.

	intr     uint32 // an interrupt is wanted
	after    uint32
	nops     uint32
	tid      uint32 // cleared by the host when the thread has ended
	fsgsbase uint32 // the CPU has RDFSBASE and its kin
	traced   uint32 // give the turn to a tracer, by a breakpoint
	fast     uint32 // resume the guest by a jump
	bringMax uint32 // the most that is brought along into the staging window
	bringTo  uint64 // where that is
	ppid     uint64 // the sentry, whose death a new process must not miss
	owner    uint64 // Process.number
	sas      [3]uint64
	msg      msghdr

	// Written by the stub.

	began  uint64 // when the thread did, in cycles
	event  uint32
	sig    uint32
	code   uint32
	arch   uint32
	addr   uint64
	trapno uint64
	err    uint64
	fixup  uint64 // where to go on if the operation in progress faults
	fault  uint64 // trap number + 1 of an operation's fault
	failed uint64 // an operation failed, by its result or a fault
	fd     uint64
	fd2    uint64

	// What stubFetch read at fetchedAt: fetched bytes.
	fetched   uint32
	parts     uint32 // how many of also
	fetchedAt uint64
	fetch     [platform.FetchMax]byte
	// Likewise in the staging window.
	brought   uint32
	_         uint32
	broughtAt uint64

	// noLinks is where the thread's table of such is, or 0; the sentry writes it. kept counts
	// what the stub has answered by it.
	noLinks uint64
	kept    uint32
	_       uint32

	// The guest's registers, either way.
	regs abi.Regs

	ops [opsMax]op

	// Sets of processors: see births.go.
	cpus [cpuSets]unix.CPUSet

	also [platform.AlsoMax]part

	// What msg points at.
	iov     [2]uint64
	control [4]uint64
	byte    uint64
}

// msghdr is recvmsg(2)'s argument.
type msghdr struct {
	name       uint64
	namelen    uint64
	iov        uint64
	iovlen     uint64
	control    uint64
	controllen uint64
	flags      uint64
}

// A slot's control data must end before its window begins.
const _ = uint(windowOffset - unsafe.Sizeof(page{}))
