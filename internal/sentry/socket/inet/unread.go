package inet

import (
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Unread implements vfs.Unreader.
func (s *Socket) Unread(p []byte) {
	if len(p) == 0 || !s.stream() {
		return
	}
	s.unread.Put(p)
	s.wait.Notify(waiter.Readable)
}

// takeStream takes bytes off the stream, or looks at them; 0 is its end.
func (s *Socket) takeStream(p []byte, flags int32) (int, error) {
	peek := flags&unix.MSG_PEEK != 0
	n := s.unread.Take(p, peek)
	if n == 0 {
		return s.takeArrived(p, flags)
	}
	if peek && n < len(p) && s.queued(s.ep.Load()) > n {
		m, _ := s.takeArrived(p[n:], flags)
		n += m
	}
	return n, nil
}
