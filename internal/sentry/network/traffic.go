package network

import (
	"slices"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// traffic is what the stack does not count of a protocol of IP: packets that were forwarded, and those that were cut into
// fragments, of which there is the number too.
type traffic struct{ forwarded, cut, fragments atomic.Uint64 }

// trafficOf is that of a protocol.
func (st *steering) trafficOf(protocol tcpip.NetworkProtocolNumber) *traffic {
	return &st.traffic[slices.Index(protocols[:], protocol)]
}

// count takes note of a packet that has left and is no socket's own. Fragments of IPv4 are forwarded elsewhere
// (forwardFragment).
func (t *traffic) count(protocol tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	first, part := fragmentOf(protocol, pkt.NetworkHeader().Slice())
	switch {
	case pkt.NetworkPacketInfo.IsForwardedPacket && (!part || protocol == header.IPv6ProtocolNumber):
		t.forwarded.Add(1)
	case pkt.NetworkPacketInfo.IsForwardedPacket || !part:
		return
	default:
		t.fragments.Add(1)
		if first {
			t.cut.Add(1)
		}
	}
}

// fragmentOf reports whether a packet is a fragment, by its headers, and whether it is the first one.
func fragmentOf(protocol tcpip.NetworkProtocolNumber, h []byte) (first, part bool) {
	if protocol == header.IPv4ProtocolNumber {
		if len(h) < header.IPv4MinimumSize {
			return false, false
		}
		return header.IPv4(h).FragmentOffset() == 0, fragment(h)
	}
	if len(h) < header.IPv6MinimumSize+header.IPv6FragmentHeaderSize || header.IPv6(h).NextHeader() != uint8(header.IPv6FragmentHeader) {
		return false, false
	}
	return header.IPv6Fragment(h[header.IPv6MinimumSize:]).FragmentOffset() == 0, true
}
