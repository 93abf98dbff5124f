package link

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// tellTooBig has the stack learn that a packet of its own was larger than the
// interface's MTU has become, in the way in which a router would tell it: connections
// that are there already send smaller segments from then on.
func (l *Link) tellTooBig(pkt *stack.PacketBuffer) {
	d := l.attached()
	if d == nil || !l.telling.CompareAndSwap(false, true) {
		return // once at a time: what is refused meanwhile is sent again
	}
	whole := pkt.ToView()
	var answer []byte
	protocol := pkt.NetworkProtocolNumber
	if packet := whole.AsSlice(); len(packet) > header.EthernetMinimumSize {
		answer = tooBig(protocol, packet[header.EthernetMinimumSize:], l.MTU())
	}
	whole.Release()
	// The caller holds locks of the stack's.
	go func() {
		defer l.telling.Store(false)
		if answer == nil {
			return
		}
		p := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(answer)})
		defer p.DecRef()
		p.PktType = tcpip.PacketHost
		d.DeliverNetworkPacket(protocol, p)
	}()
}

// tooBig is the answer to a packet that its destination would send: of ICMP, that it
// needs to be in fragments (RFC 792), or of ICMPv6, that it is too big (RFC 4443, 3.2);
// nil if the packet is none.
func tooBig(protocol tcpip.NetworkProtocolNumber, packet []byte, mtu uint32) []byte {
	switch protocol {
	case header.IPv4ProtocolNumber:
		h := header.IPv4(packet)
		if len(packet) < header.IPv4MinimumSize || int(h.HeaderLength()) < header.IPv4MinimumSize || len(packet) < int(h.HeaderLength())+8 {
			return nil
		}
		quoted := packet[:h.HeaderLength()+8]
		b := make([]byte, header.IPv4MinimumSize+header.ICMPv4MinimumSize, header.IPv4MinimumSize+header.ICMPv4MinimumSize+len(quoted))
		b = append(b, quoted...)
		ip, icmp := header.IPv4(b), header.ICMPv4(b[header.IPv4MinimumSize:])
		ip.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b)), TTL: 64, Protocol: uint8(header.ICMPv4ProtocolNumber),
			SrcAddr: h.DestinationAddress(), DstAddr: h.SourceAddress(),
		})
		ip.SetChecksum(^ip.CalculateChecksum())
		icmp.SetType(header.ICMPv4DstUnreachable)
		icmp.SetCode(header.ICMPv4FragmentationNeeded)
		icmp.SetMTU(uint16(min(mtu, 0xffff)))
		icmp.SetChecksum(header.ICMPv4Checksum(icmp, 0))
		return b
	case header.IPv6ProtocolNumber:
		if len(packet) < header.IPv6MinimumSize {
			return nil
		}
		const room = header.IPv6MinimumMTU - header.IPv6MinimumSize - header.ICMPv6PacketTooBigMinimumSize
		h, quoted := header.IPv6(packet), packet[:min(len(packet), room)]
		b := make([]byte, header.IPv6MinimumSize+header.ICMPv6PacketTooBigMinimumSize, header.IPv6MinimumMTU)
		b = append(b, quoted...)
		ip, icmp := header.IPv6(b), header.ICMPv6(b[header.IPv6MinimumSize:])
		ip.Encode(&header.IPv6Fields{
			PayloadLength: uint16(len(icmp)), TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: 64,
			SrcAddr: h.DestinationAddress(), DstAddr: h.SourceAddress(),
		})
		icmp.SetType(header.ICMPv6PacketTooBig)
		icmp.SetMTU(mtu)
		icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: h.DestinationAddress(), Dst: h.SourceAddress()}))
		return b
	}
	return nil
}
