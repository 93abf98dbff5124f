package gateway

import (
	"net/netip"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Echo requests leave by ping sockets (icmp(7)), which take no privilege but that
// the sysctl net.ipv4.ping_group_range has the group of whoever started coffer. Where
// it has not, the sandbox is told that they are prohibited. The router's and the
// resolver's own addresses are answered for by the stack.

// handleEcho4 takes an ICMP message of the sandbox's. To report false leaves it to
// the stack.
func (g *gateway) handleEcho4(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	h := header.ICMPv4(pkt.TransportHeader().Slice())
	if len(h) < header.ICMPv4MinimumSize || h.Type() != header.ICMPv4Echo {
		return false
	}
	flow := newFlow(unix.IPPROTO_ICMP, id)
	if to := flow.To.Addr(); to == Router4 || to == Resolver4 {
		return false
	}
	g.echo(flow, h.Ident(), h, pkt)
	return true
}

// handleEcho6 is the same for ICMPv6.
func (g *gateway) handleEcho6(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	h := header.ICMPv6(pkt.TransportHeader().Slice())
	if len(h) < header.ICMPv6EchoMinimumSize || h.Type() != header.ICMPv6EchoRequest {
		return false
	}
	flow := newFlow(unix.IPPROTO_ICMPV6, id)
	if to := flow.To.Addr(); to == Router6 || to == Resolver6 || to.IsLinkLocalUnicast() || to.IsMulticast() {
		return false
	}
	g.echo(flow, h.Ident(), h, pkt)
	return true
}

// echo sends an echo request on.
func (g *gateway) echo(flow Flow, ident uint16, h []byte, pkt *stack.PacketBuffer) {
	if flow.To.Addr().IsMulticast() || !ours(flow.From.Addr()) {
		return
	}
	// Ports of ICMP are none of the policy's business.
	flow.From, flow.To = portless(flow.From), portless(flow.To)
	key := flow
	key.From = withPort(flow.From, ident)
	hops := hopsOf(pkt)
	if hops == 0 {
		g.tellExceeded(flow, h, netip.Addr{})
		return
	}
	f := g.echoes.find(key)
	if f == nil {
		err := errForbidden
		if g.decide(flow) == Permit {
			f, err = g.newEchoFlow(key)
		}
		if err != nil {
			g.tellUnreachable(flow, h, refusal(err))
			return
		}
	}
	f.touch()
	// The host's kernel writes the identifier and the checksum of its own.
	message := append(append([]byte(nil), h...), pkt.Data().AsRange().ToSlice()...)
	f.limitHops(hops)
	if _, err := f.outer.send(message); fatal(err) {
		if g.tellErrors(f) { // of earlier ones
			f.outer.send(message)
			return
		}
		g.tellUnreachable(flow, h, refusal(err))
	}
}

func (g *gateway) newEchoFlow(key Flow) (*datagramFlow, error) {
	outer, err := dial(portless(key.To), unix.SOCK_DGRAM, int(key.Protocol), 0)
	if err != nil {
		return nil, err
	}
	if err := outer.hearErrors(key.To.Addr()); err != nil {
		outer.close()
		return nil, err
	}
	f := &datagramFlow{flow: key, outer: outer}
	f.touch()
	g.echoes.add(f)
	go g.receiveDatagrams(g.echoes, f, g.sendEchoReply)
	return f, nil
}

// sendEchoReply gives an answer its identifier back, which a flow of echo requests has
// for a port.
func (g *gateway) sendEchoReply(key Flow, b []byte) {
	from, to := key.To.Addr().AsSlice(), key.From.Addr().AsSlice()
	if key.Protocol == unix.IPPROTO_ICMP {
		h := header.ICMPv4(append([]byte(nil), b...))
		if len(h) < header.ICMPv4MinimumSize || h.Type() != header.ICMPv4EchoReply {
			return
		}
		h.SetIdent(key.From.Port())
		h.SetChecksum(0)
		h.SetChecksum(^checksum.Checksum(h, 0))
		g.sendPacket(from, to, header.IPv4ProtocolNumber, header.ICMPv4ProtocolNumber, h)
		return
	}
	h := header.ICMPv6(append([]byte(nil), b...))
	if len(h) < header.ICMPv6EchoMinimumSize || h.Type() != header.ICMPv6EchoReply {
		return
	}
	h.SetIdent(key.From.Port())
	g.sendICMPv6(from, to, h)
}
