package inet

import (
	"errors"
	"math"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Recv implements socket.Socket.
func (s *Socket) Recv(p []byte, m *socket.Message) (int, error) {
	flags := m.Flags
	m.Flags = 0
	if flags&unix.MSG_ERRQUEUE != 0 {
		return s.recvError(p, m)
	}
	if s.stream() {
		if flags&unix.MSG_OOB != 0 {
			m.Flags = unix.MSG_OOB
			return s.recvUrgent(p, flags&unix.MSG_PEEK != 0)
		}
		n, err := s.recvStream(p, flags)
		if err == nil && s.report.Load()&reportInq != 0 {
			m.Control = []socket.ControlMessage{{Level: unix.IPPROTO_TCP, Type: unix.TCP_INQ, Data: int32Bytes(int32(s.queued(s.ep.Load())))}}
		}
		return n, err
	}
	n, err := s.recvDatagram(p, flags, m)
	return n, s.untoldEnd(err, flags&unix.MSG_DONTWAIT != 0)
}

// errOver says that no datagram will come, since the socket was shut down.
var errOver = errors.New("shut down")

// untoldEnd makes of errOver what the program is told: the end if it would wait, and otherwise that there is nothing,
// as on Linux.
func (s *Socket) untoldEnd(err error, nonblock bool) error {
	if err != errOver {
		return err
	}
	if d := s.desc.Load(); nonblock || d != nil && d.Nonblocking() {
		return unix.EAGAIN
	}
	return nil
}

// Read implements vfs.File.
func (s *Socket) Read(_ vfs.Caller, p []byte, _ int64) (int, error) {
	if s.stream() {
		return s.recvStream(p, 0)
	}
	n, err := s.recvDatagram(p, 0, nil)
	return min(n, len(p)), s.untoldEnd(err, false)
}

// recvStream takes bytes off the stream, or looks at them from SO_PEEK_OFF on; 0 is its end.
func (s *Socket) recvStream(p []byte, flags int32) (int, error) {
	if s.peekOff.Get() < 0 {
		return s.takeStream(p, flags)
	}
	if flags&unix.MSG_PEEK != 0 {
		return s.peekStream(p, flags)
	}
	n, err := s.takeStream(p, flags)
	s.peekOff.Taken(n)
	return n, err
}

// PeeksFurther reports whether a second look is at what follows the first one's (SO_PEEK_OFF).
func (s *Socket) PeeksFurther() bool { return s.peekOff.Get() >= 0 }

// peekStream looks at bytes from SO_PEEK_OFF on. The stack shows them from the first one on.
func (s *Socket) peekStream(p []byte, flags int32) (int, error) {
	off := int(s.peekOff.Get())
	all := make([]byte, max(min(off+max(len(p), 1), s.queued(s.ep.Load())), 0))
	n, err := s.takeStream(all, flags)
	if err != nil {
		return 0, err
	}
	if n <= off {
		if s.Readiness(waiter.RdHup) != 0 {
			return 0, nil
		}
		return 0, unix.EAGAIN // all has been looked at
	}
	n = copy(p, all[off:n])
	s.peekOff.Peeked(n)
	return n, nil
}

// takeArrived is takeStream of bytes that nobody has taken before.
func (s *Socket) takeArrived(p []byte, flags int32) (int, error) {
	e := s.ep.Load()
	peek := flags&unix.MSG_PEEK != 0
	s.recvMu.Lock()
	n := s.end.Load()
	if n != nil {
		left := n.viaStack.Load()
		if left == 0 {
			defer s.recvMu.Unlock()
			return s.recvNear(n, p, peek)
		}
		p = p[:min(int64(len(p)), left)]
	}
	if s.sink = p; len(p) == 0 {
		// Nothing is wanted; only whether there is anything, or an error.
		s.sink, peek = s.scratch[:], true
	}
	res, terr := e.Read(&s.sink, tcpip.ReadOptions{Peek: peek})
	s.sink = nil
	if n != nil && !peek {
		n.cameViaStack(res.Count)
	}
	roomy := terr == nil && len(p) > 0 && !peek && s.makeRoom(e, res.Count)
	s.recvMu.Unlock()
	switch terr.(type) {
	case nil:
		if len(p) == 0 {
			return 0, nil
		}
		if !peek && !roomy {
			e.ModerateRecvBuf(res.Count)
		}
		return res.Count, nil
	case *tcpip.ErrWouldBlock:
		if s.counted() {
			s.unchargeRecv(e)
		}
		if s.shut.Load()&recvShut != 0 {
			return 0, nil // it was shut down before it was connected
		}
		return 0, unix.EAGAIN
	case *tcpip.ErrClosedForReceive:
		return 0, s.takeError(e)
	case *tcpip.ErrNotConnected:
		if err := s.takeError(e); err != nil {
			return 0, err
		}
		if s.shut.Load()&recvShut != 0 && e.state() != tcp.StateListen {
			return 0, nil
		}
		return 0, unix.ENOTCONN
	}
	s.err.Store(0)
	return 0, errno(terr)
}

// recvDatagram takes the oldest datagram, errOver if none will come. m is nil for read(2), which learns nothing
// of it but its bytes. The result is the length of the datagram.
func (s *Socket) recvDatagram(p []byte, flags int32, m *socket.Message) (int, error) {
	if flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	e := s.ep.Load()
	if err := s.takeError(e); err != nil {
		return 0, err
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	peek := flags&unix.MSG_PEEK != 0
	if s.ahead.Load().waits() || peek && s.peekOff.Get() >= 0 {
		return s.recvAhead(e, p, flags, m)
	}
	room, err := s.roomOfNext(e)
	if err != nil {
		return 0, err
	}
	s.sink = p[:min(len(p), room)]
	res, terr := e.Read(&s.sink, tcpip.ReadOptions{Peek: peek, NeedRemoteAddr: m != nil})
	res.Total = min(res.Total, room)
	s.sink = nil
	if err := s.readError(e, terr); err != nil {
		return 0, err
	}
	s.tell(m, &res, p[:min(len(p), res.Total)], res.Total > len(p), peek)
	if !peek {
		s.peekOff.Taken(taken(res.Total, len(p), flags))
	}
	return res.Total, nil
}

// roomOfNext is how many bytes of the next datagram the socket wants at most. errOver if none will come. s.recvMu is held.
func (s *Socket) roomOfNext(e *endpoint) (room int, err error) {
	if !s.sifts() {
		return math.MaxInt, nil
	}
	room, err = s.sift(e)
	if err != nil && s.shut.Load()&recvShut != 0 {
		return 0, errOver
	}
	return room, err
}

// readError is what the stack's answer to who reads a datagram means. errOver if none will come.
func (s *Socket) readError(e *endpoint, terr tcpip.Error) error {
	switch terr.(type) {
	case nil:
	case *tcpip.ErrBadBuffer:
		// There is no room at all for what the datagram has.
	case *tcpip.ErrClosedForReceive:
		return errOver
	case *tcpip.ErrWouldBlock:
		if s.counted() {
			s.unchargeRecv(e)
		}
		if s.shut.Load()&recvShut != 0 {
			return errOver
		}
		return unix.EAGAIN
	default:
		return errno(terr)
	}
	return nil
}

// tell notes what is known of a datagram, that begins with data, beside its bytes, for m unless that is nil.
func (s *Socket) tell(m *socket.Message, res *tcpip.ReadResult, data []byte, truncated, peek bool) {
	s.received.Store(res.ControlMessages.Timestamp.UnixNano())
	var head []byte
	if s.report.Load()&reportsHeader != 0 {
		head = s.headerOf(res, data, peek)
	}
	if m == nil {
		return
	}
	m.Addr = sockaddr(s.family.Load(), res.RemoteAddr)
	m.Control = s.receivedControl(&res.ControlMessages, head)
	if truncated {
		m.Flags |= unix.MSG_TRUNC
	}
}
