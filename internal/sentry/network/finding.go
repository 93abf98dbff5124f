package network

import (
	"encoding/binary"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// For each packet of IPv4 that comes the stack finds out anew that its destination is an address of the interface, and
// that its source is none, nor a broadcast address there, for which it goes through all addresses; and it looks at the header
// again and again. That takes a tenth of what a short request costs. So here what was found of two addresses is kept until
// those of the interface change, and what comes from one for the other goes to TCP and UDP at once.

// findingsKept is how many findings are kept at most.
const findingsKept = 16

// findings are those of an interface.
type findings struct {
	kept [findingsKept]atomic.Pointer[finding]
	// changes is how often the interface's addresses have changed.
	changes atomic.Uint64
}

// finding is that the stack takes packets from one address for another, as they stand in a header of IPv4. It holds as
// long as the addresses have not changed more often.
type finding struct {
	addresses uint64
	changes   uint64
}

// of is where the finding of two addresses is, if there is one.
func (f *findings) of(addresses uint64) *atomic.Pointer[finding] {
	return &f.kept[addresses>>32%findingsKept]
}

// plainPacket returns the length of a packet, of which there are so many bytes, and its addresses; ok says that it is one of
// TCP or UDP, no fragment, whose header has no options. b is at least that header.
func plainPacket(b []byte, size int) (length int, addresses uint64, ok bool) {
	const (
		noOptions = 4<<4 | header.IPv4MinimumSize/4
		fragment  = 0x3fff // more fragments, and the offset
	)
	length = int(binary.BigEndian.Uint16(b[2:]))
	ok = b[0] == noOptions && binary.BigEndian.Uint16(b[6:])&fragment == 0 &&
		(b[9] == uint8(header.TCPProtocolNumber) || b[9] == uint8(header.UDPProtocolNumber)) &&
		length >= header.IPv4MinimumSize && length <= size
	return length, binary.BigEndian.Uint64(b[12:]), ok
}

// takePacket handles a packet as the stack does, if it is one of which there is nothing to find out.
func (e *ipv4Endpoint) takePacket(pkt *stack.PacketBuffer) bool {
	b, ok := pkt.Data().PullUp(header.IPv4MinimumSize)
	if !ok {
		return false
	}
	length, addresses, ok := plainPacket(b, pkt.Data().Size())
	h := header.IPv4(b)
	if !ok || !pkt.RXChecksumValidated && !h.IsChecksumValid() {
		return false
	}
	kept, now := e.findings.of(addresses), e.findings.changes.Load()
	if f := kept.Load(); f == nil || f.addresses != addresses || f.changes != now {
		if e.takes(h) {
			kept.Store(&finding{addresses, now})
		}
		return false
	}
	protocol := h.TransportProtocol()
	if protocol == header.UDPProtocolNumber && !e.wanted(pkt) {
		return false // the stack tells its sender
	}
	pkt.NetworkHeader().Consume(header.IPv4MinimumSize)
	pkt.NetworkProtocolNumber = header.IPv4ProtocolNumber
	pkt.Data().CapLength(length - header.IPv4MinimumSize)
	pkt.NICID = e.nic.ID()
	for _, s := range e.stats {
		s.PacketsReceived.Increment()
		s.ValidPacketsReceived.Increment()
		s.PacketsDelivered.Increment()
	}
	// What lacks a whole header of TCP or UDP is counted where it is delivered.
	e.stack.ParsePacketBufferTransport(protocol, pkt)
	e.dispatcher.DeliverRawPacket(protocol, pkt)
	// TCP itself answers what nobody wants.
	e.dispatcher.DeliverTransportPacket(protocol, pkt)
	return true
}

// wanted reports whether there is a socket for a datagram, which is a plain packet.
func (e *ipv4Endpoint) wanted(pkt *stack.PacketBuffer) bool {
	b, ok := pkt.Data().PullUp(header.IPv4MinimumSize + header.UDPMinimumSize)
	if !ok {
		return false
	}
	h, datagram := header.IPv4(b), header.UDP(b[header.IPv4MinimumSize:])
	return e.stack.FindTransportEndpoint(header.IPv4ProtocolNumber, header.UDPProtocolNumber, stack.TransportEndpointID{
		LocalPort: datagram.DestinationPort(), LocalAddress: h.DestinationAddress(),
		RemotePort: datagram.SourcePort(), RemoteAddress: h.SourceAddress(),
	}, e.nic.ID()) != nil
}

// takes reports whether the stack takes packets with a header's addresses, of others for the interface.
func (e *ipv4Endpoint) takes(h header.IPv4) bool {
	from, to := h.SourceAddress(), h.DestinationAddress()
	for _, a := range [...]tcpip.Address{from, to} {
		if header.IsV4LoopbackAddress(a) || header.IsV4MulticastAddress(a) || a == header.IPv4Broadcast || a == header.IPv4Any {
			return false
		}
	}
	own := func(a tcpip.Address) stack.AddressEndpoint {
		return e.AcquireAssignedAddress(a, false, stack.NeverPrimaryEndpoint, true)
	}
	if e.nic.IsLoopback() || own(from) != nil {
		return false
	}
	found := own(to)
	if found == nil {
		return false
	}
	subnet := found.Subnet()
	return !subnet.IsBroadcast(to)
}

// AddAndAcquirePermanentAddress implements stack.AddressableEndpoint.
func (e *ipv4Endpoint) AddAndAcquirePermanentAddress(a tcpip.AddressWithPrefix, properties stack.AddressProperties) (stack.AddressEndpoint, tcpip.Error) {
	defer e.findings.changes.Add(1)
	return e.ipv4Link.AddAndAcquirePermanentAddress(a, properties)
}

// RemovePermanentAddress implements stack.AddressableEndpoint.
func (e *ipv4Endpoint) RemovePermanentAddress(a tcpip.Address) tcpip.Error {
	defer e.findings.changes.Add(1)
	return e.ipv4Link.RemovePermanentAddress(a)
}
