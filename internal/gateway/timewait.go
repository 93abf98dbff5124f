package gateway

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// reopening hands packets to a stack, and has connections in TIME_WAIT give way to new ones of the same addresses. The
// stack drops the SYNs of these, or resets them if TIME_WAIT ends just then: of a sandbox that makes thousands of
// connections a second, whose ports it chooses at random, many would wait for a second SYN.
type reopening struct {
	stack.NetworkDispatcher
	stack *stack.Stack
}

// DeliverNetworkPacket implements stack.NetworkDispatcher.
func (r reopening) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	if id, begins := beginning(protocol, pkt); begins {
		e, ok := r.stack.FindTransportEndpoint(protocol, tcp.ProtocolNumber, id, nic).(*tcp.Endpoint)
		if ok && e.EndpointState() == tcp.StateTimeWait {
			// It gets no more, and ends in its time. No endpoint here is bound to the interface.
			r.stack.UnregisterTransportEndpoint([]tcpip.NetworkProtocolNumber{protocol}, tcp.ProtocolNumber, id, e, ports.Flags{}, 0)
		}
	}
	r.NetworkDispatcher.DeliverNetworkPacket(protocol, pkt)
}

// beginning returns the connection that a packet begins, if it is a SYN. One behind extension headers of IPv6 is not
// known for one.
func beginning(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) (id stack.TransportEndpointID, ok bool) {
	b, ok := pkt.Data().PullUp(min(pkt.Data().Size(), header.IPv4MaximumHeaderSize+header.TCPMinimumSize))
	if !ok {
		return id, false
	}
	switch protocol {
	case header.IPv4ProtocolNumber:
		if len(b) < header.IPv4MinimumSize {
			return id, false
		}
		h := header.IPv4(b)
		if h.Protocol() != uint8(header.TCPProtocolNumber) || h.FragmentOffset() != 0 || len(b) < int(h.HeaderLength()) {
			return id, false
		}
		id.LocalAddress, id.RemoteAddress, b = h.DestinationAddress(), h.SourceAddress(), b[h.HeaderLength():]
	case header.IPv6ProtocolNumber:
		if len(b) < header.IPv6MinimumSize {
			return id, false
		}
		h := header.IPv6(b)
		if h.TransportProtocol() != header.TCPProtocolNumber {
			return id, false
		}
		id.LocalAddress, id.RemoteAddress, b = h.DestinationAddress(), h.SourceAddress(), b[header.IPv6MinimumSize:]
	}
	if len(b) < header.TCPMinimumSize {
		return id, false
	}
	h := header.TCP(b)
	id.LocalPort, id.RemotePort = h.DestinationPort(), h.SourcePort()
	return id, h.Flags()&(header.TCPFlagSyn|header.TCPFlagAck|header.TCPFlagRst) == header.TCPFlagSyn
}
