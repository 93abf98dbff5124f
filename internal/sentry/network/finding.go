package network

import (
	"encoding/binary"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// For each packet that comes the stack finds out anew that its destination is an address of the interface, and that its
// source is none, nor a broadcast address there, for which it goes through all addresses; and it looks at the header
// again and again. That takes a tenth of what a short request costs. So here what was found of two addresses is kept until
// those of the interface change, and what comes from one for the other goes to TCP and UDP at once.

// findingsKept is how many findings of an interface are kept at most.
const findingsKept = 16

// findings are those of one of an interface's protocols. A is two addresses, as they stand in a header.
type findings[A comparable] struct {
	stack      *stack.Stack
	nic        stack.NetworkInterface
	endpoint   addressed
	dispatcher stack.TransportDispatcher
	// stats are those of the interface and of the stack.
	stats [2]*tcpip.IPStats

	kept [findingsKept]atomic.Pointer[finding[A]]
	// changes is how often the interface's addresses have changed.
	changes atomic.Uint64
}

// addressed is what the stack has for the protocol.
type addressed interface {
	stack.NetworkEndpoint
	stack.AddressableEndpoint
}

// finding is that the stack takes packets from one address for another. It holds as long as the addresses have not
// changed more often.
type finding[A comparable] struct {
	addresses A
	changes   uint64
}

func (f *findings[A]) init(s *stack.Stack, nic stack.NetworkInterface, endpoint addressed, d stack.TransportDispatcher) {
	f.stack, f.nic, f.endpoint, f.dispatcher = s, nic, endpoint, d
	f.stats = [...]*tcpip.IPStats{endpoint.Stats().(stack.IPNetworkEndpointStats).IPStats(), new(s.Stats().IP)}
}

// plainPacket is what the header of a packet says that has nothing else before that of TCP or UDP, and is no fragment.
type plainPacket[A comparable] struct {
	addresses A
	// last is the last byte of the source.
	last      uint8
	network   tcpip.NetworkProtocolNumber
	transport tcpip.TransportProtocolNumber
	// size is the header's, payload that of what comes after it.
	size, payload int
}

// plain4 is the plainPacket of IPv4, of which more may have come; ok says whether it is one.
func plain4(pkt *stack.PacketBuffer) (p plainPacket[[8]byte], ok bool) {
	const (
		noOptions = 4<<4 | header.IPv4MinimumSize/4
		fragment  = 0x3fff // more fragments, and the offset
	)
	b, ok := pkt.Data().PullUp(header.IPv4MinimumSize)
	if !ok || b[0] != noOptions || binary.BigEndian.Uint16(b[6:])&fragment != 0 {
		return p, false
	}
	h := header.IPv4(b)
	p = plainPacket[[8]byte]{
		addresses: [8]byte(b[12:]), last: b[15], network: header.IPv4ProtocolNumber, transport: h.TransportProtocol(),
		size: header.IPv4MinimumSize, payload: int(h.TotalLength()) - header.IPv4MinimumSize,
	}
	return p, p.sound(pkt) && (pkt.RXChecksumValidated || h.IsChecksumValid())
}

// plain6 is the same of IPv6.
func plain6(pkt *stack.PacketBuffer) (p plainPacket[[32]byte], ok bool) {
	b, ok := pkt.Data().PullUp(header.IPv6MinimumSize)
	if !ok || b[0]>>4 != 6 {
		return p, false
	}
	h := header.IPv6(b)
	p = plainPacket[[32]byte]{
		addresses: [32]byte(b[8:]), last: b[23], network: header.IPv6ProtocolNumber, transport: h.TransportProtocol(),
		size: header.IPv6MinimumSize, payload: int(h.PayloadLength()),
	}
	return p, p.sound(pkt)
}

func (p *plainPacket[A]) sound(pkt *stack.PacketBuffer) bool {
	return (p.transport == header.TCPProtocolNumber || p.transport == header.UDPProtocolNumber) &&
		p.payload > 0 && p.size+p.payload <= pkt.Data().Size()
}

// ends are where the packet comes from, and where it goes.
func (p *plainPacket[A]) ends(pkt *stack.PacketBuffer) (from, to tcpip.Address) {
	b, _ := pkt.Data().PullUp(p.size)
	if p.network == header.IPv4ProtocolNumber {
		return header.IPv4(b).SourceAddress(), header.IPv4(b).DestinationAddress()
	}
	return header.IPv6(b).SourceAddress(), header.IPv6(b).DestinationAddress()
}

// take handles a packet as the stack does, if it is one of which there is nothing to find out.
func (f *findings[A]) take(p *plainPacket[A], pkt *stack.PacketBuffer) bool {
	kept, now := &f.kept[p.last%findingsKept], f.changes.Load()
	if k := kept.Load(); k == nil || k.addresses != p.addresses || k.changes != now {
		if f.taken(p.ends(pkt)) {
			kept.Store(&finding[A]{p.addresses, now})
		}
		return false
	}
	if p.transport == header.UDPProtocolNumber && !f.wanted(p, pkt) {
		return false // the stack tells its sender
	}
	pkt.NetworkHeader().Consume(p.size)
	pkt.NetworkProtocolNumber = p.network
	pkt.Data().CapLength(p.payload)
	pkt.NICID = f.nic.ID()
	for _, s := range f.stats {
		s.PacketsReceived.Increment()
		s.ValidPacketsReceived.Increment()
		s.PacketsDelivered.Increment()
	}
	// What lacks a whole header of TCP or UDP is counted where it is delivered.
	f.stack.ParsePacketBufferTransport(p.transport, pkt)
	f.dispatcher.DeliverRawPacket(p.transport, pkt)
	// TCP itself answers what nobody wants.
	f.dispatcher.DeliverTransportPacket(p.transport, pkt)
	return true
}

// wanted reports whether there is a socket for a datagram.
func (f *findings[A]) wanted(p *plainPacket[A], pkt *stack.PacketBuffer) bool {
	b, ok := pkt.Data().PullUp(p.size + header.UDPMinimumSize)
	if !ok {
		return false
	}
	datagram := header.UDP(b[p.size:])
	from, to := p.ends(pkt)
	return f.stack.FindTransportEndpoint(p.network, p.transport, stack.TransportEndpointID{
		LocalPort: datagram.DestinationPort(), LocalAddress: to, RemotePort: datagram.SourcePort(), RemoteAddress: from,
	}, f.nic.ID()) != nil
}

// taken reports whether the stack takes packets with such addresses, of others for the interface.
func (f *findings[A]) taken(from, to tcpip.Address) bool {
	if f.nic.IsLoopback() || !ofOneHost(from) || !ofOneHost(to) || f.own(from) != nil {
		return false
	}
	found := f.own(to)
	if found == nil {
		return false
	}
	subnet := found.Subnet()
	return to.BitLen() != header.IPv4AddressSizeBits || !subnet.IsBroadcast(to)
}

// own is the address of the interface, or the one whose network has it for a broadcast address, or nil.
func (f *findings[A]) own(a tcpip.Address) stack.AddressEndpoint {
	return f.endpoint.AcquireAssignedAddress(a, false, stack.NeverPrimaryEndpoint, true)
}

// ofOneHost reports whether an address can be another host's, or the interface's own.
func ofOneHost(a tcpip.Address) bool {
	if a.BitLen() == header.IPv4AddressSizeBits {
		return a != header.IPv4Any && a != header.IPv4Broadcast && !header.IsV4LoopbackAddress(a) && !header.IsV4MulticastAddress(a)
	}
	return a != header.IPv6Any && !header.IsV6LoopbackAddress(a) && !header.IsV6MulticastAddress(a) && !fromStack(a).Is4In6()
}

// changed is to be called when the interface's addresses have changed.
func (f *findings[A]) changed() { f.changes.Add(1) }

// AddAndAcquirePermanentAddress implements stack.AddressableEndpoint.
func (e *ipv4Endpoint) AddAndAcquirePermanentAddress(a tcpip.AddressWithPrefix, properties stack.AddressProperties) (stack.AddressEndpoint, tcpip.Error) {
	defer e.findings.changed()
	return e.ipv4Link.AddAndAcquirePermanentAddress(a, properties)
}

// RemovePermanentAddress implements stack.AddressableEndpoint.
func (e *ipv4Endpoint) RemovePermanentAddress(a tcpip.Address) tcpip.Error {
	defer e.findings.changed()
	return e.ipv4Link.RemovePermanentAddress(a)
}

// AddAndAcquirePermanentAddress implements stack.AddressableEndpoint.
func (e *ipv6Endpoint) AddAndAcquirePermanentAddress(a tcpip.AddressWithPrefix, properties stack.AddressProperties) (stack.AddressEndpoint, tcpip.Error) {
	defer e.findings.changed()
	return e.ipv6Link.AddAndAcquirePermanentAddress(a, properties)
}

// RemovePermanentAddress implements stack.AddressableEndpoint.
func (e *ipv6Endpoint) RemovePermanentAddress(a tcpip.Address) tcpip.Error {
	defer e.findings.changed()
	return e.ipv6Link.RemovePermanentAddress(a)
}
