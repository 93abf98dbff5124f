package inet

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// errorQueue holds what IP_RECVERR and IPV6_RECVERR ask for: each error that a datagram of
// the socket met, with the beginning of that datagram (ip(7)).
//
// The stack tells endpoints of few of them, so the socket listens to ICMP itself. What is
// told of MSG_ZEROCOPY and SO_TIMESTAMPING is in the same queue (zerocopy.go, sent.go).
type errorQueue struct {
	// on4 and on6 say that the option of a family is set, and that the stack knows of it once listenMu, which comes
	// after optionMu, is released.
	on4, on6 atomic.Bool
	listenMu sync.Mutex

	errorMu sync.Mutex
	list    []*queuedError
	// count is the length of the list.
	count atomic.Int32
}

// maxErrors is how many errors a socket keeps; further ones are lost.
const maxErrors = 64

// errorOverhead is what an error is charged beside the datagram's bytes.
const errorOverhead = 256

// queuedError is an error with the datagram that met it.
type queuedError struct {
	six bool
	// errno, origin, typ, code, info and last (ee_data) are those of struct sock_extended_err.
	errno             unix.Errno
	origin, typ, code uint8
	info, last        uint32
	// to is where the datagram was going, offender who sent the error.
	to, offender tcpip.FullAddress
	data         []byte
	// at is when a datagram was sent that this tells of, or zero.
	at time.Time
}

// setReceiveErrors is IP_RECVERR or IPV6_RECVERR.
func (s *Socket) setReceiveErrors(six, on bool) {
	if s.stream() {
		return // a stream's errors are its connection's
	}
	flag, network, transport := &s.errors.on4, header.IPv4ProtocolNumber, header.ICMPv4ProtocolNumber
	if six {
		flag, network, transport = &s.errors.on6, header.IPv6ProtocolNumber, header.ICMPv6ProtocolNumber
	}
	s.errors.listenMu.Lock()
	defer s.errors.listenMu.Unlock()
	if flag.Swap(on) == on {
		return
	}
	if on {
		s.net.Stack().RegisterRawTransportEndpoint(network, transport, (*errorListener)(s))
	} else {
		s.net.Stack().UnregisterRawTransportEndpoint(network, transport, (*errorListener)(s))
	}
	if !s.errors.on4.Load() && !s.errors.on6.Load() {
		s.dropErrors((*queuedError).isError)
	}
}

// endErrors ends all that for a socket that is closed.
func (s *Socket) endErrors() {
	s.setReceiveErrors(false, false)
	s.setReceiveErrors(true, false)
	if s.errors.any() {
		s.dropErrors(func(*queuedError) bool { return true })
	}
}

// dropErrors takes away what matches.
func (s *Socket) dropErrors(match func(*queuedError) bool) {
	q := &s.errors
	q.errorMu.Lock()
	defer q.errorMu.Unlock()
	q.list = slices.DeleteFunc(q.list, func(e *queuedError) bool {
		gone := match(e)
		if gone {
			shmem.Buffers.Uncharge(int64(len(e.data) + errorOverhead))
		}
		return gone
	})
	q.count.Store(int32(len(q.list)))
}

// any reports whether there is an error to be received.
func (q *errorQueue) any() bool { return q.count.Load() > 0 }

// isError reports whether it is one, and not what MSG_ZEROCOPY or SO_TIMESTAMPING tells.
func (e *queuedError) isError() bool {
	return e.origin != unix.SO_EE_ORIGIN_ZEROCOPY && e.origin != unix.SO_EE_ORIGIN_TIMESTAMPING
}

// fromICMP reports whether the error came from elsewhere.
func (e *queuedError) fromICMP() bool { return e.origin != unix.SO_EE_ORIGIN_LOCAL && e.isError() }

// put queues an error.
func (s *Socket) put(e *queuedError) {
	q := &s.errors
	q.errorMu.Lock()
	q.add(e)
	q.errorMu.Unlock()
	s.wait.Notify(waiter.Err | waiter.Pri)
}

// add adds an error to the list if there is room. q.errorMu is held.
func (q *errorQueue) add(e *queuedError) {
	if len(q.list) < maxErrors && shmem.Buffers.Charge(int64(len(e.data)+errorOverhead)) {
		q.list = append(q.list, e)
		q.count.Store(int32(len(q.list)))
	}
}

// recvError is a receive with MSG_ERRQUEUE. It never waits.
func (s *Socket) recvError(p []byte, m *socket.Message) (int, error) {
	q := &s.errors
	q.errorMu.Lock()
	defer q.errorMu.Unlock()
	if len(q.list) == 0 {
		return 0, unix.EAGAIN
	}
	e := q.list[0]
	q.list = slices.Delete(q.list, 0, 1)
	q.count.Store(int32(len(q.list)))
	shmem.Buffers.Uncharge(int64(len(e.data) + errorOverhead))
	if !slices.ContainsFunc(q.list, (*queuedError).fromICMP) && e.fromICMP() {
		s.err.Store(0) // calls have nothing to tell any more
	}
	n := copy(p, e.data)
	m.Flags = unix.MSG_ERRQUEUE
	if n < len(e.data) {
		m.Flags |= unix.MSG_TRUNC
	}
	if e.isError() {
		m.Addr = sockaddr(s.family.Load(), e.to)
	}
	level, typ := int32(unix.IPPROTO_IP), int32(unix.IP_RECVERR)
	if s.family.Load() == unix.AF_INET6 {
		level, typ = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	if !e.at.IsZero() {
		m.Control = s.AppendSent(m.Control, e.at)
	}
	m.Control = append(m.Control, socket.ControlMessage{Level: level, Type: typ, Data: e.bytes(s.family.Load())})
	return len(e.data), nil
}

// bytes are struct sock_extended_err, and the offender's address, or as much room for none.
func (e *queuedError) bytes(family int32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(e.errno))
	b = append(b, e.origin, e.typ, e.code, 0)
	b = binary.LittleEndian.AppendUint32(b, e.info)
	b = binary.LittleEndian.AppendUint32(b, e.last)
	if e.offender.Addr.BitLen() != 0 {
		return append(b, sockaddr(family, e.offender)...)
	}
	if family == unix.AF_INET {
		return append(b, make([]byte, sizeofSockaddr4)...)
	}
	return append(b, make([]byte, sizeofSockaddr6)...)
}

// tooLong queues the error of a datagram that is longer than the way to its
// destination takes, as a local one.
func (s *Socket) tooLong(to *tcpip.FullAddress, p []byte) {
	if !s.errors.on4.Load() && !s.errors.on6.Load() {
		return
	}
	e := queuedError{errno: unix.EMSGSIZE, origin: unix.SO_EE_ORIGIN_LOCAL, six: s.family.Load() == unix.AF_INET6}
	if to != nil {
		e.to = *to
	} else if peer, err := s.peer(s.ep.Load()); err == nil {
		e.to = peer
	}
	e.info = uint32(s.mtuTo(s.ep.Load(), e.to))
	s.put(&e)
}

// errorListener is a Socket as the stack knows it that listens to ICMP.
type errorListener Socket

// HandlePacket implements stack.RawTransportEndpoint.
func (l *errorListener) HandlePacket(pkt *stack.PacketBuffer) {
	s := (*Socket)(l)
	view := stack.PayloadSince(pkt.NetworkHeader())
	defer view.Release()
	var e queuedError
	var inner []byte
	var ok bool
	if pkt.NetworkProtocolNumber == header.IPv4ProtocolNumber {
		e, inner, ok = parseError4(view.AsSlice())
	} else {
		e, inner, ok = parseError6(view.AsSlice())
	}
	if !ok {
		return
	}
	if !s.concerns(&e, inner) {
		return
	}
	e.to.NIC, e.offender.NIC = pkt.NICID, pkt.NICID
	_, err := s.peer(s.ep.Load())
	if connected := err == nil; !(connected && e.errno == unix.ECONNREFUSED && s.protocol == unix.IPPROTO_UDP) {
		// Of the others the endpoint has been told.
		s.err.CompareAndSwap(0, uint32(e.errno))
	}
	s.put(&e)
}

// innerPacket is the beginning of the packet that an ICMP message is about.
type innerPacket struct {
	protocol uint8
	from     tcpip.Address
	payload  []byte
}

// concerns reports whether an error is about a datagram of the socket's, which it leaves in
// e, without its header.
func (s *Socket) concerns(e *queuedError, raw []byte) bool {
	inner, ok := parseInner(e, raw)
	if !ok || int32(inner.protocol) != s.protocol {
		return false
	}
	ep := s.ep.Load()
	local, err := ep.GetLocalAddress()
	if err != nil {
		return false
	}
	peer, err := s.peer(ep)
	connected := err == nil
	if local.Addr.BitLen() != 0 && local.Addr != inner.from || connected && peer.Addr != e.to.Addr {
		return false
	}
	p := inner.payload
	switch {
	case s.isRaw():
	case s.protocol == unix.IPPROTO_UDP:
		if len(p) < header.UDPMinimumSize {
			return false
		}
		h := header.UDP(p)
		if h.SourcePort() != local.Port || connected && h.DestinationPort() != peer.Port {
			return false
		}
		e.to.Port = h.DestinationPort()
		p = p[header.UDPMinimumSize:]
	default: // an echo request, which the identifier in its second word tells the socket of
		if len(p) < header.ICMPv4MinimumSize || binary.BigEndian.Uint16(p[4:]) != local.Port {
			return false
		}
	}
	e.data = append([]byte(nil), p...)
	return true
}

// parseInner reads the header of the packet within an error, and where it was going.
func parseInner(e *queuedError, raw []byte) (in innerPacket, ok bool) {
	if e.six {
		if len(raw) < header.IPv6MinimumSize {
			return in, false
		}
		h := header.IPv6(raw)
		e.to.Addr = h.DestinationAddress()
		protocol, payload := skipExtensions(h.NextHeader(), raw[header.IPv6MinimumSize:])
		return innerPacket{protocol, h.SourceAddress(), payload}, true
	}
	if len(raw) < header.IPv4MinimumSize {
		return in, false
	}
	h := header.IPv4(raw)
	n := int(h.HeaderLength())
	if n < header.IPv4MinimumSize || n > len(raw) {
		return in, false
	}
	e.to.Addr = h.DestinationAddress()
	return innerPacket{h.Protocol(), h.SourceAddress(), raw[n:]}, true
}

// skipExtensions returns what comes after the extension headers of IPv6, the first of which has a number, and that one's
// number: that of the fragments' header before a fragment that does not begin the packet.
func skipExtensions(next uint8, b []byte) (uint8, []byte) {
	for len(b) >= header.IPv6FragmentHeaderSize {
		size := header.IPv6FragmentHeaderSize
		switch next {
		case unix.IPPROTO_FRAGMENT:
			if header.IPv6Fragment(b).FragmentOffset() != 0 {
				return next, b
			}
		case unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS:
			size += 8 * int(b[1])
		default:
			return next, b
		}
		if size > len(b) {
			break
		}
		next, b = b[0], b[size:]
	}
	return next, b
}

// unreachable4 are the errors of ICMP's destination unreachable, by code (RFC 1122,
// 3.2.2.1; RFC 1812, 5.2.7.1).
var unreachable4 = [...]unix.Errno{
	unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENOPROTOOPT, unix.ECONNREFUSED, unix.EMSGSIZE, unix.EOPNOTSUPP, unix.ENETUNREACH,
	unix.EHOSTDOWN, unix.ENONET, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EHOSTUNREACH,
	unix.EHOSTUNREACH, unix.EHOSTUNREACH,
}

// unreachable6 are those of ICMPv6 (RFC 4443, 3.1).
var unreachable6 = [...]unix.Errno{
	unix.ENETUNREACH, unix.EACCES, unix.EHOSTUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EACCES, unix.EACCES,
}

// parseError4 reads an IPv4 packet with an ICMP error. inner is the beginning of the packet
// that it is about. ok is false for all other packets.
func parseError4(packet []byte) (e queuedError, inner []byte, ok bool) {
	if len(packet) < header.IPv4MinimumSize {
		return e, nil, false
	}
	ip := header.IPv4(packet)
	n := int(ip.HeaderLength())
	if n < header.IPv4MinimumSize || len(packet) < n+header.ICMPv4MinimumSize {
		return e, nil, false
	}
	h := header.ICMPv4(packet[n:])
	e = queuedError{origin: unix.SO_EE_ORIGIN_ICMP, typ: uint8(h.Type()), code: uint8(h.Code())}
	e.offender.Addr = ip.SourceAddress()
	switch h.Type() {
	case header.ICMPv4DstUnreachable:
		if int(e.code) >= len(unreachable4) {
			return e, nil, false
		}
		e.errno = unreachable4[e.code]
		if h.Code() == header.ICMPv4FragmentationNeeded {
			e.info = uint32(h.MTU())
		}
	case header.ICMPv4TimeExceeded:
		e.errno = unix.EHOSTUNREACH
	case header.ICMPv4ParamProblem:
		e.errno = unix.EPROTO
		e.info = uint32(h[4])
	default:
		return e, nil, false
	}
	return e, h[header.ICMPv4MinimumSize:], true
}

// parseError6 is the same of IPv6.
func parseError6(packet []byte) (e queuedError, inner []byte, ok bool) {
	if len(packet) < header.IPv6MinimumSize+header.ICMPv6MinimumSize {
		return e, nil, false
	}
	ip := header.IPv6(packet)
	if ip.NextHeader() != uint8(header.ICMPv6ProtocolNumber) {
		return e, nil, false // extension headers come before no error that is about us
	}
	h := header.ICMPv6(packet[header.IPv6MinimumSize:])
	e = queuedError{six: true, origin: unix.SO_EE_ORIGIN_ICMP6, typ: uint8(h.Type()), code: uint8(h.Code())}
	e.offender.Addr = ip.SourceAddress()
	switch h.Type() {
	case header.ICMPv6DstUnreachable:
		if int(e.code) >= len(unreachable6) {
			return e, nil, false
		}
		e.errno = unreachable6[e.code]
	case header.ICMPv6PacketTooBig:
		e.errno = unix.EMSGSIZE
		e.info = binary.BigEndian.Uint32(h[4:])
	case header.ICMPv6TimeExceeded:
		e.errno = unix.EHOSTUNREACH
	case header.ICMPv6ParamProblem:
		e.errno = unix.EPROTO
		e.info = binary.BigEndian.Uint32(h[4:])
	default:
		return e, nil, false
	}
	return e, h[header.ICMPv6MinimumSize:], true
}
