package network

import (
	_ "unsafe" // for go:linkname

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
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

// reopen ends a connection in TIME_WAIT if somebody listens, and then gives such a segment to who gets it now. It must be
// called without locks of the stack, and takes over a reference to the segment.
func (p choosingTCP) reopen(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	defer pkt.DecRef()
	find := func(id stack.TransportEndpointID) *tcp.Endpoint {
		e, _ := p.stack.FindTransportEndpoint(pkt.NetworkProtocolNumber, tcp.ProtocolNumber, id, pkt.NICID).(*tcp.Endpoint)
		return e
	}
	near := id
	near.RemoteAddress, near.RemotePort = tcpip.Address{}, 0
	if l := find(near); l != nil && l.EndpointState() == tcp.StateListen {
		endTimeWait(to.(*tcp.Endpoint))
		// Another SYN may have come first.
		if e := find(id); e != nil {
			to = e
		}
	}
	p.deliver(to, id, pkt)
}

// endTimeWait does what the stack does when an endpoint's TIME_WAIT is over, and nothing in another state: the endpoint gives
// its name and port away. The stack exports nothing that does so and does not reset the connection.
//
//go:linkname endTimeWait gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).timeWaitTimerExpired
func endTimeWait(e *tcp.Endpoint)
