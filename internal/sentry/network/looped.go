package network

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Changes counts the changes of what the way of a packet within the namespace depends on: a
// way that was found is good as long as the number is the same, read before it was looked for.
func (n *Namespace) Changes() uint64 { return n.changes.Load() }

// WayWithin finds the way of packets between two addresses of the namespace: over lo, without
// fragments up to an IP packet's payload of r.MTU(). An unspecified source is the stack's
// choice. ok is false if packets are to be made of what is sent; the caller releases the route.
func (n *Namespace) WayWithin(from, to tcpip.Address, protocol tcpip.NetworkProtocolNumber) (r *stack.Route, ok bool) {
	if header.IsV6LinkLocalUnicastAddress(to) || !n.Stack().CheckNIC(LoopbackIndex) || n.Stack().CheckLocalAddress(0, protocol, to) == 0 {
		return nil, false
	}
	r, err := n.Stack().FindRoute(0, from, to, protocol, false)
	if err != nil {
		return nil, false
	}
	if r.NICID() != LoopbackIndex || r.IsOutboundBroadcast() {
		r.Release()
		return nil, false
	}
	return r, true
}

// looped are the counters of what lo carries, which the stack has too.
type looped struct {
	link   tcpip.NICStats
	v4, v6 *tcpip.IPStats
	udp    tcpip.UDPStats
}

func (l *looped) init(s *stack.Stack) {
	info, _ := s.SingleNICInfo(LoopbackIndex)
	l.link = info.Stats
	for protocol, to := range map[tcpip.NetworkProtocolNumber]**tcpip.IPStats{header.IPv4ProtocolNumber: &l.v4, header.IPv6ProtocolNumber: &l.v6} {
		*to = info.NetworkStats[protocol].(stack.IPNetworkEndpointStats).IPStats()
	}
	l.udp = s.Stats().UDP
}

// CountDatagram counts a datagram that went past the stack, in an IP packet of a size. Its
// receiver's endpoint has counted it too.
func (n *Namespace) CountDatagram(protocol tcpip.NetworkProtocolNumber, size int) {
	l := &n.looped
	l.link.Tx.Packets.Increment()
	l.link.Tx.Bytes.IncrementBy(uint64(size))
	l.link.Rx.Packets.Increment()
	l.link.Rx.Bytes.IncrementBy(uint64(size))
	ip := l.v4
	if protocol == header.IPv6ProtocolNumber {
		ip = l.v6
	}
	ip.PacketsSent.Increment()
	ip.PacketsReceived.Increment()
	ip.PacketsDelivered.Increment()
	l.udp.PacketsSent.Increment()
}
