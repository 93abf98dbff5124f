package kernel

import (
	"runtime"
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// The word of a priority-inheritance or robust futex: the owner's thread ID
// and two bits (linux/futex.h).
const (
	futexWaitersBit   = 0x80000000
	futexOwnerDiedBit = 0x40000000
	futexTIDMask      = 0x3fffffff
)

// FutexLockPI takes the PI futex at addr, waiting for its owner unless try is
// set. Waiters get the futex in the order in which they came: all tasks of this
// kernel have one priority, so there is none to lend.
//
// EDEADLK if the caller owns it already, EAGAIN if try is set and another owns
// it, ESRCH if the word names an owner that is not there, EINVAL if it is used
// as an ordinary futex too, ETIMEDOUT, ERESTARTNOINTR for a signal.
func (t *Task) FutexLockPI(addr uint64, shared, try bool, deadline time.Time) error {
	key, err := t.futexKey(addr, shared)
	if err != nil {
		return err
	}
	ft := &t.k.futexes
	b := &ft.buckets[ft.index(key)]
	w := t.ownWaiter()
	w.key, w.bitset, w.pi = key, FutexMatchAny, true

	for range casTries {
		b.mu.Lock()
		done, again, err := t.lockPIQueue(b, w, addr, try)
		b.mu.Unlock()
		if again {
			runtime.Gosched()
			continue
		}
		if done || err != nil {
			return err
		}
		return t.lockPIWait(w, addr, deadline)
	}
	return abi.ERESTARTNOINTR
}

// lockPIQueue takes the futex (done), or queues w behind its owner. again says
// that the word or the owner is just changing. The lock is held.
func (t *Task) lockPIQueue(b *futexBucket, w *futexWaiter, addr uint64, try bool) (done, again bool, err error) {
	waiters := &t.k.futexes.piWaiters
	waiters.Add(1)
	claim, owner, err := t.claimPI(b, w.key, addr, t, try, false)
	if claim == piWait {
		w.piOwner = owner
		b.push(w)
		return false, false, nil
	}
	waiters.Add(-1)
	return claim == piTaken, claim == piAgain, err
}

// What claimPI came to.
type piClaim int

const (
	piFailed piClaim = iota
	piTaken          // the task owns the futex
	piWait           // it must wait for the owner
	piAgain          // the word or the owner is just changing
)

// claimPI takes the PI futex at addr for a task, or finds whom that one is to
// wait for, nil if the owner has died and the first waiter is about to take the
// futex. With try it fails with EAGAIN instead. contended says that others are
// going to wait for the task. The lock is held, and piWaiters counts the task
// already: the owner's exit sets its state before it looks for waiters, so one
// of us sees the other.
func (t *Task) claimPI(b *futexBucket, key futexKey, addr uint64, task *Task, try, contended bool) (piClaim, *Task, error) {
	val, err := t.futexLoad(addr)
	if err != nil {
		return piFailed, nil, err
	}
	if val&futexTIDMask == task.futexTID() {
		return piFailed, nil, unix.EDEADLK
	}
	first := b.first(key)
	if first != nil && !first.pi {
		return piFailed, nil, unix.EINVAL
	}
	if val&futexTIDMask == 0 {
		switch now, err := t.takePI(b, key, addr, val, task, contended); {
		case err != nil:
			return piFailed, nil, err
		case now:
			return piTaken, nil, nil
		}
		return piAgain, nil, nil
	}
	if try {
		return piFailed, nil, unix.EAGAIN
	}
	if val&futexWaitersBit == 0 {
		switch found, err := t.ctx.CompareAndSwap32(addr, val, val|futexWaitersBit); {
		case err != nil:
			return piFailed, nil, err
		case found != val:
			return piAgain, nil, nil
		}
	}
	// Those that wait already know who owns it, even if the owner is dead and
	// the first of them has not run yet.
	if first != nil {
		return piWait, first.piOwner, nil
	}
	owner := t.PIDs().Task(int32(val & futexTIDMask))
	if owner == nil {
		return piFailed, nil, unix.ESRCH
	}
	switch owner.futex.exiting.Load() {
	case futexDead:
		return piFailed, nil, unix.ESRCH
	case futexExiting:
		return piAgain, nil, nil
	}
	return piWait, owner, nil
}

// takePI makes a task the owner of a futex that has none or a dead one. It
// returns false if the word changed. The lock is held.
func (t *Task) takePI(b *futexBucket, key futexKey, addr uint64, val uint32, task *Task, contended bool) (bool, error) {
	mine := task.futexTID() | val&futexOwnerDiedBit
	if val&futexTIDMask != 0 {
		mine |= futexOwnerDiedBit
	}
	if contended {
		mine |= futexWaitersBit
	}
	for w := b.head; w != nil; w = w.next {
		if w.key == key && w.task != task {
			mine |= futexWaitersBit
		}
	}
	found, err := t.ctx.CompareAndSwap32(addr, val, mine)
	if err != nil || found != val {
		return false, err
	}
	b.setPIOwner(key, task)
	return true, nil
}

// lockPIWait waits until the futex is handed over, or its owner has died.
func (t *Task) lockPIWait(w *futexWaiter, addr uint64, deadline time.Time) error {
	defer t.k.futexes.piWaiters.Add(-1)
	for {
		err := t.Block(w.ch, deadline)
		b := w.lockBucket()
		if b == nil { // handed over
			w.drain()
			return nil
		}
		done, err := t.lockPIWoken(b, w, addr, err)
		b.mu.Unlock()
		if !done {
			continue
		}
		if err == abi.ERESTARTSYS {
			err = abi.ERESTARTNOINTR
		}
		return err
	}
}

// lockPIWoken takes the futex for a waiter that was woken but not given it, if
// its owner died. err is what the waiter was woken with: it ends the wait. The
// lock is held.
func (t *Task) lockPIWoken(b *futexBucket, w *futexWaiter, addr uint64, err error) (bool, error) {
	if err == nil {
		var done bool
		if done, err = t.inheritPI(b, w, addr); !done && err == nil {
			return false, nil
		}
	}
	b.unlink(w)
	w.bucket.Store(nil)
	w.drain()
	if w.piOwner == nil {
		// We may have been told to take the futex of a dead owner.
		if next := b.first(w.key); next != nil {
			next.signal()
		}
	}
	return true, err
}

// inheritPI takes the futex for w if its owner died. The lock is held.
func (t *Task) inheritPI(b *futexBucket, w *futexWaiter, addr uint64) (bool, error) {
	for range casTries {
		val, err := t.futexLoad(addr)
		if err != nil {
			return false, err
		}
		if val&futexTIDMask != 0 && w.piOwner != nil {
			return false, nil // another was first
		}
		if done, err := t.takePI(b, w.key, addr, val, t, false); done || err != nil {
			return done, err
		}
	}
	return false, unix.EAGAIN
}

// FutexUnlockPI gives the PI futex at addr to its oldest waiter, or frees it.
// EPERM if the caller does not own it.
func (t *Task) FutexUnlockPI(addr uint64, shared bool) error {
	key, err := t.futexKey(addr, shared)
	if err != nil {
		return err
	}
	ft := &t.k.futexes
	b := &ft.buckets[ft.index(key)]
	b.mu.Lock()
	defer b.mu.Unlock()
	for range casTries {
		val, err := t.futexLoad(addr)
		if err != nil {
			return err
		}
		if val&futexTIDMask != t.futexTID() {
			return unix.EPERM
		}
		next := b.first(key)
		var word uint32
		if next != nil {
			if !next.pi {
				return unix.EINVAL
			}
			word = next.task.futexTID() | futexWaitersBit
		}
		found, err := t.ctx.CompareAndSwap32(addr, val, word)
		if err != nil {
			return err
		}
		if found != val {
			continue
		}
		if next != nil {
			b.wake(next)
			b.setPIOwner(key, next.task)
		}
		return nil
	}
	return abi.ERESTARTNOINTR
}

// first returns the oldest waiter of a key, or nil. The lock is held.
func (b *futexBucket) first(key futexKey) *futexWaiter {
	for w := b.head; w != nil; w = w.next {
		if w.key == key {
			return w
		}
	}
	return nil
}

// setPIOwner tells the waiters of a key whom they wait for. The lock is held.
func (b *futexBucket) setPIOwner(key futexKey, owner *Task) {
	for w := b.head; w != nil; w = w.next {
		if w.key == key {
			w.piOwner = owner
		}
	}
}

// orphanPI has the waiters for a task that is exiting take what it owned: the
// oldest of each futex runs and becomes the owner.
func (ft *futexTable) orphanPI(dead *Task) {
	if ft.piWaiters.Load() == 0 {
		return
	}
	for i := range ft.buckets {
		b := &ft.buckets[i]
		b.mu.Lock()
		for w := b.head; w != nil; w = w.next {
			if w.pi && w.piOwner == dead {
				b.setPIOwner(w.key, nil)
				w.signal()
			}
		}
		b.mu.Unlock()
	}
}
