package network

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// Of several endpoints with one name (SO_REUSEPORT) the stack takes one for each packet. It hands packets
// over by a protocol's QueuePacket, where another may be taken.

// chooser says which endpoint gets a packet of TCP or UDP that the stack would give to one. It is called
// with locks of the stack held, and takes only leaves.
type chooser func(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) stack.TransportEndpoint

var choose atomic.Pointer[chooser]

// SetChooser has f choose for all namespaces, from now on.
func SetChooser(f chooser) { choose.Store(&f) }

// Chosen is who gets a packet that the stack would give to one endpoint.
func Chosen(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) stack.TransportEndpoint {
	if f := choose.Load(); f != nil {
		return (*f)(to, id, pkt)
	}
	return to
}

// choosingUDP and choosingTCP are the stack's protocols but for that.
type (
	choosingUDP struct{ stack.TransportProtocol }
	choosingTCP struct{ tcpProtocol }
)

// tcpProtocol is what the stack's TCP implements.
type tcpProtocol interface {
	stack.TransportProtocol
	stack.SendBufSizeProto
	QueuePacket(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer)
}

func newUDP(s *stack.Stack) stack.TransportProtocol { return choosingUDP{udp.NewProtocol(s)} }

func newTCP(s *stack.Stack) stack.TransportProtocol {
	return choosingTCP{tcp.NewProtocol(s).(tcpProtocol)}
}

// QueuePacket has a packet handled at once, as the stack does for protocols without it.
func (choosingUDP) QueuePacket(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	Chosen(to, id, pkt).HandlePacket(id, pkt)
}

func (p choosingTCP) QueuePacket(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	p.tcpProtocol.QueuePacket(Chosen(to, id, pkt), id, pkt)
}
