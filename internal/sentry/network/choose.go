package network

import (
	"sync/atomic"

	"coffer/internal/sentry/crash"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
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

// keeper is handed packets whose headers have options or extensions, and others of IPv6 as long as flows are asked for
// (AskFlows), and gives them to hand in the stack's place, or loses them. It is called as choosers are.
type keeper func(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer, hand Handler)

// Handler is given a packet for an endpoint.
type Handler func(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer)

var keep atomic.Pointer[keeper]

// SetKeeper has f given such packets of all namespaces, from now on.
func SetKeeper(f keeper) { keep.Store(&f) }

// examiner is handed segments of TCP, and gives them to hand in the stack's place, or loses them. It is called as
// choosers are.
type examiner func(s *stack.Stack, to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer, hand Handler)

var examine atomic.Pointer[examiner]

// SetExaminer has f given the segments of all namespaces, from now on, or nobody if that is nil.
func SetExaminer(f examiner) {
	if f == nil {
		examine.Store(nil)
		return
	}
	examine.Store(&f)
}

// asksFlows is how many sockets ask for flow labels.
var asksFlows atomic.Int32

// AskFlows counts those: n is 1 for one more, -1 for one less.
func AskFlows(n int32) { asksFlows.Add(n) }

// HandDatagram gives a datagram of UDP that has come to an endpoint, or to another one that is chosen.
func HandDatagram(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	handOver(Chosen(to, id, pkt), id, pkt, stack.TransportEndpoint.HandlePacket)
}

// handOver gives a packet to hand.
func handOver(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer, hand Handler) {
	plain := header.IPv4MinimumSize
	if pkt.NetworkProtocolNumber == header.IPv6ProtocolNumber {
		if plain = header.IPv6MinimumSize; asksFlows.Load() > 0 {
			plain = 0
		}
	}
	if f := keep.Load(); f != nil && len(pkt.NetworkHeader().Slice()) > plain {
		(*f)(to, id, pkt, hand)
		return
	}
	hand(to, id, pkt)
}

// choosingUDP and choosingTCP are the stack's protocols but for that, ping is ICMP.
type (
	ping        struct{ stack.TransportProtocol }
	choosingUDP struct{ stack.TransportProtocol }
	choosingTCP struct {
		tcpProtocol
		stack *stack.Stack
		sieve *sieve
	}
)

// tcpProtocol is what the stack's TCP implements.
type tcpProtocol interface {
	stack.TransportProtocol
	stack.SendBufSizeProto
	QueuePacket(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer)
}

func newUDP(s *stack.Stack) stack.TransportProtocol { return choosingUDP{udp.NewProtocol(s)} }

func newTCP(s *stack.Stack) stack.TransportProtocol {
	p := choosingTCP{tcpProtocol: tcp.NewProtocol(s).(tcpProtocol), stack: s}
	p.sieve = &sieve{hand: p.hand, toil: sieveToil}
	return p
}

// QueuePacket has a packet handled at once, as the stack does for protocols without it.
func (choosingUDP) QueuePacket(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	HandDatagram(to, id, pkt)
}

func newPing(f stack.TransportProtocolFactory) stack.TransportProtocolFactory {
	return func(s *stack.Stack) stack.TransportProtocol { return ping{f(s)} }
}

// QueuePacket is the same of ICMP, where nobody chooses.
func (ping) QueuePacket(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	handOver(to, id, pkt, stack.TransportEndpoint.HandlePacket)
}

func (p choosingTCP) QueuePacket(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	if reopens(to, pkt) {
		pkt.IncRef()
		go crash.Guard(func() { p.reopen(to, id, pkt) })()
		return
	}
	p.deliver(to, id, pkt)
}

func (p choosingTCP) deliver(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	to = Chosen(to, id, pkt)
	if f := examine.Load(); f != nil {
		(*f)(p.stack, to, id, pkt, p.sieve.take)
		return
	}
	p.sieve.take(to, id, pkt)
}

func (p choosingTCP) hand(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	handOver(to, id, pkt, p.queue)
}

// queue has the stack keep a segment, without its extension headers: these count for the receive buffer too, but not for the
// window that the sender is told, and what does not fit is dropped.
func (p choosingTCP) queue(to stack.TransportEndpoint, id stack.TransportEndpointID, pkt *stack.PacketBuffer) {
	network, transport := pkt.NetworkHeader().Slice(), pkt.TransportHeader().Slice()
	if pkt.NetworkProtocolNumber != header.IPv6ProtocolNumber || len(network) == header.IPv6MinimumSize {
		p.tcpProtocol.QueuePacket(to, id, pkt)
		return
	}
	bare := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: header.IPv6MinimumSize + len(transport), Payload: buffer.MakeWithData(pkt.Data().AsRange().ToSlice()),
	})
	defer bare.DecRef()
	copy(bare.TransportHeader().Push(len(transport)), transport)
	h := header.IPv6(bare.NetworkHeader().Push(header.IPv6MinimumSize))
	copy(h, network)
	h.SetNextHeader(uint8(header.TCPProtocolNumber))
	h.SetPayloadLength(uint16(len(transport) + bare.Data().Size()))
	cameAs(bare, pkt)
	p.tcpProtocol.QueuePacket(to, id, bare)
}
