package link

import (
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The smallest MTUs of paths that are believed. IPv4 would have 68 (RFC 791), but Linux
// does not go below 552 (ip(7), min_pmtu); IPv6 is RFC 8200, 5.
const (
	minPathMTU4 = 552
	minPathMTU6 = header.IPv6MinimumMTU
)

// extensionsMax is as much of an IPv6 packet as is searched for an ICMPv6 message.
const extensionsMax = 256

// believable looks at what says that a packet of the stack's was too big for its path. The
// stack believes any MTU, and who forges one could have it send segments of one byte. As
// in Linux, IPv4's is raised to what is believed; IPv6's reports false: it is to be dropped.
func believable(pkt *stack.PacketBuffer) bool {
	switch pkt.NetworkProtocolNumber {
	case header.IPv4ProtocolNumber:
		raiseMTU(pkt)
	case header.IPv6ProtocolNumber:
		b, ok := pkt.Data().PullUp(min(pkt.Data().Size(), extensionsMax))
		if !ok {
			return true
		}
		icmp := header.ICMPv6(icmpv6(b))
		return len(icmp) < header.ICMPv6PacketTooBigMinimumSize || icmp.Type() != header.ICMPv6PacketTooBig || icmp.MTU() >= minPathMTU6
	}
	return true
}

// raiseMTU raises the MTU of an ICMP message of IPv4. The first fragment has it, too.
func raiseMTU(pkt *stack.PacketBuffer) {
	b, ok := pkt.Data().PullUp(min(pkt.Data().Size(), header.IPv4MaximumHeaderSize+header.ICMPv4MinimumSize))
	if !ok || len(b) < header.IPv4MinimumSize {
		return
	}
	ip := header.IPv4(b)
	start := int(ip.HeaderLength())
	if ip.Protocol() != uint8(header.ICMPv4ProtocolNumber) || ip.FragmentOffset() != 0 || start < header.IPv4MinimumSize || len(b) < start+header.ICMPv4MinimumSize {
		return
	}
	icmp := header.ICMPv4(b[start:])
	if icmp.Type() != header.ICMPv4DstUnreachable || icmp.Code() != header.ICMPv4FragmentationNeeded || icmp.MTU() >= minPathMTU4 {
		return
	}
	// RFC 1624: a message whose checksum was wrong keeps a wrong one.
	sum := checksum.Combine(^icmp.Checksum(), ^icmp.MTU())
	icmp.SetMTU(minPathMTU4)
	icmp.SetChecksum(^checksum.Combine(sum, minPathMTU4))
}

// icmpv6 is the ICMPv6 message of a packet, or nil.
func icmpv6(b []byte) []byte {
	if len(b) < header.IPv6MinimumSize {
		return nil
	}
	next := header.IPv6ExtensionHeaderIdentifier(header.IPv6(b).NextHeader())
	b = b[header.IPv6MinimumSize:]
	for {
		size := 8
		switch next {
		case header.IPv6ExtensionHeaderIdentifier(header.ICMPv6ProtocolNumber):
			return b
		case header.IPv6FragmentExtHdrIdentifier:
			if len(b) < size || b[2] != 0 || b[3]&^7 != 0 {
				return nil // not the first one
			}
		case header.IPv6HopByHopOptionsExtHdrIdentifier, header.IPv6RoutingExtHdrIdentifier, header.IPv6DestinationOptionsExtHdrIdentifier:
			if len(b) < size {
				return nil
			}
			size += int(b[1]) * 8
		default:
			return nil
		}
		if len(b) < size {
			return nil
		}
		next, b = header.IPv6ExtensionHeaderIdentifier(b[0]), b[size:]
	}
}
