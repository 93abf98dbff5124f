package abi

import (
	"math/bits"

	"golang.org/x/sys/unix"
)

// Signal numbers of amd64 that package unix does not name.
const (
	// NumSignals is the highest signal number (SIGRTMAX).
	NumSignals = 64
	// SIGRTMIN is the first real-time signal as the kernel counts.
	SIGRTMIN = 32
)

// SignalSet is a sigset_t: bit n-1 for signal n.
type SignalSet uint64

// SetOf returns the set of the signals.
func SetOf(signals ...unix.Signal) SignalSet {
	var s SignalSet
	for _, n := range signals {
		s |= 1 << uint(n-1)
	}
	return s
}

// Has reports whether signal n is in the set; n is 1 to 64.
func (s SignalSet) Has(n int32) bool { return s>>uint(n-1)&1 != 0 }

// Add and Del change the set by one signal.
func (s *SignalSet) Add(n int32) { *s |= 1 << uint(n-1) }
func (s *SignalSet) Del(n int32) { *s &^= 1 << uint(n-1) }

// Lowest returns the lowest signal number in the set, or 0.
func (s SignalSet) Lowest() int32 {
	if s == 0 {
		return 0
	}
	return int32(bits.TrailingZeros64(uint64(s))) + 1
}

// Flags of struct sigaction (sigaction(2)); package unix has no amd64 ones.
const (
	SA_NOCLDSTOP          = 0x1
	SA_NOCLDWAIT          = 0x2
	SA_SIGINFO            = 0x4
	SA_UNSUPPORTED        = 0x400
	SA_EXPOSE_TAGS        = 0x800
	SA_RESTORER           = 0x04000000
	SA_ONSTACK            = 0x08000000
	SA_RESTART            = 0x10000000
	SA_NODEFER            = 0x40000000
	SA_RESETHAND          = 0x80000000
	SA_KNOWN              = SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_EXPOSE_TAGS | SA_RESTORER | SA_ONSTACK | SA_RESTART | SA_NODEFER | SA_RESETHAND
	SIG_DFL        uint64 = 0
	SIG_IGN        uint64 = 1
)

// Sigaction is the kernel's struct sigaction of amd64, 32 bytes.
type Sigaction struct {
	Handler  uint64
	Flags    uint64
	Restorer uint64
	Mask     SignalSet
}

// SigactionSize is the size of Sigaction in guest memory.
const SigactionSize = 32

// Flags of sigaltstack(2).
const (
	SS_ONSTACK    = 1
	SS_DISABLE    = 2
	SS_AUTODISARM = 1 << 31
	// MINSIGSTKSZ is the smallest alternate stack that is accepted.
	MINSIGSTKSZ = 2048
)

// Stack is stack_t, 24 bytes in guest memory.
type Stack struct {
	Addr  uint64
	Flags uint32
	Size  uint64
}

// StackSize is the size of stack_t in guest memory.
const StackSize = 24

// Values of si_code (sigaction(2)).
const (
	SI_USER     = 0
	SI_KERNEL   = 0x80
	SI_QUEUE    = -1
	SI_TIMER    = -2
	SI_MESGQ    = -3
	SI_ASYNCIO  = -4
	SI_SIGIO    = -5
	SI_TKILL    = -6
	SI_ASYNCNL  = -60
	SEGV_MAPERR = 1
	SEGV_ACCERR = 2
	BUS_ADRALN  = 1
	BUS_ADRERR  = 2
	FPE_INTDIV  = 1
	ILL_ILLOPN  = 2
	TRAP_BRKPT  = 1
	TRAP_TRACE  = 2
	SYS_SECCOMP = 1

	CLD_EXITED    = 1
	CLD_KILLED    = 2
	CLD_DUMPED    = 3
	CLD_TRAPPED   = 4
	CLD_STOPPED   = 5
	CLD_CONTINUED = 6

	POLL_IN  = 1
	POLL_OUT = 2
	POLL_MSG = 3
	POLL_ERR = 4
	POLL_PRI = 5
	POLL_HUP = 6
)
