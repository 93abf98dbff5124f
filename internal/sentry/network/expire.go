package network

import (
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// expire takes the last hop from an IPv4 packet that is not for this namespace. The stack
// would forward it with no hops left; with none it tells the sender that it has expired, as
// RFC 1812, 5.3.1, has routers do. That is what traceroute(8) lives by.
func (p *port) expire(pkt *stack.PacketBuffer) {
	raw, ok := pkt.Data().PullUp(header.IPv4MinimumSize)
	if !ok || header.IPv4(raw).TTL() != 1 {
		return
	}
	raw, ok = pkt.Data().PullUp(int(header.IPv4(raw).HeaderLength()))
	n, _ := p.place()
	if !ok || len(raw) < header.IPv4MinimumSize || n == nil {
		return
	}
	h := header.IPv4(raw)
	to := h.DestinationAddress()
	if header.IsV4MulticastAddress(to) || n.Stack().CheckLocalAddress(0, header.IPv4ProtocolNumber, to) != 0 || !h.IsChecksumValid() {
		return
	}
	h.SetTTL(0)
	h.SetChecksum(0)
	h.SetChecksum(^h.CalculateChecksum())
}
