package network

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// A connection in TIME_WAIT has to give way to a new one of the same two addresses. The stack lets it only if the
// new one's numbers are beyond the old one's, and else says nothing: so a client that has been started
// again, or one of several behind one address, would wait for a minute in half of all cases. Linux looks at
// timestamps too, and answers others with an acknowledgement of the old connection, to which who knows
// nothing of that says RST, and the next SYN is let in. That is the same in the end, but takes a second.

// reopens reports whether a segment for an endpoint begins a new connection where one is in TIME_WAIT.
func reopens(to stack.TransportEndpoint, pkt *stack.PacketBuffer) bool {
	const begin = header.TCPFlagSyn | header.TCPFlagAck | header.TCPFlagRst
	if header.TCP(pkt.TransportHeader().Slice()).Flags()&begin != header.TCPFlagSyn {
		return false
	}
	e, ok := to.(*tcp.Endpoint)
	return ok && e.EndpointState() == tcp.StateTimeWait
}

// reopen gives such a segment to who listens, if anybody does, and then the old connection gets no more, which ends in
// its time. It must be called without locks of the stack, and takes over a reference to the segment.
func (p choosingTCP) reopen(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	defer pkt.DecRef()
	protocol, near := pkt.NetworkProtocolNumber, id
	near.RemoteAddress, near.RemotePort = tcpip.Address{}, 0
	l, ok := p.stack.FindTransportEndpoint(protocol, tcp.ProtocolNumber, near, pkt.NICID).(*tcp.Endpoint)
	if ok && l.EndpointState() == tcp.StateListen {
		// It has its place with the interface that the listener is bound to, or with none.
		for _, bound := range []tcpip.NICID{0, pkt.NICID} {
			p.stack.UnregisterTransportEndpoint([]tcpip.NetworkProtocolNumber{protocol}, tcp.ProtocolNumber, id, to, ports.Flags{}, bound)
		}
		to = l
	}
	p.deliver(to, id, pkt)
}
