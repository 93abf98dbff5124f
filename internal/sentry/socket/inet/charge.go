package inet

import (
	"sync/atomic"

	"coffer/internal/sentry/shmem"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// What sockets hold counts against shmem.Buffers. Of the stack's buffers only the size
// is known, not what is in them: so that counts, of what is sent from the first byte on, of
// what has come while there is any. A socket whose buffer there is no memory for gets the
// least; and where there is none for that either, senders are told ENOBUFS.
const (
	// chargeSocket is what a socket takes without any data, as measured.
	chargeSocket = 4 << 10
	// leastDatagram keeps all but one datagram out of a socket that there is no
	// memory for; leastStream closes a window.
	leastDatagram = 1
	leastStream   = 4 << 10
	// maxPacket is as much as a single packet has.
	maxPacket = 64 << 10
)

// charges are what a socket counts for.
type charges struct {
	// send is for what waits to be sent, of datagrams for the one that is not complete yet, with sendMu held.
	send int64
	// recv is for what waits to be received.
	recv atomic.Int64
	// shrunk is the size of the receive buffer that memory was lacking for, or 0.
	shrunk atomic.Int64
}

// chargeNew counts a new socket. ENOBUFS if there is no memory for it.
func chargeNew() error {
	if !charge(chargeSocket) {
		return unix.ENOBUFS
	}
	return nil
}

// charge takes n bytes, if need be after connections have been looked at that may have
// come to their end.
func charge(n int64) bool {
	if shmem.Buffers.Charge(n) {
		return true
	}
	settleOrphans()
	return shmem.Buffers.Charge(n)
}

// chargeSend counts a stream's buffer in the stack before something is put into it;
// false if there is no memory for the least. Until the peer within the namespace has
// accepted the connection, what it receives is its caller's to answer for. s.sendMu is held.
func (s *Socket) chargeSend(e *endpoint) bool {
	var other int64
	if s.calling.Load() {
		other = tcpRecvBuffer
	}
	want := e.SocketOptions().GetSendBufferSize() + other
	have := s.charges.send
	switch {
	case want == have:
		return true
	case want < have:
		shmem.Buffers.Uncharge(have - want)
	case !charge(want - have):
		least := int64(tcpSendBuffer) + other
		if have < least && !charge(least-have) {
			return false
		}
		want = max(have, least)
		e.SocketOptions().SetSendBufferSize(want-other, true)
	}
	s.charges.send = want
	return true
}

// chargeRecv counts the receive buffer, which is no longer empty. It is called with
// locks of the stack held.
func (s *Socket) chargeRecv(e *endpoint) {
	if s.charges.recv.Load() != 0 || s.stream() && e.state() == tcp.StateListen {
		return
	}
	size := e.SocketOptions().GetReceiveBufferSize()
	if !s.charges.recv.CompareAndSwap(0, size) || shmem.Buffers.Charge(size) {
		return
	}
	size = max(size, s.charges.shrunk.Load())
	if s.charges.recv.Store(maxPacket); !shmem.Buffers.Charge(maxPacket) {
		s.charges.recv.Store(0)
	}
	least := int64(leastDatagram)
	if s.stream() {
		least = leastStream
	}
	if size > least {
		s.charges.shrunk.Store(size)
		e.SocketOptions().SetReceiveBufferSize(least, false)
	}
}

// unchargeRecv is for a receive buffer that was found empty.
func (s *Socket) unchargeRecv(e *endpoint) {
	if n := s.charges.recv.Swap(0); n != 0 {
		shmem.Buffers.Uncharge(n)
	}
	if n := s.charges.shrunk.Swap(0); n != 0 {
		e.SocketOptions().SetReceiveBufferSize(n, false)
	}
	if e.Readiness(stackwaiter.ReadableEvents)&stackwaiter.EventIn != 0 {
		s.chargeRecv(e) // something came meanwhile
	}
}

// counted reports whether the receive buffer counts, or is small because it cannot.
func (s *Socket) counted() bool {
	return s.charges.recv.Load() != 0 || s.charges.shrunk.Load() != 0
}

// uncharge gives back all that the socket counted for, but for what it sends, which it
// returns.
func (s *Socket) uncharge() (sending int64) {
	s.sendMu.Lock()
	sending, s.charges.send = s.charges.send, 0
	s.sendMu.Unlock()
	shmem.Buffers.Uncharge(chargeSocket + s.charges.recv.Swap(0))
	return sending
}
