package abi

// Operations and flags of futex(2), linux/futex.h.
const (
	FUTEX_WAIT            = 0
	FUTEX_WAKE            = 1
	FUTEX_FD              = 2
	FUTEX_REQUEUE         = 3
	FUTEX_CMP_REQUEUE     = 4
	FUTEX_WAKE_OP         = 5
	FUTEX_LOCK_PI         = 6
	FUTEX_UNLOCK_PI       = 7
	FUTEX_TRYLOCK_PI      = 8
	FUTEX_WAIT_BITSET     = 9
	FUTEX_WAKE_BITSET     = 10
	FUTEX_WAIT_REQUEUE_PI = 11
	FUTEX_CMP_REQUEUE_PI  = 12
	FUTEX_LOCK_PI2        = 13

	FUTEX_PRIVATE_FLAG   = 128
	FUTEX_CLOCK_REALTIME = 256

	// Flags of futex_waitv(2), futex_wait(2), futex_wake(2) and
	// futex_requeue(2).
	FUTEX2_SIZE_MASK = 3
	FUTEX2_SIZE_U32  = 2
	FUTEX2_NUMA      = 4
	FUTEX2_MPOL      = 8
	FUTEX2_PRIVATE   = 128
)

// FutexWaitv is struct futex_waitv.
type FutexWaitv struct {
	Val, Uaddr      uint64
	Flags, Reserved uint32
}
