package inet

import (
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// zerocopy is what SO_ZEROCOPY asks for: to be told when a send with MSG_ZEROCOPY needs its
// memory no more. Each send has a number. All are copied, as Linux does over loopback, so that
// they are told of at once (SO_EE_CODE_ZEROCOPY_COPIED).

// checkZerocopy takes 0 and 1 from sockets of TCP and UDP.
func checkZerocopy(s *Socket, c vfs.Caller, v int32) (int32, error) {
	if s.sort() == ofOthers {
		return 0, unix.EOPNOTSUPP
	}
	return strict(s, c, v)
}

func applyZerocopy(s *Socket, _ tcpip.Endpoint, v int32) { s.zerocopy.Store(v != 0) }

// Copied tells the sender that a call with MSG_ZEROCOPY, which sent something, needs its memory
// no more. What is told of several calls is one range of their numbers until it is received.
func (s *Socket) Copied() {
	if !s.zerocopy.Load() {
		return
	}
	q := &s.errors
	q.errorMu.Lock()
	number := s.zerocopied
	s.zerocopied++
	var last *queuedError
	if n := len(q.list); n > 0 {
		last = q.list[n-1]
	}
	if last != nil && last.origin == unix.SO_EE_ORIGIN_ZEROCOPY && last.last+1 == number && number != 0 {
		last.last = number
	} else {
		q.add(&queuedError{origin: unix.SO_EE_ORIGIN_ZEROCOPY, code: unix.SO_EE_CODE_ZEROCOPY_COPIED, info: number, last: number})
	}
	q.errorMu.Unlock()
	s.wait.Notify(waiter.Err | waiter.Pri)
}
