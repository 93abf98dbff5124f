package network

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Lookup returns the route that a packet to an address takes, with the source address that it
// gets if source is not valid: as ip(8) route get shows it. link is that of the interface it must leave by,
// or 0. ENETUNREACH if there is none, or if source is no interface's.
func (n *Namespace) Lookup(to, source netip.Addr, link int32) (RouteInfo, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if source.Is4() && !source.IsUnspecified() {
		if own, ok := n.local(source); !ok || own.Type != unix.RTN_LOCAL {
			return RouteInfo{}, unix.ENETUNREACH
		}
	}
	r, ok := n.local(to)
	if !ok {
		if r, ok = n.best(to, link); !ok {
			return r, unix.ENETUNREACH
		}
	}
	if source.IsValid() {
		r.Source = source
	}
	if l := n.links[r.Link]; !r.Source.IsValid() && l != nil {
		r.Source = l.sourceFor(to, r.Gateway)
	}
	r.Destination = netip.PrefixFrom(to, to.BitLen())
	return r, nil
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

// best looks an address up in the main table.
func (n *Namespace) best(to netip.Addr, link int32) (best RouteInfo, found bool) {
	for _, r := range n.routes {
		if !r.counts() || !r.Destination.Contains(to) || link != 0 && r.Link != link {
			continue
		}
		if !found || r.Destination.Bits() > best.Destination.Bits() || r.Destination.Bits() == best.Destination.Bits() && r.Metric < best.Metric {
			best, found = *r, true
		}
	}
	return best, found
}

// sourceFor is the address of the link that packets to an address come from.
func (l *link) sourceFor(to, gateway netip.Addr) netip.Addr {
	if gateway.IsValid() {
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
