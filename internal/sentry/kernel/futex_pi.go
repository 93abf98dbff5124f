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
		return t.lockPIWait(b, w, addr, deadline)
	}
	return abi.ERESTARTNOINTR
}

// lockPIQueue takes the futex (done), or queues w behind its owner. again says
// that the word or the owner is just changing. The lock is held.
func (t *Task) lockPIQueue(b *futexBucket, w *futexWaiter, addr uint64, try bool) (done, again bool, err error) {
	val, err := t.futexLoad(addr)
	if err != nil {
		return false, false, err
	}
	tid := t.futexTID()
	if val&futexTIDMask == tid {
		return false, false, unix.EDEADLK
	}
	first := b.first(w.key)
	if first != nil && !first.pi {
		return false, false, unix.EINVAL
	}
	if val&futexTIDMask == 0 {
		now, err := t.takePI(b, w.key, addr, val)
		return now, !now, err
	}
	if try {
		return false, false, unix.EAGAIN
	}
	if val&futexWaitersBit == 0 {
		found, err := t.ctx.CompareAndSwap32(addr, val, val|futexWaitersBit)
		if err != nil || found != val {
			return false, err == nil, err
		}
	}
	// Those that wait already know who owns it, even if the owner is dead and
	// the first of them has not run yet.
	var owner *Task
	if first != nil {
		owner = first.piOwner
	} else if owner = t.k.Task(int32(val & futexTIDMask)); owner == nil {
		return false, false, unix.ESRCH
	}
	w.piOwner = owner
	b.push(w)
	t.k.futexes.piWaiters.Add(1)
	// The owner's exit sets its state before it looks for waiters, so one of
	// us sees the other.
	if owner != nil && first == nil {
		if state := owner.futex.exiting.Load(); state != futexAlive {
			b.unlink(w)
			w.bucket.Store(nil)
			t.k.futexes.piWaiters.Add(-1)
			if state == futexDead {
				return false, false, unix.ESRCH
			}
			return false, true, nil
		}
	}
	return false, false, nil
}

// takePI makes the caller the owner of a futex that has none or a dead one. It
// returns false if the word changed. The lock is held.
func (t *Task) takePI(b *futexBucket, key futexKey, addr uint64, val uint32) (bool, error) {
	mine := t.futexTID() | val&futexOwnerDiedBit
	if val&futexTIDMask != 0 {
		mine |= futexOwnerDiedBit
	}
	for w := b.head; w != nil; w = w.next {
		if w.key == key && w.task != t {
			mine |= futexWaitersBit
		}
	}
	found, err := t.ctx.CompareAndSwap32(addr, val, mine)
	if err != nil || found != val {
		return false, err
	}
	b.setPIOwner(key, t)
	return true, nil
}

// lockPIWait waits until the futex is handed over, or its owner has died.
func (t *Task) lockPIWait(b *futexBucket, w *futexWaiter, addr uint64, deadline time.Time) error {
	defer t.k.futexes.piWaiters.Add(-1)
	for {
		err := t.Block(w.ch, deadline)
		if w.bucket.Load() == nil {
			w.drain()
			return nil
		}
		b.mu.Lock()
		if w.bucket.Load() == nil { // handed over while we took the lock
			b.mu.Unlock()
			w.drain()
			return nil
		}
		if err == nil {
			var done bool
			if done, err = t.inheritPI(b, w, addr); !done && err == nil {
				b.mu.Unlock()
				continue
			}
		} else if err == abi.ERESTARTSYS {
			err = abi.ERESTARTNOINTR
		}
		b.unlink(w)
		w.bucket.Store(nil)
		if w.piOwner == nil {
			// We may have been told to take the futex of a dead owner.
			if next := b.first(w.key); next != nil {
				next.signal()
			}
		}
		b.mu.Unlock()
		w.drain()
		return err
	}
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
		if done, err := t.takePI(b, w.key, addr, val); done || err != nil {
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
