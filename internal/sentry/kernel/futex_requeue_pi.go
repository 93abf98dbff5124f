package kernel

import (
	"runtime"
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// FutexWaitRequeuePI waits at addr, if its word holds val, until FutexRequeuePI
// has moved the caller to the PI futex at addr2 and it owns that one.
//
// EAGAIN if the word holds another value, and for a signal once the caller was
// moved: it must then take the PI futex by itself. ERESTARTNOINTR for a signal
// before. EINVAL if both futexes are one. ETIMEDOUT, EFAULT.
func (t *Task) FutexWaitRequeuePI(addr uint64, val uint32, addr2 uint64, shared bool, deadline time.Time) error {
	if addr == addr2 {
		return unix.EINVAL
	}
	target, err := t.futexKey(addr2, shared)
	if err != nil {
		return err
	}
	key, err := t.futexKey(addr, shared)
	if err != nil {
		return err
	}
	if key == target {
		return unix.EINVAL
	}
	w := t.ownWaiter()
	w.bitset, w.toPI, w.target = FutexMatchAny, true, target
	if err := t.futexQueue(w, key, addr, val); err != nil {
		return err
	}
	for {
		err := t.Block(w.ch, deadline)
		done, err := t.requeuePIWoken(w, addr2, err)
		if done {
			if w.pi {
				t.k.futexes.piWaiters.Add(-1)
			}
			return err
		}
	}
}

// requeuePIWoken looks why the task in FutexWaitRequeuePI was woken, with err.
// It returns false if the wait goes on.
func (t *Task) requeuePIWoken(w *futexWaiter, addr2 uint64, err error) (bool, error) {
	b := w.lockBucket()
	if b == nil { // moved, and handed the futex
		w.drain()
		return true, nil
	}
	defer b.mu.Unlock()
	if w.pi {
		done, err := t.lockPIWoken(b, w, addr2, err)
		if err == abi.ERESTARTSYS {
			err = unix.EAGAIN // what was to be waited for has happened
		}
		return done, err
	}
	if err == nil {
		return false, nil
	}
	b.unlink(w)
	w.bucket.Store(nil)
	if err == abi.ERESTARTSYS {
		err = abi.ERESTARTNOINTR
	}
	return true, err
}

// FutexRequeuePI gives the PI futex at addr2 to the oldest task that waits for
// it at addr by FutexWaitRequeuePI, if it is free, and moves at most nrMove of
// the others to it. One more is moved if it is not free. It returns how many
// tasks that were.
//
// EAGAIN if the word at addr does not hold val. EINVAL if nrWake is not 1, if
// both futexes are one, or if a task waits at addr for anything else. Errors
// of FutexLockPI for the task that would be given the futex.
func (t *Task) FutexRequeuePI(addr, addr2 uint64, shared bool, nrWake, nrMove int, val uint32) (int, error) {
	if nrWake != 1 || nrMove < 0 || addr == addr2 {
		return 0, unix.EINVAL
	}
	k1, err := t.futexKey(addr, shared)
	if err != nil {
		return 0, err
	}
	k2, err := t.futexKey(addr2, shared)
	if err != nil {
		return 0, err
	}
	if k1 == k2 {
		return 0, unix.EINVAL
	}
	ft := &t.k.futexes
	// For those that are going to wait: see claimPI.
	ft.piWaiters.Add(1)
	defer ft.piWaiters.Add(-1)
	for range casTries {
		b1, b2 := ft.lockPair(k1, k2)
		cur, err := t.futexLoad(addr)
		if err == nil && cur != val {
			err = unix.EAGAIN
		}
		first := b1.first(k1)
		if err != nil || first == nil {
			unlockPair(b1, b2)
			return 0, err
		}
		if !first.toPI || first.target != k2 {
			unlockPair(b1, b2)
			return 0, unix.EINVAL
		}
		claim, owner, err := t.claimPI(b2, k2, addr2, first.task, false, nrMove > 0)
		n := 0
		switch claim {
		case piTaken:
			owner = first.task
			b1.wake(first)
			n, err = ft.moveToPI(b1, b2, k1, k2, owner, nrMove)
			n++
		case piWait:
			n, err = ft.moveToPI(b1, b2, k1, k2, owner, 1+nrMove)
		}
		unlockPair(b1, b2)
		if claim == piAgain {
			runtime.Gosched()
			continue
		}
		if err != nil {
			return 0, err
		}
		return n, nil
	}
	return 0, abi.ERESTARTNOINTR
}

// moveToPI moves at most n waiters of k1 to the PI futex k2, whose owner they
// wait for then. The locks are held.
func (ft *futexTable) moveToPI(b1, b2 *futexBucket, k1, k2 futexKey, owner *Task, n int) (int, error) {
	moved := 0
	for w := b1.head; w != nil && moved < n; {
		next := w.next
		if w.key == k1 {
			if !w.toPI || w.target != k2 {
				return moved, unix.EINVAL
			}
			if w.task == owner {
				return moved, unix.EDEADLK
			}
			b1.unlink(w)
			w.key, w.toPI = k2, false
			w.pi, w.piOwner = true, owner
			ft.piWaiters.Add(1)
			b2.push(w)
			moved++
		}
		w = next
	}
	return moved, nil
}
