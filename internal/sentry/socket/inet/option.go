package inet

import (
	"encoding/binary"
	"sync/atomic"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// options are what setsockopt(2) sets, as far as the socket itself keeps it.
type options struct {
	socket.Timeouts
	lowat atomic.Int32
	// cork is TCP_CORK or UDP_CORK; moreStream says that the last send had MSG_MORE.
	cork, moreStream atomic.Bool
	corkedTo         tcpip.FullAddress
	// received is when the last datagram that was read had come, in nanoseconds since
	// 1970; 0 for never.
	received atomic.Int64
}

func (o *options) init() { o.lowat.Store(1) }

func (s *Socket) inherit(from *Socket, ep tcpip.Endpoint) {}

func (s *Socket) applyAll(ep tcpip.Endpoint) {}

func (s *Socket) sendControl(o *tcpip.WriteOptions, list []socket.ControlMessage) (int, error) {
	return 0, nil
}
func (s *Socket) receivedControl(m *tcpip.ReceivableControlMessages) []socket.ControlMessage {
	return nil
}

// Option implements socket.Socket.
func (s *Socket) Option(c vfs.Caller, level, name int32) ([]byte, error) {
	if level == unix.SOL_SOCKET {
		if v, ok := s.TimeoutOption(name); ok {
			return v, nil
		}
		switch name {
		case unix.SO_TYPE:
			return int32Bytes(s.typ), nil
		case unix.SO_ERROR:
			n, _ := s.takeError(s.ep.Load()).(unix.Errno)
			return int32Bytes(int32(n)), nil
		}
	}
	return nil, unix.ENOPROTOOPT
}

// SetOption implements socket.Socket.
func (s *Socket) SetOption(c vfs.Caller, level, name int32, value []byte) error {
	if level == unix.SOL_SOCKET {
		if ok, err := s.SetTimeoutOption(name, value); ok {
			return err
		}
		if name == unix.SO_REUSEADDR {
			s.ep.Load().SocketOptions().SetReuseAddress(true)
			return nil
		}
	}
	return unix.ENOPROTOOPT
}

func int32Bytes(v int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }

// Info implements socket.Listed.
func (s *Socket) Info() socket.Info {
	e := s.ep.Load()
	i := socket.Info{Family: s.family, Type: s.typ, Protocol: s.protocol, Inode: s.ino.Ino(), UID: s.cred.FSUID}
	if local, err := e.GetLocalAddress(); err == nil {
		i.Local = addrPort(s.family, local)
	}
	return i
}
