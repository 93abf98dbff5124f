package kernel

import (
	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// FutexOp is FUTEX_WAKE_OP's val3, taken apart.
type FutexOp struct {
	Op, Cmp     uint32
	Arg, CmpArg uint32
}

// DecodeFutexOp takes FUTEX_WAKE_OP's val3 apart. ENOSYS for operations and
// comparisons that do not exist, as Linux answers.
func DecodeFutexOp(v uint32) (FutexOp, error) {
	op := FutexOp{
		Op:     v >> 28 & 7,
		Cmp:    v >> 24 & 15,
		Arg:    uint32(int32(v<<8) >> 20),
		CmpArg: uint32(int32(v<<20) >> 20),
	}
	if v>>31 != 0 { // FUTEX_OP_OPARG_SHIFT
		op.Arg = 1 << (op.Arg & 31)
	}
	if op.Op > 4 || op.Cmp > 5 {
		return op, unix.ENOSYS
	}
	return op, nil
}

// apply returns what the operation makes of a value.
func (op FutexOp) apply(old uint32) uint32 {
	switch op.Op {
	case 0:
		return op.Arg
	case 1:
		return old + op.Arg
	case 2:
		return old | op.Arg
	case 3:
		return old &^ op.Arg
	default:
		return old ^ op.Arg
	}
}

// holds compares the old value, signed as Linux does.
func (op FutexOp) holds(old uint32) bool {
	a, b := int32(old), int32(op.CmpArg)
	switch op.Cmp {
	case 0:
		return a == b
	case 1:
		return a != b
	case 2:
		return a < b
	case 3:
		return a <= b
	case 4:
		return a > b
	default:
		return a >= b
	}
}

// casTries bounds how often an atomic change of a guest's word is tried
// before the call is made again, so that signals are seen.
const casTries = 128

// futexUpdate changes the word at addr atomically and returns the old value.
// ERESTARTNOINTR if others change it all the time.
func (t *Task) futexUpdate(addr uint64, change func(uint32) uint32) (uint32, error) {
	old, err := t.futexLoad(addr)
	if err != nil {
		return 0, err
	}
	for range casTries {
		found, err := t.ctx.CompareAndSwap32(addr, old, change(old))
		if err != nil {
			return 0, err
		}
		if found == old {
			return old, nil
		}
		old = found
	}
	return 0, abi.ERESTARTNOINTR
}

// FutexWakeOp changes the word at addr2 by op, wakes at most nrWake waiters
// of the futex at addr, and, if the old value at addr2 compares as op tells,
// at most nrWake2 of the futex there. It returns how many were woken.
func (t *Task) FutexWakeOp(addr, addr2 uint64, shared bool, nrWake, nrWake2 int, op FutexOp) (int, error) {
	k1, err := t.futexKey(addr, shared)
	if err != nil {
		return 0, err
	}
	k2, err := t.futexKey(addr2, shared)
	if err != nil {
		return 0, err
	}
	b1, b2 := t.k.futexes.lockPair(k1, k2)
	defer unlockPair(b1, b2)
	old, err := t.futexUpdate(addr2, op.apply)
	if err != nil {
		return 0, err
	}
	woken, err := b1.wakeKey(k1, nrWake, FutexMatchAny)
	if err == nil && op.holds(old) {
		var more int
		more, err = b2.wakeKey(k2, nrWake2, FutexMatchAny)
		woken += more
	}
	return woken, err
}
