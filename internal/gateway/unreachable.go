package gateway

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// unreachable is a reason why something cannot be reached, as ICMP tells it.
type unreachable struct {
	code4 header.ICMPv4Code
	code6 header.ICMPv6Code
}

// The codes for IPv4 are those of RFC 1812, section 5.2.7.1. Of those for IPv6 (RFC
// 4443, section 3.1) a sentry's stack knows only two, and a connection to what it is
// told otherwise would take minutes to fail.
var (
	unreachableNetwork   = unreachable{header.ICMPv4NetUnreachable, header.ICMPv6NetworkUnreachable}
	unreachableHost      = unreachable{header.ICMPv4HostUnreachable, header.ICMPv6NetworkUnreachable}
	unreachablePort      = unreachable{header.ICMPv4PortUnreachable, header.ICMPv6PortUnreachable}
	unreachableForbidden = unreachable{header.ICMPv4AdminProhibited, header.ICMPv6NetworkUnreachable}
)

// tellUnreachable sends the sandbox the ICMP error that a router would have sent
// about a packet of this flow. transport is the packet's transport header, of which
// 8 bytes at least are given.
func (g *gateway) tellUnreachable(f Flow, transport []byte, why unreachable) {
	if f.From.Addr().Is4() {
		g.tellUnreachable4(f, transport, why.code4)
	} else {
		g.tellUnreachable6(f, transport, why.code6)
	}
}

func (g *gateway) tellUnreachable4(f Flow, transport []byte, code header.ICMPv4Code) {
	g.tell4(f, transport, header.ICMPv4DstUnreachable, code, teller(f, code == header.ICMPv4PortUnreachable, Router4))
}

func (g *gateway) tellUnreachable6(f Flow, transport []byte, code header.ICMPv6Code) {
	g.tell6(f, transport, header.ICMPv6DstUnreachable, code, teller(f, code == header.ICMPv6PortUnreachable, Router6))
}

// tell4 sends an ICMP error in the name of from.
func (g *gateway) tell4(f Flow, transport []byte, kind header.ICMPv4Type, code header.ICMPv4Code, from netip.Addr) {
	message := make([]byte, header.ICMPv4MinimumSize+header.IPv4MinimumSize+len(transport))
	icmp := header.ICMPv4(message)
	icmp.SetType(kind)
	icmp.SetCode(code)
	ip := header.IPv4(icmp.Payload())
	ip.Encode(&header.IPv4Fields{
		TotalLength: uint16(header.IPv4MinimumSize + len(transport)), TTL: 64, Protocol: f.Protocol,
		SrcAddr: tcpip.AddrFromSlice(f.From.Addr().AsSlice()), DstAddr: tcpip.AddrFromSlice(f.To.Addr().AsSlice()),
	})
	ip.SetChecksum(^ip.CalculateChecksum())
	copy(ip[header.IPv4MinimumSize:], transport)
	icmp.SetChecksum(^checksum.Checksum(message, 0))
	g.sendPacket(from.AsSlice(), f.From.Addr().AsSlice(), header.IPv4ProtocolNumber, header.ICMPv4ProtocolNumber, message)
}

// tell6 is the same for IPv6.
func (g *gateway) tell6(f Flow, transport []byte, kind header.ICMPv6Type, code header.ICMPv6Code, from netip.Addr) {
	message := make([]byte, header.ICMPv6MinimumSize+header.IPv6MinimumSize+len(transport))
	icmp := header.ICMPv6(message)
	icmp.SetType(kind)
	icmp.SetCode(code)
	ip := header.IPv6(message[header.ICMPv6MinimumSize:])
	ip.Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(transport)), HopLimit: 64, TransportProtocol: tcpip.TransportProtocolNumber(f.Protocol),
		SrcAddr: tcpip.AddrFromSlice(f.From.Addr().AsSlice()), DstAddr: tcpip.AddrFromSlice(f.To.Addr().AsSlice()),
	})
	copy(ip[header.IPv6MinimumSize:], transport)
	g.sendICMPv6(from.AsSlice(), f.From.Addr().AsSlice(), icmp)
}

// teller is whom an error comes from: that a port is unreachable is its host's to say,
// all else the router's.
func teller(f Flow, port bool, router netip.Addr) netip.Addr {
	if port && outside(f.To.Addr()) {
		return f.To.Addr()
	}
	return router
}

// sendICMPv6 completes a message's checksum and sends it.
func (g *gateway) sendICMPv6(from, to []byte, icmp header.ICMPv6) {
	icmp.SetChecksum(0)
	icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: tcpip.AddrFromSlice(from), Dst: tcpip.AddrFromSlice(to)}))
	g.sendPacket(from, to, header.IPv6ProtocolNumber, header.ICMPv6ProtocolNumber, icmp)
}

// sendPacket sends the sandbox a packet in the name of any address. What the link
// does not take is lost, as packets are.
func (g *gateway) sendPacket(from, to []byte, network tcpip.NetworkProtocolNumber, transport tcpip.TransportProtocolNumber, message []byte) {
	route, err := g.stack.FindRoute(nic, tcpip.AddrFromSlice(from), tcpip.AddrFromSlice(to), network, false)
	if err != nil {
		return
	}
	defer route.Release()
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(route.MaxHeaderLength()), Payload: buffer.MakeWithData(message),
	})
	defer pkt.DecRef()
	route.WritePacket(stack.NetworkHeaderParams{Protocol: transport, TTL: 64}, pkt)
}
