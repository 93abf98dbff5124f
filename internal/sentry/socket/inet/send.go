package inet

import (
	"sync/atomic"
	"time"

	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Send implements socket.Socket.
func (s *Socket) Send(c vfs.Caller, p []byte, m *socket.Message) (int, error) {
	if len(m.Rights) > 0 || m.HasCreds {
		m.DropRights() // AF_INET takes no notice of them
	}
	if s.stream() {
		if err := s.sendControlStream(c, m.Control); err != nil {
			return 0, err
		}
		return s.sendStream(c, p, m.Flags)
	}
	return s.sendDatagram(c, p, m)
}

// Write implements vfs.File.
func (s *Socket) Write(c vfs.Caller, p []byte, off int64, _ uint32) (int, int64, error) {
	var n int
	var err error
	if s.stream() {
		n, err = s.sendStream(c, p, 0)
	} else {
		var m socket.Message
		n, err = s.sendDatagram(c, p, &m)
	}
	return n, off, err
}

// sendStream queues as much of p as there is room for.
func (s *Socket) sendStream(c vfs.Caller, p []byte, flags int32) (int, error) {
	e := s.ep.Load()
	if s.shut.Load()&sendShut != 0 {
		if err := s.takeError(e); err != nil {
			return 0, err
		}
		return 0, unix.EPIPE
	}
	s.sendMu.Lock()
	if n := s.end.Load(); n != nil {
		s.woke.Store(!n.peer.wait.Empty())
		if done, ok, err := s.sendNear(n, p, flags&unix.MSG_OOB != 0); ok {
			s.sendMu.Unlock()
			return done, err
		}
	}
	if !s.chargeSend(e) {
		s.sendMu.Unlock()
		return 0, unix.ENOBUFS
	}
	s.fitOptions(e, s.headerOptions(), s.extensions())
	more := flags&unix.MSG_MORE != 0
	if more {
		e.SocketOptions().SetCorkOption(true)
	}
	// The bytes are in memory already: reading them with the endpoint's lock held takes
	// less time than giving it back for that.
	n, terr := s.write(c, e, p, tcpip.WriteOptions{Atomic: true})
	s.sentBefore += n
	if !more && s.moreStream.Swap(more) || more {
		s.moreStream.Store(more)
		if !more && !s.cork.Load() {
			e.SocketOptions().SetCorkOption(false)
		}
	}
	s.sendMu.Unlock()
	switch terr.(type) {
	case nil:
		return int(n), nil
	case *tcpip.ErrClosedForSend:
		if err := s.takeError(e); err != nil {
			return 0, err
		}
		return 0, unix.EPIPE
	case *tcpip.ErrWouldBlock:
		if len(p) == 0 && e.state() != tcp.StateSynSent {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	// The endpoint has told the error that ended the connection.
	s.err.Store(0)
	return 0, errno(terr)
}

// putter is a caller that can put off what it sends.
type putter interface {
	PutsOff() bool
	Later(platform.Later)
}

// write gives the endpoint p. What leaves the sandbox may wait while the caller goes on. s.sendMu
// is held.
func (s *Socket) write(c vfs.Caller, e *endpoint, p []byte, opts tcpip.WriteOptions) (int64, tcpip.Error) {
	s.source.Reset(p)
	defer s.source.Reset(nil)
	t, ok := c.(putter)
	if !ok || !t.PutsOff() {
		return e.Write(&s.source, opts)
	}
	h := s.net.Hold()
	h.Begin()
	n, err := e.Write(&s.source, opts)
	if h.End() {
		t.Later(h)
	}
	return n, err
}

// maxDatagram is how much a UDP datagram of IPv4 holds.
const maxDatagram = 65507

func (s *Socket) sendDatagram(c vfs.Caller, p []byte, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	e := s.ep.Load()
	var opts tcpip.WriteOptions
	var to tcpip.FullAddress
	if m.Addr != nil && !(s.family.Load() == unix.AF_INET6 && len(m.Addr) >= 2 && family(m.Addr) == unix.AF_UNSPEC) {
		var err error
		if to, err = s.destination(m.Addr); err != nil {
			return 0, err
		}
		if to.Port == 0 && s.sort() == ofUDP {
			return 0, unix.EINVAL
		}
		if s.v6Only(to) {
			return 0, unix.ENETUNREACH
		}
		if err := s.permit(c, to); err != nil {
			return 0, err
		}
	} else if s.net.Restricted() {
		if to, err := s.peer(e); err == nil {
			if err := s.permit(c, to); err != nil {
				return 0, err
			}
		}
	}
	beside, err := s.sendControl(c, e, to, &opts, m.Control)
	if err != nil {
		return 0, err
	}
	if to.Addr.BitLen() == 0 && s.shut.Load()&sendShut != 0 {
		if _, err := s.peer(e); err != nil {
			return 0, unix.EDESTADDRREQ
		}
	}
	if err := s.takeError(e); err != nil {
		return 0, err
	}
	if s.shut.Load()&sendShut != 0 {
		return 0, unix.EPIPE
	}
	if s.picksPort() {
		s.mu.Lock()
		terr := s.pickPort(e)
		s.mu.Unlock()
		if terr != nil {
			return 0, autobindError(terr)
		}
	}
	nic, err := s.leaves(e)
	if err != nil {
		return 0, err
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if to.Addr.BitLen() != 0 {
		if to.NIC == 0 {
			to.NIC = nic
		}
		if err := s.leaveTo(&to); err != nil {
			return 0, err
		}
		s.to = to
		opts.To = &s.to
	}
	if s.stamps = s.TimestampingFlags() & sentStamps; beside.stamped {
		s.stamps = beside.stamps
	}
	flow := beside.flow
	if !beside.flowed {
		if flow = s.ofPeer.Load(); opts.To != nil {
			flow = s.flowOf(m.Addr)
		}
	}
	if flow != 0 {
		s.ofNext.Store(flow)
		defer s.ofNext.Store(0)
		s.own(e)
	}
	if len(m.Control) > 0 {
		undo, err := beside.apply(s, e, &opts)
		if err != nil {
			return 0, err
		}
		defer undo()
	}
	if s.net.Steered() {
		from := s.from
		defer func() { s.from = from }()
		if err := s.steerDatagram(e, &opts); err != nil {
			return 0, err
		}
	}
	if s.sendsHeader(e) && s.headerOptions() != nil {
		return 0, unix.EINVAL
	}
	if m.Flags&unix.MSG_MORE != 0 || s.cork.Load() {
		return s.grow(e, p, opts.To)
	}
	if s.corked != nil {
		return s.flush(c, e, p, opts)
	}
	if beside.segment > 0 && len(p) > beside.segment {
		return s.sendSegments(c, e, p, beside.segment, opts)
	}
	return s.sendOne(c, e, p, opts)
}

// awaited counts datagrams that came while somebody waited for them: over lo they come
// before the send has ended.
var awaited atomic.Uint32

// Woke reports, once, whether the last send woke who waited for it.
func (s *Socket) Woke() bool { return s.woke.Swap(false) }

// sendOne sends a datagram. s.sendMu is held.
func (s *Socket) sendOne(c vfs.Caller, e *endpoint, p []byte, opts tcpip.WriteOptions) (int, error) {
	if shmem.Buffers.Room() < maxPacket {
		return 0, unix.ENOBUFS
	}
	if s.exceeds(e, opts.To, len(p)) {
		s.tooLong(opts.To, p)
		return 0, unix.EMSGSIZE
	}
	if s.stamps == 0 || s.sort() != ofUDP {
		return s.transmit(c, e, p, opts)
	}
	at := time.Now()
	n, err := s.transmit(c, e, p, opts)
	if err == nil {
		s.tellSent(e, p, opts.To, at)
	}
	return n, err
}

// transmit is sendOne for what may be sent. s.sendMu is held.
func (s *Socket) transmit(c vfs.Caller, e *endpoint, p []byte, opts tcpip.WriteOptions) (int, error) {
	if s.from.BitLen() != 0 {
		return s.sendFrom(e, p, opts)
	}
	before := awaited.Load()
	if s.sendWithin(e, p, &opts) {
		s.woke.Store(awaited.Load() != before)
		return len(p), nil
	}
	if s.toLoopback(e, opts.To) {
		s.from = loopback4Address
		n, err := s.sendFrom(e, p, opts)
		s.from = tcpip.Address{}
		s.woke.Store(awaited.Load() != before)
		return n, err
	}
	if s.isRaw() {
		if long, err := s.sendRaw(e, p, &opts); err != nil {
			return 0, err
		} else if long {
			return len(p), nil
		}
	}
	_, terr := s.write(c, e, p, opts)
	s.woke.Store(awaited.Load() != before)
	switch terr.(type) {
	case nil:
		return len(p), nil
	case *tcpip.ErrMessageTooLong:
		s.tooLong(opts.To, p)
	case *tcpip.ErrInvalidEndpointState:
		if s.lostInside(e, opts.To) {
			return len(p), nil
		}
	}
	return 0, autobindError(terr)
}

// toLoopback reports whether the source of a datagram is for sourceTo to say, not for the stack.
func (s *Socket) toLoopback(e *endpoint, to *tcpip.FullAddress) bool {
	if to == nil || s.sort() != ofUDP || !s.net.LoopbackUp() {
		return false
	}
	local, err := e.GetLocalAddress()
	return err == nil && needsSource(unmapped(s.family.Load(), *to).Addr(), local.Addr)
}

// lostInside reports whether a datagram goes to an address of IPv4 of this namespace's own while lo is
// down, which drops it: Linux keeps such addresses reachable.
func (s *Socket) lostInside(e *endpoint, to *tcpip.FullAddress) bool {
	if s.net.LoopbackUp() {
		return false
	}
	if to == nil {
		peer, err := s.peer(e)
		if err != nil {
			return false
		}
		to = &peer
	}
	ip := unmapped(s.family.Load(), *to).Addr()
	return ip.Is4() && (ip.IsLoopback() || s.net.Stack().CheckLocalAddress(0, networkOf(ip), tcpip.AddrFromSlice(ip.AsSlice())) != 0)
}

// maxSegments is how many datagrams UDP_SEGMENT makes of one send (UDP_MAX_SEGMENTS).
const maxSegments = 128

// sendSegments sends p as datagrams of a size (UDP_SEGMENT). s.sendMu is held.
func (s *Socket) sendSegments(c vfs.Caller, e *endpoint, p []byte, size int, opts tcpip.WriteOptions) (int, error) {
	if len(p) > maxDatagram {
		return 0, unix.EMSGSIZE
	}
	if len(p) > size*maxSegments {
		return 0, unix.EINVAL
	}
	at, stamps := time.Now(), s.stamps
	s.stamps = 0
	for done := 0; done < len(p); done += size {
		if _, err := s.sendOne(c, e, p[done:min(done+size, len(p))], opts); err != nil && done == 0 {
			return 0, err
		}
		// What the rest meets is what happens to datagrams on their way.
	}
	if s.stamps = stamps; stamps != 0 && s.sort() == ofUDP {
		s.tellSent(e, p, opts.To, at) // of all of them at once
	}
	return len(p), nil
}

// grow adds p to the datagram that is not complete yet, whose first part says where it goes, but for redirectCorked.
// s.sendMu is held.
func (s *Socket) grow(e *endpoint, p []byte, to *tcpip.FullAddress) (int, error) {
	if len(s.corked)+len(p) > maxDatagram {
		return 0, unix.EMSGSIZE
	}
	if s.corked == nil {
		if to == nil {
			peer, err := s.peer(e)
			if err != nil {
				return 0, unix.EDESTADDRREQ
			}
			to = &peer
		}
		if !charge(maxPacket) {
			return 0, unix.ENOBUFS
		}
		s.charges.send = maxPacket
		s.corked, s.corkedTo = []byte{}, *to
	}
	s.corked = append(s.corked, p...)
	return len(p), nil
}

// redirectCorked has the datagram that is not complete yet go to the peer that the socket has been given meanwhile. As
// on Linux that is for IPv4 only. A policy has been asked about no other address than that of the first part.
func (s *Socket) redirectCorked(peer tcpip.FullAddress) {
	if s.net.Restricted() {
		return
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	if s.corked != nil && is4(s.corkedTo.Addr) && is4(peer.Addr) {
		s.corkedTo = peer
	}
}

// is4 reports whether an address is one of IPv4, be it as AF_INET6 has it.
func is4(a tcpip.Address) bool {
	return a.Len() == header.IPv4AddressSize || header.IsV4MappedAddress(a)
}

// flush sends the datagram that has grown, with p for its end. s.sendMu is held.
func (s *Socket) flush(c vfs.Caller, e *endpoint, p []byte, opts tcpip.WriteOptions) (int, error) {
	whole := append(s.corked, p...)
	s.corked = nil
	shmem.Buffers.Uncharge(s.charges.send)
	s.charges.send = 0
	to := s.corkedTo
	s.corkedTo = tcpip.FullAddress{}
	if len(whole) > maxDatagram {
		return 0, unix.EMSGSIZE
	}
	s.to = to
	opts.To = &s.to
	if _, err := s.sendOne(c, e, whole, opts); err != nil {
		return 0, err
	}
	return len(p), nil
}
