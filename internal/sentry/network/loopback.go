package network

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// newLoopback returns what stands behind lo.
func newLoopback() stack.LinkEndpoint { return &loop{LinkEndpoint: loopback.New()} }

// loop is the stack's loopback, which brings packets of all protocols back: those that the
// stack does not speak are for packet(7).
type loop struct{ stack.LinkEndpoint }

// Attach implements stack.LinkEndpoint.
func (l *loop) Attach(d stack.NetworkDispatcher) {
	if d != nil {
		d = everyProtocol{d}
	}
	l.LinkEndpoint.Attach(d)
}

// everyProtocol hands packets that the stack has no protocol for to packet sockets, and
// others to the stack.
type everyProtocol struct{ stack.NetworkDispatcher }

// DeliverNetworkPacket implements stack.NetworkDispatcher.
func (e everyProtocol) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	if spoken(protocol) {
		e.NetworkDispatcher.DeliverNetworkPacket(protocol, pkt)
	} else {
		e.DeliverLinkPacket(protocol, pkt)
	}
}

// spoken reports whether the stack has a protocol: packets of others reach only packet
// sockets.
func spoken(protocol tcpip.NetworkProtocolNumber) bool {
	switch protocol {
	case header.IPv4ProtocolNumber, header.IPv6ProtocolNumber, header.ARPProtocolNumber:
		return true
	}
	return false
}
