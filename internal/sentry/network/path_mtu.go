package network

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The stack's TCP makes its segments as small as their path takes. Of datagrams it thinks nothing: those that are too long for
// a link on their way would be lost for ever. Here is kept what routers say of them, and what is longer is cut.

const (
	// maxPaths bounds how many destinations are known, and pathLife how long (net.ipv4.route.mtu_expires).
	maxPaths = 1024
	pathLife = 10 * time.Minute
	// lowestPathMTU is the least that is believed of IPv4 (net.ipv4.route.min_pmtu); more fragments do no good.
	lowestPathMTU = 552
)

// pathMTUs are those of the paths to destinations that take less than their first link.
type pathMTUs struct {
	known atomic.Int32 // how many there are
	mu    sync.Mutex
	paths map[tcpip.Address]pathMTU
}

type pathMTU struct {
	mtu   int
	until time.Time
}

// of returns the MTU of the path to an address, or 0.
func (p *pathMTUs) of(to tcpip.Address) int {
	if p.known.Load() == 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	path, ok := p.paths[to]
	if ok && time.Now().After(path.until) {
		delete(p.paths, to)
		p.known.Store(int32(len(p.paths)))
		return 0
	}
	return path.mtu
}

// Prober is the owner of packets that may be as long as their first link takes, whatever routers have said.
type Prober interface {
	tcpip.PacketOwner
	Probes(six bool) bool
}

// least returns what the path of a packet takes that is sent, if that is less than its length, or 0. TCP has seen to
// that itself.
func (p *pathMTUs) least(r *stack.Route, params stack.NetworkHeaderParams, pkt *stack.PacketBuffer, length int) int {
	m := p.of(r.RemoteAddress())
	if m == 0 || m >= length || params.Protocol == header.TCPProtocolNumber || r.Loop() != stack.PacketOut {
		return 0
	}
	if owner, ok := pkt.Owner.(Prober); ok && owner.Probes(r.NetProto() == header.IPv6ProtocolNumber) {
		return 0
	}
	return m
}

// learn takes note of what a router says.
func (p *pathMTUs) learn(to tcpip.Address, mtu int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if was, ok := p.paths[to]; ok && was.mtu < mtu && time.Now().Before(was.until) {
		return
	}
	if p.paths == nil {
		p.paths = make(map[tcpip.Address]pathMTU)
	}
	for other := range p.paths {
		if len(p.paths) < maxPaths {
			break
		}
		delete(p.paths, other)
	}
	p.paths[to] = pathMTU{mtu, time.Now().Add(pathLife)}
	p.known.Store(int32(len(p.paths)))
}

// forget is for when ways change.
func (p *pathMTUs) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.paths)
	p.known.Store(0)
}

// PathMTU is that of the path to an address, or 0 if it is that of the first link.
func (n *Namespace) PathMTU(to tcpip.Address) int { return n.paths.of(to) }

// hear4 looks for a router's word in a packet of IPv4 that comes in, whose header need not be whole.
func (p *pathMTUs) hear4(s *stack.Stack, pkt *stack.PacketBuffer) {
	b, ok := pkt.Data().PullUp(header.IPv4MinimumSize)
	if !ok || header.IPv4(b).TransportProtocol() != header.ICMPv4ProtocolNumber || fragment(b) {
		return
	}
	size := int(header.IPv4(b).HeaderLength())
	b, ok = pkt.Data().PullUp(size + header.ICMPv4MinimumSize + header.IPv4MinimumSize)
	if !ok {
		return
	}
	icmp := header.ICMPv4(b[size:])
	inner := header.IPv4(b[size+header.ICMPv4MinimumSize:])
	if icmp.Type() != header.ICMPv4DstUnreachable || icmp.Code() != header.ICMPv4FragmentationNeeded || inner.FragmentOffset() != 0 {
		return
	}
	whole := pkt.Data().AsRange().ToSlice()
	if total := int(header.IPv4(b).TotalLength()); total < size || total > len(whole) || checksum.Checksum(whole[size:total], 0) != 0xffff {
		return
	}
	mtu := int(icmp.MTU())
	content := size + header.ICMPv4MinimumSize + int(inner.HeaderLength())
	if mtu == 0 || mtu >= int(inner.TotalLength()) || content > len(whole) ||
		!sends(s, header.IPv4ProtocolNumber, inner.TransportProtocol(), inner.SourceAddress(), inner.DestinationAddress(), whole[content:]) {
		return
	}
	p.learn(inner.DestinationAddress(), max(mtu, lowestPathMTU))
}

// hear6 is that for IPv6.
func (p *pathMTUs) hear6(s *stack.Stack, pkt *stack.PacketBuffer) {
	const start = header.IPv6MinimumSize + header.ICMPv6PacketTooBigMinimumSize
	b, ok := pkt.Data().PullUp(start + header.IPv6MinimumSize)
	if !ok || header.IPv6(b).TransportProtocol() != header.ICMPv6ProtocolNumber {
		return
	}
	icmp := header.ICMPv6(b[header.IPv6MinimumSize:])
	if icmp.Type() != header.ICMPv6PacketTooBig {
		return
	}
	outer := header.IPv6(b)
	whole := pkt.Data().AsRange().ToSlice()
	length := int(outer.PayloadLength())
	sum := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, outer.SourceAddress(), outer.DestinationAddress(), uint16(length))
	if header.IPv6MinimumSize+length > len(whole) || checksum.Checksum(whole[header.IPv6MinimumSize:header.IPv6MinimumSize+length], sum) != 0xffff {
		return
	}
	inner := header.IPv6(whole[start:])
	content, protocol := inner[header.IPv6MinimumSize:], inner.TransportProtocol()
	if protocol == header.IPv6FragmentHeader && len(content) >= header.IPv6FragmentHeaderSize && header.IPv6Fragment(content).FragmentOffset() == 0 {
		content, protocol = content[header.IPv6FragmentHeaderSize:], header.IPv6Fragment(content).TransportProtocol()
	}
	mtu := binary.BigEndian.Uint32(icmp[header.ICMPv6MinimumSize-4:])
	if mtu < header.IPv6MinimumMTU || int(mtu) >= header.IPv6MinimumSize+int(inner.PayloadLength()) ||
		!sends(s, header.IPv6ProtocolNumber, protocol, inner.SourceAddress(), inner.DestinationAddress(), content) {
		return
	}
	p.learn(inner.DestinationAddress(), int(mtu))
}

// sends reports whether a socket may have sent a datagram, which has these bytes behind its header of IP: who guesses no
// port of one is not believed.
func sends(s *stack.Stack, network tcpip.NetworkProtocolNumber, protocol tcpip.TransportProtocolNumber, from, to tcpip.Address, content []byte) bool {
	if len(content) < header.UDPMinimumSize {
		return false
	}
	id := stack.TransportEndpointID{LocalAddress: from, RemoteAddress: to}
	switch protocol {
	case header.UDPProtocolNumber:
		id.LocalPort, id.RemotePort = header.UDP(content).SourcePort(), header.UDP(content).DestinationPort()
	case header.ICMPv4ProtocolNumber, header.ICMPv6ProtocolNumber: // an echo request, whose identifier is as a port
		id.LocalPort = binary.BigEndian.Uint16(content[4:])
	default:
		return false
	}
	nic := s.CheckLocalAddress(0, network, from)
	return nic != 0 && s.FindTransportEndpoint(network, protocol, id, nic) != nil
}
