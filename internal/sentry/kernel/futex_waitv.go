package kernel

import (
	"time"

	"golang.org/x/sys/unix"
)

// MaxFutexWaitv is the most futexes that futex_waitv(2) waits for.
const MaxFutexWaitv = 128

// FutexWaitv is one futex that futex_waitv(2) waits for.
type FutexWaitv struct {
	Addr   uint64
	Val    uint32
	Shared bool
}

// FutexWaitMultiple waits until one of the futexes is woken and returns its
// index. Errors are those of FutexWait.
func (t *Task) FutexWaitMultiple(list []FutexWaitv, deadline time.Time) (int, error) {
	if len(list) == 0 || len(list) > MaxFutexWaitv {
		return 0, unix.EINVAL
	}
	ch := make(chan struct{}, 1)
	waiters := make([]futexWaiter, len(list))
	queued := 0
	// woken dequeues all and returns the last index that was woken, or -1, as
	// Linux's futex_unqueue_multiple does.
	woken := func() int {
		index := -1
		for i := range waiters[:queued] {
			if !waiters[i].dequeue() {
				index = i
			}
		}
		return index
	}
	for i, f := range list {
		key, err := t.futexKey(f.Addr, f.Shared)
		if err == nil {
			w := &waiters[i]
			w.ch, w.task, w.bitset = ch, t, FutexMatchAny
			err = t.futexQueue(w, key, f.Addr, f.Val)
		}
		if err != nil {
			if index := woken(); index >= 0 {
				return index, nil
			}
			return 0, err
		}
		queued++
	}
	err := t.Block(ch, deadline)
	if index := woken(); index >= 0 {
		return index, nil
	}
	return 0, err
}
