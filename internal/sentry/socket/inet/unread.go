package inet

import (
	"sync/atomic"

	"coffer/internal/sentry/ring"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// unread holds bytes of a stream that a receive took and the guest could not be given. They are
// received again before all others.
type unread struct {
	data ring.Buffer // recvMu guards it
	n    atomic.Int64
}

// Unread implements vfs.Unreader. Without memory for the bytes they are lost.
func (s *Socket) Unread(p []byte) {
	if len(p) == 0 || !s.stream() {
		return
	}
	s.recvMu.Lock()
	if s.unread.data.Unread(p) {
		s.unread.n.Store(int64(s.unread.data.Len()))
	}
	s.recvMu.Unlock()
	s.wait.Notify(waiter.Readable)
}

// takeUnread takes what there is of such bytes, or looks at it.
func (s *Socket) takeUnread(p []byte, peek bool) (n int) {
	if s.unread.n.Load() == 0 {
		return 0
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if peek {
		return s.unread.data.Peek(p, 0)
	}
	n = s.unread.data.Read(p)
	left := s.unread.data.Len()
	if left == 0 {
		s.unread.data.Release()
	}
	s.unread.n.Store(int64(left))
	return n
}

// dropUnread forgets them. It reports whether there were any.
func (s *Socket) dropUnread() bool {
	if s.unread.n.Load() == 0 {
		return false
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	s.unread.data.Release()
	return s.unread.n.Swap(0) > 0
}

// takeStream takes bytes off the stream, or looks at them; 0 is its end.
func (s *Socket) takeStream(p []byte, flags int32) (int, error) {
	peek := flags&unix.MSG_PEEK != 0
	n := s.takeUnread(p, peek)
	if n == 0 {
		return s.takeArrived(p, flags)
	}
	if peek && n < len(p) && s.queued(s.ep.Load()) > n {
		m, _ := s.takeArrived(p[n:], flags)
		n += m
	}
	return n, nil
}
