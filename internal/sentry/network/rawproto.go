package network

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	"gvisor.dev/gvisor/pkg/waiter"
)

// rawProtocols are the protocols that programs serve by raw sockets, as IANA numbers them: IGMP,
// RSVP, GRE, EIGRP, OSPF, PIM, VRRP, L2TP, SCTP, and the two for experiments.
var rawProtocols = [...]tcpip.TransportProtocolNumber{2, 46, 47, 88, 89, 103, 112, 115, 132, 253, 254}

// rawProtocol is one of those to the stack: it has no sockets of its own. What nobody takes is
// dropped, as the stack cannot tell whether there was a raw socket.
type rawProtocol struct {
	stack  *stack.Stack
	number tcpip.TransportProtocolNumber
}

// rawProtocolFactories make them.
func rawProtocolFactories() []stack.TransportProtocolFactory {
	var out []stack.TransportProtocolFactory
	for _, n := range rawProtocols {
		out = append(out, func(s *stack.Stack) stack.TransportProtocol { return rawProtocol{s, n} })
	}
	return out
}

// The methods of stack.TransportProtocol.

func (p rawProtocol) Number() tcpip.TransportProtocolNumber { return p.number }
func (p rawProtocol) NewEndpoint(tcpip.NetworkProtocolNumber, *waiter.Queue) (tcpip.Endpoint, tcpip.Error) {
	return nil, &tcpip.ErrUnknownProtocol{}
}
func (p rawProtocol) NewRawEndpoint(network tcpip.NetworkProtocolNumber, q *waiter.Queue) (tcpip.Endpoint, tcpip.Error) {
	return raw.NewEndpoint(p.stack, network, p.number, q)
}
func (rawProtocol) MinimumPacketSize() int                               { return 0 }
func (rawProtocol) ParsePorts([]byte) (src, dst uint16, err tcpip.Error) { return 0, 0, nil }
func (rawProtocol) HandleUnknownDestinationPacket(stack.TransportEndpointID, *stack.PacketBuffer) stack.UnknownDestinationPacketDisposition {
	return stack.UnknownDestinationPacketHandled
}
func (rawProtocol) SetOption(tcpip.SettableTransportProtocolOption) tcpip.Error {
	return &tcpip.ErrUnknownProtocolOption{}
}
func (rawProtocol) Option(tcpip.GettableTransportProtocolOption) tcpip.Error {
	return &tcpip.ErrUnknownProtocolOption{}
}
func (rawProtocol) Close()                         {}
func (rawProtocol) Wait()                          {}
func (rawProtocol) Pause()                         {}
func (rawProtocol) Resume()                        {}
func (rawProtocol) Restore()                       {}
func (rawProtocol) Parse(*stack.PacketBuffer) bool { return true }
