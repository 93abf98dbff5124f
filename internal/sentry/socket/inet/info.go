package inet

import (
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Info implements socket.Listed.
func (s *Socket) Info() socket.Info {
	e := s.ep.Load()
	i := socket.Info{
		Family: s.family.Load(), Type: s.typ, Protocol: s.protocol, Inode: s.ino.Ino(), UID: s.cred.FSUID,
		Device:        e.SocketOptions().GetBindToDevice(),
		State:         uint8(tcp.StateClose),
		ReceiveQueue:  uint32(s.queued(e)),
		SendQueue:     uint32(s.unsent(e)),
		ReceiveBuffer: uint32(shownRecvBuffer(s, s.bufferSet(unix.SO_RCVBUF))),
		SendBuffer:    uint32(shownSendBuffer(s, s.bufferSet(unix.SO_SNDBUF))),
		Drops:         s.drops(e),
		V6Only:        e.SocketOptions().GetV6Only(),
	}
	if local, err := e.GetLocalAddress(); err == nil {
		i.Local = addrPort(s.family.Load(), local)
	}
	peer, err := s.peer(e)
	i.Peer = addrPort(s.family.Load(), peer)
	switch {
	case s.stream():
		i.State = linuxState(e.state())
		i.TCP = s.tcpInfo()
		if e.state() == tcp.StateListen {
			i.ReceiveQueue, i.SendQueue = s.waiting(e), uint32(s.backlog.Load())
		}
		if i.State == uint8(tcp.StateTimeWait) {
			i.Inode, i.UID = 0, 0 // on Linux the socket is no part of the connection any more
		}
	case err == nil:
		i.State = uint8(tcp.StateEstablished)
	}
	return i
}
