package network

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Lookup returns the route that a packet takes, with the source address that it gets if it has none: as ip(8) route get
// shows it. The error is that of a route or rule which refuses it, or ENETUNREACH if there is none, or if the source is no
// interface's.
func (n *Namespace) Lookup(k RouteKey) (RouteInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if k.In == 0 && k.From.Is4() && !k.From.IsUnspecified() {
		if own, ok := n.local(k.From); !ok || own.Type != unix.RTN_LOCAL {
			return RouteInfo{}, unix.ENETUNREACH
		}
	}
	a := n.currentFIB().search(k, n.local)
	if a.err != 0 {
		return RouteInfo{}, a.err
	}
	r := *a.route
	r.Gateway, r.Link, r.Hops = a.hop.Gateway, a.hop.Link, nil
	if k.From.IsValid() && k.In == 0 {
		r.Source = k.From
	}
	if l := n.links[r.Link]; !r.Source.IsValid() && l != nil {
		r.Source = l.sourceFor(k.To, r.Gateway)
	}
	r.Destination = netip.PrefixFrom(k.To, k.To.BitLen())
	return r, nil
}

// currentFIB is what steers the stack, or would. n.mu is held.
func (n *Namespace) currentFIB() *fib {
	if f := n.steering.Load(); f != nil {
		return f
	}
	if n.unsteered == nil {
		n.unsteered = n.newFIB()
	}
	return n.unsteered
}

// Broadcast reports whether an address is that of a whole network which an interface is in.
func (n *Namespace) Broadcast(to netip.Addr) bool {
	if !to.Is4() || to.As4()[3]&3 != 3 { // no network is smaller than four addresses
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r, ok := n.local(to)
	return ok && r.Type == unix.RTN_BROADCAST
}

// local looks an address up in the local table.
func (n *Namespace) local(to netip.Addr) (best RouteInfo, found bool) {
	for _, l := range n.sorted() {
		for _, r := range l.localRoutes() {
			if r.Type != unix.RTN_MULTICAST && r.Destination.Contains(to) && (!found || r.Destination.Bits() > best.Destination.Bits()) {
				best, found = r, true
			}
		}
	}
	if found && best.Type == unix.RTN_LOCAL {
		best.Link, best.Source = LoopbackIndex, to
	}
	return best, found
}

// sourceFor is the address of the link that packets to an address come from.
func (l *link) sourceFor(to, gateway netip.Addr) netip.Addr {
	if gateway.IsValid() && gateway.Is4() == to.Is4() {
		to = gateway
	}
	var first netip.Addr
	for _, a := range l.addresses {
		addr := a.Prefix.Addr()
		if addr.Is4() != to.Is4() || addr.Is6() && addr.IsLinkLocalUnicast() != to.IsLinkLocalUnicast() {
			continue
		}
		if a.network().Contains(to) {
			return addr
		}
		if !first.IsValid() {
			first = addr
		}
	}
	return first
}
