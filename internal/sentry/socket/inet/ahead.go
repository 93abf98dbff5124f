package inet

import (
	"sync/atomic"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// Who looks at datagrams beyond the first one (SO_PEEK_OFF) has them taken off the stack's queue,
// which shows no other: here they wait to be received. So do those that came before the endpoint was replaced.

// ahead are these datagrams, in the order in which they came. recvMu protects all but first. A socket has none until
// its program looks so.
type ahead struct {
	list []datagram
	// held is what they count for: up to a receive buffer, beside the stack's own.
	held int64
	// first is one more than the length of the first datagram, 0 without one.
	first atomic.Int64
}

type datagram struct {
	data []byte
	from tcpip.ReadResult
	// peeked says that an empty datagram has been looked at, which no offset tells.
	peeked bool
}

// chargeDatagram is what a datagram counts for beside its bytes.
const chargeDatagram = 512

func (d *datagram) charge() int64 { return int64(len(d.data)) + chargeDatagram }

// waits reports whether there is a datagram.
func (a *ahead) waits() bool { return a != nil && a.first.Load() != 0 }

// firstLength is the length of the first datagram.
func (a *ahead) firstLength() int { return int(max(a.first.Load()-1, 0)) }

// drop takes the first datagram away.
func (a *ahead) drop() {
	a.held -= a.list[0].charge()
	shmem.Buffers.Uncharge(a.list[0].charge())
	a.list[0] = datagram{}
	if a.list = a.list[1:]; len(a.list) > 0 {
		a.first.Store(int64(len(a.list[0].data)) + 1)
		return
	}
	a.list = nil
	a.first.Store(0)
}

// dropAhead is for a socket that is closed.
func (s *Socket) dropAhead() {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	for a := s.ahead.Load(); a.waits(); {
		a.drop()
	}
}

// fetch takes a datagram off the stack's queue. errOver if none will come, EAGAIN if there is none, or no room for
// it. s.recvMu is held.
func (s *Socket) fetch(a *ahead, e *endpoint) error {
	if a.held >= e.SocketOptions().GetReceiveBufferSize() {
		return unix.EAGAIN
	}
	room, err := s.roomOfNext(e)
	if err != nil {
		return err
	}
	d := datagram{data: make([]byte, min(s.queuedInStack(e), room))}
	if !shmem.Buffers.Charge(d.charge()) {
		return unix.ENOBUFS
	}
	s.sink = d.data
	res, terr := e.Read(&s.sink, tcpip.ReadOptions{NeedRemoteAddr: true})
	s.sink = nil
	if err := s.readError(e, terr); err != nil {
		shmem.Buffers.Uncharge(d.charge())
		return err
	}
	d.from = res
	if a.list = append(a.list, d); len(a.list) == 1 {
		a.first.Store(int64(len(d.data)) + 1)
	}
	a.held += d.charge()
	return nil
}

// keepReceived takes all off the queue of an endpoint that is to be replaced.
func (s *Socket) keepReceived(e *endpoint) {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	a := s.aheadOf()
	for {
		if s.fetch(a, e) != nil {
			return
		}
	}
}

// aheadOf is s.ahead, which it makes if need be. s.recvMu is held.
func (s *Socket) aheadOf() *ahead {
	a := s.ahead.Load()
	if a == nil {
		a = new(ahead)
		s.ahead.Store(a)
	}
	return a
}

// recvAhead takes the first datagram, or looks at the one at SO_PEEK_OFF, from there on. With MSG_TRUNC
// the result, and how far the next look is moved, is the whole datagram, as on Linux. s.recvMu is held.
func (s *Socket) recvAhead(e *endpoint, p []byte, flags int32, m *socket.Message) (int, error) {
	a := s.aheadOf()
	peek := flags&unix.MSG_PEEK != 0
	off := 0
	further := peek && s.peekOff.Get() >= 0
	if further {
		off = int(s.peekOff.Get())
	}
	var d *datagram
	for i := 0; ; i++ {
		if i == len(a.list) {
			if err := s.fetch(a, e); err != nil {
				return 0, err
			}
		}
		d = &a.list[i]
		if !further || off < len(d.data) || off == 0 && !d.peeked {
			break
		}
		off -= len(d.data)
	}
	n := copy(p, d.data[off:])
	// As on Linux all that is left of it is not cut, unless it fills p.
	s.tell(m, &d.from, d.data, len(p) < len(d.data) && len(p) <= len(d.data)-off, peek)
	if flags&unix.MSG_TRUNC != 0 {
		m.Beyond = min(len(d.data), len(p)) - n
		n = len(d.data)
	}
	if peek {
		d.peeked = len(d.data) == 0
		s.peekOff.Peeked(n)
		return n, nil
	}
	n = len(d.data)
	a.drop()
	s.peekOff.Taken(taken(n, len(p), flags))
	return n, nil
}

// taken is by how much SO_PEEK_OFF moves when a datagram of n bytes is received with room for some of them.
func taken(n, room int, flags int32) int {
	if flags&unix.MSG_TRUNC != 0 {
		return n
	}
	return min(n, room)
}
