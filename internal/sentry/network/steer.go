package network

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// The stack has one table of routes, and knows no rules, no routes that refuse, and no routes with several hops. As
// long as there are only the usual rules and ordinary routes, it has the main table, and all is its own. Otherwise the
// namespace is steered: the stack gets routes that lead to everywhere by each link, sockets ask Way which link is
// theirs, and what IP sends by a link is looked up for its gateway there (steeredLink).

// steering is what a stack is told of the rules and routes: nil as long as it is not steered. It is not the
// namespace's own, since the stack must not keep that alive.
type steering struct {
	atomic.Pointer[fib]
	// whole is what packets are looked up by that are being cut into fragments or made anew, which say less of
	// themselves: RouteKeys by *stack.Route.
	whole   sync.Map
	traffic [2]traffic // by protocol, as in protocols
}

// hold has what is made of a packet be looked up as that, until the result is called.
func (st *steering) hold(r *stack.Route, params stack.NetworkHeaderParams, pkt *stack.PacketBuffer) (end func()) {
	if st.Load() == nil {
		return func() {}
	}
	k := RouteKey{From: fromStack(r.LocalAddress()), To: fromStack(r.RemoteAddress()), Mark: pkt.Mark, TOS: params.TOS &^ 3, Protocol: uint8(params.Protocol)}
	k.readPorts(pkt.TransportHeader().Slice())
	k.readOwner(pkt.Owner)
	st.whole.Store(r, k)
	return func() { st.whole.Delete(r) }
}

// Steered reports whether sockets are to ask for their way.
func (n *Namespace) Steered() bool { return n.steering.Load() != nil }

// steer takes note of changes of rules, routes, or links. n.mu is held, here and below.
func (n *Namespace) steer() {
	was := n.Steered()
	n.unsteered = nil
	if !n.needsSteering() {
		if was {
			n.steering.Store(nil)
			n.mirrorRoutes()
		}
		return
	}
	n.steering.Store(n.newFIB())
	if !was {
		n.mirrorRoutes()
	}
}

func (n *Namespace) needsSteering() bool {
	if n.ruled {
		return true
	}
	for _, r := range n.routes {
		if r.Table == unix.RT_TABLE_MAIN && !r.ordinary() || r.Table == unix.RT_TABLE_DEFAULT && r.Destination.Addr().Is4() {
			return true
		}
	}
	return false
}

// ordinary reports whether a route is one that the stack can have.
func (r *RouteInfo) ordinary() bool {
	return r.Type == unix.RTN_UNICAST && len(r.Hops) == 0 && r.TOS == 0 && (!r.Gateway.IsValid() || r.Gateway.Is4() == r.Destination.Addr().Is4())
}

// steeredTable is the stack's table while it is steered: every address is on each link, whose MTUs are those of the
// routes that have one. What is forwarded goes to the link first that takes the longest packets, so that no other one
// than its own finds it too long (redirect).
func (n *Namespace) steeredTable() (table []tcpip.Route) {
	links := n.sorted()
	slices.SortStableFunc(links, func(a, b *link) int { return cmp.Compare(b.mtu, a.mtu) })
	for _, l := range links {
		if l.up && l.device != nil {
			table = append(table, tcpip.Route{Destination: header.IPv4EmptySubnet, NIC: l.nic()}, tcpip.Route{Destination: header.IPv6EmptySubnet, NIC: l.nic()})
		}
	}
	for _, r := range n.routes {
		if r.MTU != 0 && r.Link != 0 {
			route := r.toStack()
			route.Gateway = tcpip.Address{}
			table = append(table, route)
		}
	}
	return table
}

// leaves reports whether an address is one that routes are looked up for: not a group's, nor one that is always on
// the link.
func leaves(to netip.Addr) bool {
	return !to.IsMulticast() && !to.IsLoopback() && !to.IsUnspecified() && to != netip.AddrFrom4([4]byte{255, 255, 255, 255}) &&
		(to.Is4() || !to.IsLinkLocalUnicast())
}

// Way returns the link that a packet of a socket leaves by, 0 if that is the stack's to say, and the source that it
// gets if it has none. The error is what the socket gets at once.
func (n *Namespace) Way(k RouteKey) (link int32, source netip.Addr, err error) {
	f := n.steering.Load()
	if f == nil || !leaves(k.To) || n.Stack().CheckLocalAddress(0, protocolOf(k.To), toStack(k.To)) != 0 || n.Broadcast(k.To) {
		return 0, source, nil
	}
	a := f.find(k)
	if a.err != 0 {
		return 0, source, a.err
	}
	if k.From.IsValid() {
		n.mu.Lock()
		held := holds(n.addressesOf(a.hop.Link), k.From)
		n.mu.Unlock()
		if held {
			return a.hop.Link, k.From, nil
		}
		// The stack sends by a link from its own addresses only. What a rule has sent elsewhere is not to go past that,
		// but to another hop of the same route.
		own := n.stack.CheckLocalAddress(0, protocolOf(k.From), toStack(k.From))
		if own == 0 || k.Link != 0 {
			return 0, source, unix.ENETUNREACH
		}
		k.Link = int32(own)
		b := f.find(k)
		switch {
		case a.route.Table != unix.RT_TABLE_MAIN && b.route != a.route:
			return 0, source, unix.ENETUNREACH
		case b.err != 0:
			return 0, source, b.err
		}
		return b.hop.Link, k.From, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if source = a.route.Source; source.IsValid() && !holds(n.addressesOf(a.hop.Link), source) {
		source = netip.Addr{}
	}
	if l := n.links[a.hop.Link]; l != nil && !source.IsValid() {
		source = l.sourceFor(k.To, a.hop.Gateway)
	}
	if !source.IsValid() {
		return 0, source, unix.ENETUNREACH
	}
	return a.hop.Link, source, nil
}

func (n *Namespace) addressesOf(index int32) []*AddressInfo {
	if l := n.links[index]; l != nil {
		return l.addresses
	}
	return nil
}

// Sender is the owner of packets that are looked up as Linux looks its socket up.
type Sender interface {
	tcpip.PacketOwner
	// Unsourced reports whether it has left their source to the route.
	Unsourced() bool
	// Bound is the interface that they must leave by, or 0.
	Bound() int32
}

// steeredLink is an interface as IP sees it. What IP sends goes to the gateway that the rules and routes have for it.
type steeredLink struct {
	stack.NetworkInterface
	protocol tcpip.NetworkProtocolNumber
	stack    *stack.Stack
	steering *steering
	traffic  *traffic
}

func newSteeredLink(nic stack.NetworkInterface, protocol tcpip.NetworkProtocolNumber, s *stack.Stack, st *steering) stack.NetworkInterface {
	if nic.IsLoopback() {
		return nic
	}
	return &steeredLink{nic, protocol, s, st, st.trafficOf(protocol)}
}

// WritePacket implements stack.NetworkInterface.
func (l *steeredLink) WritePacket(r *stack.Route, pkt *stack.PacketBuffer) tcpip.Error {
	f := l.steering.Load()
	if f == nil {
		return l.send(r, pkt)
	}
	k := l.keyOf(r, pkt)
	if !leaves(k.To) || r.IsOutboundBroadcast() {
		return l.send(r, pkt)
	}
	a := f.find(k)
	if me := int32(l.ID()); a.err == 0 && a.hop.Link != me {
		if k.In != 0 {
			return l.redirect(r, tcpip.NICID(a.hop.Link), &k, pkt)
		}
		// It is bound to the link, or answers what came in by it.
		k.Link = me
		a = f.find(k)
	}
	switch {
	case a.err == unix.ENETUNREACH:
		return &tcpip.ErrNetworkUnreachable{}
	case a.err != 0:
		return &tcpip.ErrHostUnreachable{}
	case !a.hop.Gateway.IsValid():
		return l.send(r, pkt)
	}
	// A route to the gateway has the gateway's link address, be it of IPv6; the packet's own header is there already.
	to, err := l.stack.FindRoute(l.ID(), tcpip.Address{}, toStack(a.hop.Gateway), protocolOf(a.hop.Gateway), false)
	if err != nil {
		return err
	}
	defer to.Release()
	return l.send(to, pkt)
}

// send has a packet leave by the link, and counts it.
func (l *steeredLink) send(r *stack.Route, pkt *stack.PacketBuffer) tcpip.Error {
	err := l.NetworkInterface.WritePacket(r, pkt)
	if err == nil && pkt.Owner == nil {
		l.traffic.count(l.protocol, pkt)
	}
	return err
}

// redirect has a packet that is forwarded leave by another link than the one that the stack has chosen.
func (l *steeredLink) redirect(r *stack.Route, by tcpip.NICID, k *RouteKey, pkt *stack.PacketBuffer) tcpip.Error {
	to, err := l.stack.FindRoute(by, tcpip.Address{}, toStack(k.To), protocolOf(k.To), false)
	if err != nil {
		return err
	}
	defer to.Release()
	if to.RequiresTXTransportChecksum() && !r.RequiresTXTransportChecksum() {
		pkt.CalculateTransportChecksum()
	}
	out := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(to.MaxHeaderLength()), Payload: pkt.ToBuffer(), IsForwardedPacket: true, Mark: pkt.Mark,
	})
	defer out.DecRef()
	out.InputNICID = pkt.InputNICID
	l.steering.whole.Store(to, *k)
	defer l.steering.whole.Delete(to)
	return to.WriteHeaderIncludedPacket(out)
}

// keyOf is what the way of a packet depends on that has its header of IP.
func (l *steeredLink) keyOf(r *stack.Route, pkt *stack.PacketBuffer) RouteKey {
	if pkt.Owner == nil {
		if k, ok := l.steering.whole.Load(r); ok {
			return k.(RouteKey)
		}
	}
	k := RouteKey{In: int32(pkt.InputNICID), Mark: pkt.Mark}
	if k.readHeader(l.protocol, pkt.NetworkHeader().Slice()) {
		k.readPorts(pkt.TransportHeader().Slice())
	}
	k.readOwner(pkt.Owner)
	return k
}

// readHeader reads a header of IP, and reports whether the packet is no fragment.
func (k *RouteKey) readHeader(protocol tcpip.NetworkProtocolNumber, h []byte) (whole bool) {
	if protocol == header.IPv4ProtocolNumber {
		ip := header.IPv4(h)
		tos, _ := ip.TOS()
		k.From, k.To, k.TOS, k.Protocol = fromStack(ip.SourceAddress()), fromStack(ip.DestinationAddress()), tos&^3, ip.Protocol()
		return !ip.More() && ip.FragmentOffset() == 0
	}
	ip := header.IPv6(h)
	class, _ := ip.TOS()
	k.From, k.To, k.TOS, k.Protocol = fromStack(ip.SourceAddress()), fromStack(ip.DestinationAddress()), class&^3, ip.NextHeader()
	return true // a fragment's next header is not that of its protocol
}

// readPorts reads the header after that, as far as it is there.
func (k *RouteKey) readPorts(t []byte) {
	if len(t) >= 4 && (k.Protocol == unix.IPPROTO_TCP || k.Protocol == unix.IPPROTO_UDP) {
		k.SourcePort, k.DestinationPort = header.UDP(t).SourcePort(), header.UDP(t).DestinationPort()
	}
}

// readOwner says who sends a packet: root if that is no socket.
func (k *RouteKey) readOwner(owner tcpip.PacketOwner) {
	if owner == nil {
		return
	}
	k.UID = owner.KUID()
	if s, ok := owner.(Sender); ok {
		if k.Link = s.Bound(); s.Unsourced() {
			k.From = netip.Addr{}
		}
	}
}
