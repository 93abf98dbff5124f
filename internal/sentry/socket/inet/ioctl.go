package inet

import (
	"encoding/binary"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// Ioctl implements vfs.File: FIONREAD (SIOCINQ), SIOCOUTQ, SIOCATMARK and the times
// of the last datagram. EINVAL for the first of a listening socket.
func (s *Socket) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	e := s.ep.Load()
	var n int
	switch cmd {
	case unix.TIOCINQ:
		if s.stream() && e.state() == tcp.StateListen {
			return 0, unix.EINVAL
		}
		n = s.queued(e)
	case unix.TIOCOUTQ:
		if s.stream() && e.state() == tcp.StateListen {
			return 0, unix.EINVAL
		}
		n = s.unsent(e)
	case unix.SIOCATMARK:
		if !s.stream() {
			return 0, unix.ENOTTY
		}
		if s.atMark() {
			n = 1
		}
	case unix.SIOCGSTAMP, unix.SIOCGSTAMPNS:
		return 0, s.stamp(c, cmd, arg)
	default:
		return 0, unix.ENOTTY
	}
	_, err := c.CopyOut(arg, int32Bytes(int32(n)))
	return 0, err
}

// stamp tells when the datagram had come that was received last. ENOENT before the
// first.
func (s *Socket) stamp(c vfs.Caller, cmd uint32, arg uint64) error {
	ns := s.received.Load()
	if ns == 0 {
		return unix.ENOENT
	}
	part := ns % 1e9
	if cmd == unix.SIOCGSTAMP {
		part /= 1e3
	}
	b := binary.LittleEndian.AppendUint64(nil, uint64(ns/1e9))
	_, err := c.CopyOut(arg, binary.LittleEndian.AppendUint64(b, uint64(part)))
	return err
}

// queued is how many bytes can be received: those of the first datagram, or of the
// stream.
func (s *Socket) queued(e *endpoint) int {
	if a := s.ahead.Load(); a.waits() {
		return a.firstLength()
	}
	return s.unread.Len() + s.queuedInStack(e) + s.nearQueued()
}

func (s *Socket) queuedInStack(e *endpoint) int {
	n, err := e.GetSockOptInt(tcpip.ReceiveQueueSizeOption)
	if err != nil {
		return 0
	}
	return n
}

// unsent is how many bytes the peer has not received. The stack tells only whether all
// room is taken.
func (s *Socket) unsent(e *endpoint) int {
	if n := s.end.Load(); n != nil {
		return n.unreceived()
	}
	if n, err := e.GetSockOptInt(tcpip.SendQueueSizeOption); err == nil {
		return n
	}
	if s.stream() && e.Readiness(stackwaiter.WritableEvents)&stackwaiter.EventOut == 0 && e.state() == tcp.StateEstablished {
		return int(e.SocketOptions().GetSendBufferSize())
	}
	return 0
}
