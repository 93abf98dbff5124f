package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Robust futexes (Documentation/locking/robust-futex-ABI.rst): a list in the
// memory of each thread of the locks that it holds, which the kernel walks when
// the thread ends, so that whoever waits learns that the owner died.

// robustListLimit is how many entries are walked (ROBUST_LIST_LIMIT): the list
// may be a circle.
const robustListLimit = 2048

// RobustListHeadSize is sizeof(struct robust_list_head).
const RobustListHeadSize = 24

// RobustList returns the head that set_robust_list(2) registered, 0 if none.
func (t *Task) RobustList() uint64 { return t.futex.robustHead.Load() }

// SetRobustList registers the head of the robust list.
func (t *Task) SetRobustList(head uint64) { t.futex.robustHead.Store(head) }

// ExitFutexes is to be called when the task ends or starts another program, by
// its own goroutine and while it still has its memory: it marks the futexes of
// the robust list as left by a dead owner and wakes who waits for one, and hands
// on its PI futexes.
func (t *Task) ExitFutexes() {
	t.futex.exiting.Store(futexExiting)
	if head := t.futex.robustHead.Swap(0); head != 0 {
		t.walkRobustList(head)
	}
	t.k.futexes.orphanPI(t)
	t.futex.exiting.Store(futexDead)
}

// ExecFutexes does what ExitFutexes does, for a task that lives on.
func (t *Task) ExecFutexes() {
	t.ExitFutexes()
	t.futex.exiting.Store(futexAlive)
}

// ClearTID writes 0 to the thread ID at addr and wakes one waiter, as the end
// of a thread does at the address of CLONE_CHILD_CLEARTID or
// set_tid_address(2).
func (t *Task) ClearTID(addr uint64) {
	b := t.futex.buf[:4]
	clear(b)
	if n, _ := t.ctx.CopyOut(addr, b); n == len(b) {
		t.FutexWake(addr, 1, true, FutexMatchAny)
	}
}

// robustPointer reads a pointer of the list.
func (t *Task) robustPointer(addr uint64) (entry uint64, pi bool, err error) {
	b := t.futex.buf[:8]
	if n, err := t.ctx.CopyIn(addr, b); n < len(b) {
		if err == nil {
			err = unix.EFAULT
		}
		return 0, false, err
	}
	entry, pi = robustEntry(b)
	return entry, pi, nil
}

// robustEntry is what a pointer of the list says: bit 0 that the entry is a PI futex.
func robustEntry(b []byte) (entry uint64, pi bool) {
	v := binary.NativeEndian.Uint64(b)
	return v &^ 1, v&1 != 0
}

func (t *Task) walkRobustList(head uint64) {
	b := t.futex.buf[:RobustListHeadSize]
	if n, _ := t.ctx.CopyIn(head, b); n < len(b) {
		return
	}
	entry, pi := robustEntry(b)
	offset := binary.NativeEndian.Uint64(b[8:])
	pending, pendingPI := robustEntry(b[16:])
	for range robustListLimit {
		if entry == head {
			break
		}
		// Read the next before the lock's new owner can change it.
		next, nextPI, err := t.robustPointer(entry)
		// A pending entry may already be in the list; it is done last.
		if entry != pending && !t.markOwnerDead(entry+offset, pi, false) {
			return
		}
		if err != nil {
			return
		}
		entry, pi = next, nextPI
	}
	if pending != 0 {
		t.markOwnerDead(pending+offset, pendingPI, true)
	}
}

// markOwnerDead sets the owner-died bit of a futex that the task owns, and
// wakes a waiter. It returns false if the memory is not there.
func (t *Task) markOwnerDead(addr uint64, pi, pending bool) bool {
	if addr%4 != 0 {
		return false
	}
	val, err := t.futexLoad(addr)
	if err != nil {
		return false
	}
	for range casTries {
		// Unlocked already, but the waiter may not have been woken, or was
		// woken and killed before it took the lock.
		if pending && !pi && val == 0 {
			t.FutexWake(addr, 1, true, FutexMatchAny)
			return true
		}
		if val&futexTIDMask != t.futexTID() {
			return true
		}
		found, err := t.ctx.CompareAndSwap32(addr, val, val&futexWaitersBit|futexOwnerDiedBit)
		if err != nil {
			return false
		}
		if found == val {
			if !pi && val&futexWaitersBit != 0 {
				t.FutexWake(addr, 1, true, FutexMatchAny)
			}
			return true
		}
		val = found
	}
	return true
}
