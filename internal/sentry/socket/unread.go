package socket

import (
	"sync"
	"sync/atomic"

	"coffer/internal/sentry/ring"
)

// Unread holds bytes of a stream that a receive took and the guest could not be given. They are
// received again before all others. Its lock is a leaf.
type Unread struct {
	mu   sync.Mutex
	data ring.Buffer
	n    atomic.Int64
}

// Len is how many there are.
func (u *Unread) Len() int { return int(u.n.Load()) }

// Put adds such bytes, which came before those that are there. Without memory for them they are lost.
func (u *Unread) Put(p []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.data.Unread(p) {
		u.n.Store(int64(u.data.Len()))
	}
}

// Take takes what there is of them, or looks at it.
func (u *Unread) Take(p []byte, peek bool) (n int) {
	if u.n.Load() == 0 {
		return 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if peek {
		return u.data.Peek(p, 0)
	}
	n = u.data.Read(p)
	left := u.data.Len()
	if left == 0 {
		u.data.Release()
	}
	u.n.Store(int64(left))
	return n
}

// Drop forgets them. It reports whether there were any.
func (u *Unread) Drop() bool {
	if u.n.Load() == 0 {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.data.Release()
	return u.n.Swap(0) > 0
}
