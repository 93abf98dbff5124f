package network

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
)

func newStack(l *labels, st *steering, paths *pathMTUs) *stack.Stack {
	s := stack.New(stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{newIPv4(st, paths), newIPv6(l, st, paths), arp.NewProtocol},
		TransportProtocols: append([]stack.TransportProtocolFactory{
			newTCP, newUDP, newPing(icmp.NewProtocol4), newPing(icmp.NewProtocol6),
		}, rawProtocolFactories()...),
		HandleLocal:              true,
		RawFactory:               raw.EndpointFactory{},
		AllowPacketEndpointWrite: true,
	})
	tuneTCP(s)
	return s
}

// mirror tells a new stack all that is configured. n.mu is held, here and below.
func (n *Namespace) mirror() {
	n.applySysctls()
	for _, l := range n.sorted() {
		n.mirrorLink(l)
	}
	n.mirrorRoutes()
}

// mirrorLink makes the stack's interface for a link, with its addresses and given neighbours.
func (n *Namespace) mirrorLink(l *link) {
	var ep stack.LinkEndpoint = l.device
	if l.device == nil {
		ep = newLoopback()
		ep.SetMTU(l.mtu)
	}
	must(n.stack.CreateNICWithOptions(l.nic(), ep, stack.NICOptions{Name: l.name, Kind: l.kind, DeliverLinkPackets: true, Disabled: !l.up}))
	n.mirrorForwarding(l)
	for i, a := range l.addresses {
		if !holds(l.addresses[:i], a.Prefix.Addr()) {
			n.mirrorAddress(l, a)
		}
	}
	for _, k := range l.neighbours {
		must(n.mirrorNeighbour(l, k))
	}
	l.neighbours = nil
}

func (n *Namespace) mirrorAddress(l *link, a *AddressInfo) {
	n.changes.Add(1)
	must(n.stack.AddProtocolAddress(l.nic(), ProtocolAddress(a.Prefix), stack.AddressProperties{}))
}

func (n *Namespace) mirrorNeighbour(l *link, i NeighbourInfo) tcpip.Error {
	return n.stack.AddStaticNeighbor(l.nic(), protocolOf(i.Address), toStack(i.Address), tcpip.LinkAddress(i.HardwareAddr[:]))
}

// mirrorRoutes gives the stack the whole table, which it searches in order: the longest
// prefix first, which is its doing, and among equals the least metric, which is ours.
func (n *Namespace) mirrorRoutes() {
	if n.stack == nil {
		return
	}
	var table []tcpip.Route
	if n.Steered() {
		table = n.steeredTable()
	} else {
		for _, r := range sortedByMetric(n.routes) {
			if r.counts() {
				table = append(table, r.toStack())
			}
		}
	}
	if lo := n.links[LoopbackIndex]; lo.up {
		for _, a := range lo.addresses {
			if a.Prefix.Addr().IsLoopback() {
				r := RouteInfo{Destination: a.network(), Link: LoopbackIndex}
				table = append(table, r.toStack())
			}
		}
	}
	n.stack.SetRouteTable(table)
	n.paths.forget()
	n.changes.Add(1)
}

// toStack is a route as the stack has it.
func (r *RouteInfo) toStack() tcpip.Route {
	out := tcpip.Route{
		Destination: tcpip.AddressWithPrefix{Address: toStack(r.Destination.Addr()), PrefixLen: r.Destination.Bits()}.Subnet(),
		NIC:         tcpip.NICID(r.Link), MTU: r.MTU,
	}
	if r.Gateway.IsValid() {
		out.Gateway = toStack(r.Gateway)
	}
	if r.Source.IsValid() {
		out.SourceHint = toStack(r.Source)
	}
	return out
}

// ProtocolAddress is an address with its prefix as the stack wants it.
func ProtocolAddress(p netip.Prefix) tcpip.ProtocolAddress {
	return tcpip.ProtocolAddress{
		Protocol:          protocolOf(p.Addr()),
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: toStack(p.Addr()), PrefixLen: p.Bits()},
	}
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

func toStack(a netip.Addr) tcpip.Address { return tcpip.AddrFromSlice(a.AsSlice()) }

func fromStack(a tcpip.Address) netip.Addr {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return addr
}
