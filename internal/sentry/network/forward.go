package network

import (
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// What a steered namespace is to forward by no route is refused before the stack looks, which has routes to everywhere
// then, and so is what is too long for its link, which is another one than the stack thinks; its sender is told as Linux
// does.

// refuses reports whether a packet that comes in by a link is neither for the namespace nor to be forwarded. Its
// header need not be whole. The stats are those of the link.
func (f *fib) refuses(s *stack.Stack, link tcpip.NICID, stats stack.NetworkEndpointStats, protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) bool {
	size := header.IPv4MinimumSize
	if protocol == header.IPv6ProtocolNumber {
		size = header.IPv6MinimumSize
	}
	h, ok := pkt.Data().PullUp(size)
	if !ok {
		return false
	}
	k := RouteKey{In: int32(link), Mark: pkt.Mark}
	whole := k.readHeader(protocol, h)
	to := toStack(k.To)
	if !leaves(k.To) || !leaves(k.From) || s.CheckLocalAddress(0, protocol, to) != 0 || s.IsSubnetBroadcast(0, protocol, to) ||
		s.IsSubnetBroadcast(0, protocol, toStack(k.From)) {
		return false
	}
	length, lives, uncut := size+int(header.IPv6(h).PayloadLength()), header.IPv6(h).HopLimit() > 1, true
	if protocol == header.IPv4ProtocolNumber {
		ip := header.IPv4(h)
		size = int(ip.HeaderLength())
		length, lives, uncut = int(ip.TotalLength()), ip.TTL() > 1, ip.Flags()&header.IPv4FlagDontFragment != 0
	}
	if whole {
		const ports = 4
		if t, ok := pkt.Data().PullUp(size + ports); ok {
			k.readPorts(t[size:])
		}
	}
	a := f.find(k)
	mtu := int(f.links[a.hop.Link])
	switch {
	case a.err != 0:
	case uncut && lives && length > mtu && pkt.GSOOptions.Type == stack.GSONone:
		a.err = unix.EMSGSIZE
	default:
		return false
	}
	switch counts := stats.(stack.IPNetworkEndpointStats).IPStats().Forwarding; a.err {
	case unix.ENETUNREACH:
		counts.Unrouteable.Increment()
	case unix.EMSGSIZE:
		counts.PacketTooBig.Increment()
	}
	// Linux drops without a word what a blackhole takes.
	if a.err != unix.EINVAL && pkt.PktType == tcpip.PacketHost && s.AllowICMPMessage() {
		if protocol == header.IPv4ProtocolNumber {
			tellUnreachable4(s, link, &k, a.err, mtu, pkt)
		} else {
			tellUnreachable6(s, link, &k, a.err, mtu, pkt)
		}
	}
	return true
}

// tooLong reports whether a packet of IPv6 is to be forwarded and longer than its link takes, which its sender is told
// then: the stack would not say how long it may be. Its header need not be whole.
func (e *ipv6Endpoint) tooLong(pkt *stack.PacketBuffer) bool {
	b, ok := pkt.Data().PullUp(header.IPv6MinimumSize)
	if !ok || pkt.GSOOptions.Type != stack.GSONone || pkt.PktType != tcpip.PacketHost {
		return false
	}
	h := header.IPv6(b)
	length := header.IPv6MinimumSize + int(h.PayloadLength())
	if length <= header.IPv6MinimumMTU || length > pkt.Data().Size() || h.HopLimit() <= 1 {
		return false
	}
	var k RouteKey
	k.readHeader(header.IPv6ProtocolNumber, h)
	if !leaves(k.To) || !leaves(k.From) || e.stack.CheckLocalAddress(0, header.IPv6ProtocolNumber, toStack(k.To)) != 0 {
		return false
	}
	r, err := e.stack.FindRoute(0, tcpip.Address{}, toStack(k.To), header.IPv6ProtocolNumber, false)
	if err != nil {
		return false
	}
	defer r.Release()
	mtu := int(r.MTU()) + header.IPv6MinimumSize
	if length <= mtu {
		return false
	}
	e.Stats().(stack.IPNetworkEndpointStats).IPStats().Forwarding.PacketTooBig.Increment()
	if e.stack.AllowICMPMessage() {
		tellUnreachable6(e.stack, e.nic.ID(), &k, unix.EMSGSIZE, mtu, pkt)
	}
	return true
}

// The bytes of a packet that an error of ICMP and ICMPv6 brings back, whose own packets have 576 and 1280 at most.
const (
	most4 = 576 - header.IPv4MinimumSize - header.ICMPv4MinimumSize
	most6 = header.IPv6MinimumMTU - header.IPv6MinimumSize - header.ICMPv6DstUnreachableMinimumSize
)

// beginning returns the first bytes of a packet that has come in.
func beginning(pkt *stack.PacketBuffer, most int) buffer.Buffer {
	b := pkt.Data().ToBuffer()
	b.Truncate(int64(most))
	return b
}

// tellUnreachable4 tells the sender of a packet of IPv4, with the MTU if it is too long, unless that is an error itself or not the first fragment.
func tellUnreachable4(s *stack.Stack, link tcpip.NICID, k *RouteKey, why unix.Errno, mtu int, pkt *stack.PacketBuffer) {
	b, _ := pkt.Data().PullUp(header.IPv4MinimumSize)
	h := header.IPv4(b)
	if h.FragmentOffset() != 0 || !h.IsValid(pkt.Data().Size()) {
		return
	}
	if k.Protocol == unix.IPPROTO_ICMP {
		size := int(h.HeaderLength())
		b, ok := pkt.Data().PullUp(size + header.ICMPv4MinimumSize)
		if !ok {
			return
		}
		if t := header.ICMPv4(b[size:]).Type(); t != header.ICMPv4Echo && t != header.ICMPv4Timestamp {
			return
		}
	}
	code := header.ICMPv4NetUnreachable
	switch why {
	case unix.EHOSTUNREACH:
		code = header.ICMPv4HostUnreachable
	case unix.EACCES:
		code = header.ICMPv4AdminProhibited
	case unix.EMSGSIZE:
		code = header.ICMPv4FragmentationNeeded
	}
	r, err := s.FindRoute(link, tcpip.Address{}, toStack(k.From), header.IPv4ProtocolNumber, false)
	if err != nil {
		return
	}
	defer r.Release()
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()) + header.ICMPv4MinimumSize, Payload: beginning(pkt, most4),
	})
	defer out.DecRef()
	out.TransportProtocolNumber = header.ICMPv4ProtocolNumber
	icmp := header.ICMPv4(out.TransportHeader().Push(header.ICMPv4MinimumSize))
	icmp.SetType(header.ICMPv4DstUnreachable)
	icmp.SetCode(code)
	if why == unix.EMSGSIZE {
		icmp.SetMTU(uint16(mtu))
	}
	icmp.SetChecksum(header.ICMPv4Checksum(icmp, out.Data().Checksum()))
	const internetControl = 0xc0 // the precedence of what routers say
	if r.WritePacket(stack.NetworkHeaderParams{Protocol: header.ICMPv4ProtocolNumber, TTL: r.DefaultTTL(), TOS: internetControl}, out) == nil {
		s.Stats().ICMP.V4.PacketsSent.DstUnreachable.Increment()
	}
}

// tellUnreachable6 is that for IPv6.
func tellUnreachable6(s *stack.Stack, link tcpip.NICID, k *RouteKey, why unix.Errno, mtu int, pkt *stack.PacketBuffer) {
	if k.Protocol == unix.IPPROTO_ICMPV6 {
		b, ok := pkt.Data().PullUp(header.IPv6MinimumSize + header.ICMPv6MinimumSize)
		if !ok || header.ICMPv6(b[header.IPv6MinimumSize:]).Type() < header.ICMPv6EchoRequest {
			return
		}
	}
	typ, code := header.ICMPv6DstUnreachable, header.ICMPv6NetworkUnreachable
	switch why {
	case unix.EACCES:
		code = header.ICMPv6Prohibited
	case unix.EMSGSIZE:
		typ, code = header.ICMPv6PacketTooBig, header.ICMPv6UnusedCode
	}
	r, err := s.FindRoute(link, tcpip.Address{}, toStack(k.From), header.IPv6ProtocolNumber, false)
	if err != nil {
		return
	}
	defer r.Release()
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()) + header.ICMPv6DstUnreachableMinimumSize, Payload: beginning(pkt, most6),
	})
	defer out.DecRef()
	out.TransportProtocolNumber = header.ICMPv6ProtocolNumber
	icmp := header.ICMPv6(out.TransportHeader().Push(header.ICMPv6DstUnreachableMinimumSize))
	icmp.SetType(typ)
	icmp.SetCode(code)
	if why == unix.EMSGSIZE {
		icmp.SetMTU(uint32(mtu))
	}
	icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: icmp, Src: r.LocalAddress(), Dst: r.RemoteAddress(), PayloadCsum: out.Data().Checksum(), PayloadLen: out.Data().Size(),
	}))
	if r.WritePacket(stack.NetworkHeaderParams{Protocol: header.ICMPv6ProtocolNumber, TTL: r.DefaultTTL()}, out) == nil {
		if sent := s.Stats().ICMP.V6.PacketsSent; typ == header.ICMPv6PacketTooBig {
			sent.PacketTooBig.Increment()
		} else {
			sent.DstUnreachable.Increment()
		}
	}
}
