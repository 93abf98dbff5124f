package kernel

import (
	"encoding/binary"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

// Futexes, as futex(2) tells: a wait queue per word of guest memory.
//
// No wake-up is lost because of the order in which both sides work. A waiter
// holds the bucket's lock while it queues itself and reads the word. A waker
// changes the word first and takes the same lock after. So either the waiter
// reads the new value and does not sleep, or it is in the queue when the waker
// looks.
//
// Lock order: the locks of two buckets are taken in the order of their index.
// They come after Kernel.mu and before nothing: copies of guest memory under
// them are made by the platform alone.

// futexKey names a futex: for private memory the address space and the
// address, for shared memory the mapped object and the offset in it.
type futexKey = mm.Key

// FutexMatchAny is the bit set that every waiter meets
// (FUTEX_BITSET_MATCH_ANY).
const FutexMatchAny = ^uint32(0)

// maxFutexAddr bounds the addresses that access_ok() lets pass.
const maxFutexAddr = 1<<47 - 4096

// futexWaiter is one task's place in a queue. A task has one of its own, so
// that waiting does not allocate; futex_waitv(2) uses several.
type futexWaiter struct {
	// bucket is the one that the waiter is queued in, nil if in none. It
	// changes under the bucket's lock (on a requeue, under both).
	bucket atomic.Pointer[futexBucket]

	// The rest is guarded by the bucket's lock while queued.
	next, prev *futexWaiter
	key        futexKey
	bitset     uint32
	// ch has capacity one and receives before bucket becomes nil.
	ch chan struct{}

	// A waiter that FutexRequeuePI is to move: toPI is set, and target is the
	// PI futex.
	toPI   bool
	target futexKey

	// A waiter for a priority-inheritance futex: pi is set, and piOwner is the
	// task that it waits for, nil once that one has died.
	pi      bool
	task    *Task
	piOwner *Task
}

// futexBucket is the queue of all futexes with one hash, oldest waiter first.
type futexBucket struct {
	mu         sync.Mutex
	head, tail *futexWaiter
	// The padding keeps neighbours off one cache line.
	_ [64 - 24]byte
}

const futexBuckets = 256

// futexTable holds the futexes of a kernel. The zero value is ready.
type futexTable struct {
	buckets [futexBuckets]futexBucket
	// piWaiters counts the waiters with pi set, so that a task which exits
	// looks for those that wait for it only if there can be any.
	piWaiters atomic.Int64
}

var futexSeed = maphash.MakeSeed()

func (ft *futexTable) index(k futexKey) int {
	return int(maphash.Comparable(futexSeed, k) % futexBuckets)
}

// lockPair locks the buckets of two keys, in order.
func (ft *futexTable) lockPair(k1, k2 futexKey) (b1, b2 *futexBucket) {
	i1, i2 := ft.index(k1), ft.index(k2)
	b1, b2 = &ft.buckets[i1], &ft.buckets[i2]
	switch {
	case i1 == i2:
		b1.mu.Lock()
	case i1 < i2:
		b1.mu.Lock()
		b2.mu.Lock()
	default:
		b2.mu.Lock()
		b1.mu.Lock()
	}
	return b1, b2
}

func unlockPair(b1, b2 *futexBucket) {
	b1.mu.Unlock()
	if b1 != b2 {
		b2.mu.Unlock()
	}
}

// push queues w. The lock is held.
func (b *futexBucket) push(w *futexWaiter) {
	w.next, w.prev = nil, b.tail
	if b.tail == nil {
		b.head = w
	} else {
		b.tail.next = w
	}
	b.tail = w
	w.bucket.Store(b)
}

// unlink takes w out of the list, but leaves w.bucket. The lock is held.
func (b *futexBucket) unlink(w *futexWaiter) {
	if w.prev == nil {
		b.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		b.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev = nil, nil
}

// wake dequeues w and wakes its task. The lock is held.
func (b *futexBucket) wake(w *futexWaiter) {
	b.unlink(w)
	w.signal()
	// Last: who sees nil may use w again, and must find the channel's token.
	w.bucket.Store(nil)
}

// signal lets the waiting task run. The lock is held.
func (w *futexWaiter) signal() {
	select {
	case w.ch <- struct{}{}:
	default:
	}
}

// lockBucket locks the bucket that w is queued in, nil if in none.
func (w *futexWaiter) lockBucket() *futexBucket {
	for {
		b := w.bucket.Load()
		if b == nil {
			return nil
		}
		b.mu.Lock()
		if w.bucket.Load() == b {
			return b
		}
		b.mu.Unlock() // requeued or woken meanwhile
	}
}

// dequeue takes w out of its queue. It returns false if a waker was first.
func (w *futexWaiter) dequeue() bool {
	b := w.lockBucket()
	if b == nil {
		return false
	}
	b.unlink(w)
	w.bucket.Store(nil)
	b.mu.Unlock()
	return true
}

// drain takes the token that a waker may have left. w is in no queue.
func (w *futexWaiter) drain() {
	select {
	case <-w.ch:
	default:
	}
}

// futexState is a task's part in futexes. Except for exiting it is the task's
// own goroutine's.
type futexState struct {
	waiter futexWaiter
	// buf is what words are read into: a buffer on the stack would escape.
	buf [24]byte
	// robustHead is set_robust_list(2)'s argument.
	robustHead atomic.Uint64
	// exiting is one of the futexExit values.
	exiting atomic.Int32
}

// What a task's exit has done.
const (
	futexAlive   int32 = iota
	futexExiting       // the robust list is being walked
	futexDead          // it has been
)

// futexKey finds the key of a futex. EINVAL if addr is not aligned, EFAULT if
// it can't be in user memory.
func (t *Task) futexKey(addr uint64, shared bool) (futexKey, error) {
	if addr%4 != 0 {
		return futexKey{}, unix.EINVAL
	}
	if addr > maxFutexAddr {
		return futexKey{}, unix.EFAULT
	}
	if shared {
		return t.mem.SharedKey(addr)
	}
	return t.mem.PrivateKey(addr), nil
}

// futexLoad reads the word at addr.
func (t *Task) futexLoad(addr uint64) (uint32, error) {
	b := t.futex.buf[:4]
	if n, err := t.ctx.CopyIn(addr, b); n < len(b) {
		if err == nil {
			err = unix.EFAULT
		}
		return 0, err
	}
	return binary.NativeEndian.Uint32(b), nil
}

// ownWaiter returns the task's waiter, ready to be queued.
func (t *Task) ownWaiter() *futexWaiter {
	w := &t.futex.waiter
	if w.ch == nil {
		w.ch = make(chan struct{}, 1)
		w.task = t
	}
	w.pi, w.piOwner, w.toPI = false, nil, false
	return w
}

// FutexWait waits until the futex at addr is woken, if its word holds val.
// bitset must not be zero. EAGAIN if the word holds another value, ETIMEDOUT,
// ERESTARTSYS for a signal, EFAULT, EINVAL.
func (t *Task) FutexWait(addr uint64, val uint32, shared bool, bitset uint32, deadline time.Time) error {
	if bitset == 0 {
		return unix.EINVAL
	}
	key, err := t.futexKey(addr, shared)
	if err != nil {
		return err
	}
	w := t.ownWaiter()
	w.bitset = bitset
	if err := t.futexQueue(w, key, addr, val); err != nil {
		return err
	}
	err = t.Block(w.ch, deadline)
	if !w.dequeue() {
		w.drain()
		return nil
	}
	return err
}

// futexQueue queues w if the word at addr holds val.
func (t *Task) futexQueue(w *futexWaiter, key futexKey, addr uint64, val uint32) error {
	ft := &t.k.futexes
	b := &ft.buckets[ft.index(key)]
	b.mu.Lock()
	defer b.mu.Unlock()
	w.key = key
	b.push(w)
	cur, err := t.futexLoad(addr)
	if err == nil && cur != val {
		err = unix.EAGAIN
	}
	if err != nil {
		b.unlink(w)
		w.bucket.Store(nil)
	}
	return err
}

// FutexWake wakes at most n waiters whose bit sets meet bitset, and returns
// how many. EINVAL if one of them waits for a PI futex,
// or to be moved to one.
func (t *Task) FutexWake(addr uint64, n int, shared bool, bitset uint32) (int, error) {
	if bitset == 0 {
		return 0, unix.EINVAL
	}
	key, err := t.futexKey(addr, shared)
	if err != nil {
		return 0, err
	}
	return t.k.futexes.wake(key, n, bitset)
}

func (ft *futexTable) wake(key futexKey, n int, bitset uint32) (int, error) {
	b := &ft.buckets[ft.index(key)]
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wakeKey(key, n, bitset)
}

// wakeKey wakes waiters of one key. The lock is held.
func (b *futexBucket) wakeKey(key futexKey, n int, bitset uint32) (int, error) {
	woken := 0
	for w := b.head; w != nil && woken < n; {
		next := w.next
		if w.key == key && w.bitset&bitset != 0 {
			if w.pi || w.toPI {
				return woken, unix.EINVAL
			}
			b.wake(w)
			woken++
		}
		w = next
	}
	return woken, nil
}

// FutexRequeue wakes at most nrWake waiters of the futex at addr and moves at
// most nrMove of the others to the futex at addr2. With check set the word at
// addr must hold val, else EAGAIN. It returns how many were woken and moved.
func (t *Task) FutexRequeue(addr uint64, shared bool, addr2 uint64, shared2 bool, nrWake, nrMove int, check bool, val uint32) (woken, moved int, err error) {
	if nrWake < 0 || nrMove < 0 {
		return 0, 0, unix.EINVAL
	}
	k1, err := t.futexKey(addr, shared)
	if err != nil {
		return 0, 0, err
	}
	k2, err := t.futexKey(addr2, shared2)
	if err != nil {
		return 0, 0, err
	}
	b1, b2 := t.k.futexes.lockPair(k1, k2)
	defer unlockPair(b1, b2)
	if check {
		cur, err := t.futexLoad(addr)
		if err != nil {
			return 0, 0, err
		}
		if cur != val {
			return 0, 0, unix.EAGAIN
		}
	}
	for w := b1.head; w != nil && (woken < nrWake || moved < nrMove); {
		next := w.next
		if w.key == k1 {
			switch {
			case w.pi || w.toPI:
				return woken, moved, unix.EINVAL
			case woken < nrWake:
				b1.wake(w)
				woken++
			case k1 == k2:
				moved++ // Linux counts those that stay where they are too.
			default:
				b1.unlink(w)
				w.key = k2
				b2.push(w)
				moved++
			}
		}
		w = next
		// Moved within one bucket, waiters come again at the end, with the
		// other key; the walk then passes them by.
	}
	return woken, moved, nil
}

// futexTID is the thread ID as words of PI and robust futexes hold it.
func (t *Task) futexTID() uint32 { return uint32(t.TID()) }
