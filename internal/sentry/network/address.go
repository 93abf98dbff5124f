package network

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// AddressInfo is an address of an interface.
type AddressInfo struct {
	// Link is the interface's index.
	Link int32
	// Prefix is the address with the length of its network's prefix.
	Prefix netip.Prefix
	// Peer is the address at the other end of a point-to-point link, or invalid; then the
	// prefix is the peer's.
	Peer netip.Addr
	// Broadcast is the broadcast address, or invalid.
	Broadcast netip.Addr
	// Scope is RT_SCOPE_*, Flags IFA_F_*, Protocol IFAPROT_*.
	Scope    uint8
	Flags    uint32
	Protocol uint8
	// Label is the name that ioctls know an IPv4 address by: the link's, or one with a
	// colon and something after it.
	Label string
	// Metric is that of the route to the address's network; 0 is the usual one.
	Metric uint32
}

// network is the network that the address is in.
func (a *AddressInfo) network() netip.Prefix {
	if a.Peer.IsValid() {
		return netip.PrefixFrom(a.Peer, a.Prefix.Bits()).Masked()
	}
	return a.Prefix.Masked()
}

// Addresses returns the addresses of all interfaces, ordered by interface, IPv4
// before IPv6, and in each in the order that they were added, but for those of IPv6 that
// reach farther: they come first.
func (n *Namespace) Addresses() []AddressInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []AddressInfo
	for _, l := range n.sorted() {
		first := len(out)
		for _, a := range l.addresses {
			out = append(out, *a)
		}
		slices.SortStableFunc(out[first:], func(a, b AddressInfo) int {
			if c := cmp.Compare(a.Prefix.Addr().BitLen(), b.Prefix.Addr().BitLen()); c != 0 || a.Prefix.Addr().Is4() {
				return c
			}
			return cmp.Compare(a.Scope, b.Scope)
		})
	}
	return out
}

// AddAddress adds an address to the interface a.Link. EEXIST if it has that already, ENODEV
// without the interface.
func (n *Namespace) AddAddress(a AddressInfo) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[a.Link]
	if l == nil {
		return unix.ENODEV
	}
	return n.addAddress(l, a)
}

// ReplaceAddress adds an address, or changes the one that is there.
func (n *Namespace) ReplaceAddress(a AddressInfo) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[a.Link]
	if l == nil {
		return unix.ENODEV
	}
	if old := l.find(a.Prefix); old != nil {
		if a.Broadcast.IsValid() {
			old.Broadcast = a.Broadcast
		}
		old.Metric = a.Metric
		n.tell(Event{Address: ref(*old)})
		return nil
	}
	return n.addAddress(l, a)
}

func ref[T any](v T) *T { return &v }

// find returns the address of that prefix, or nil.
func (l *link) find(p netip.Prefix) *AddressInfo {
	for _, a := range l.addresses {
		if a.Prefix == p {
			return a
		}
	}
	return nil
}

// holds reports whether an address is among a list, whatever its prefix.
func holds(list []*AddressInfo, addr netip.Addr) bool {
	return slices.ContainsFunc(list, func(a *AddressInfo) bool { return a.Prefix.Addr() == addr })
}

// addAddress adds an address to a link. n.mu is held, here and below.
func (n *Namespace) addAddress(l *link, a AddressInfo) error {
	addr := a.Prefix.Addr()
	switch {
	case !a.Prefix.IsValid():
		return unix.EINVAL
	case addr.Is4() && (addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255})), addr.Is6() && (addr.IsUnspecified() || addr.IsMulticast()):
		return refuse(unix.EADDRNOTAVAIL, "%s is no address of an interface", addr)
	case addr.Is6() && l.noIPv6:
		return refuse(unix.EACCES, "IPv6 is disabled on this device")
	case len(l.addresses) >= maxAddresses:
		return refuse(unix.ENOBUFS, "%s has %d addresses already", l.name, maxAddresses)
	case l.find(a.Prefix) != nil, addr.Is6() && holds(l.addresses, addr):
		return refuse(unix.EEXIST, "%s has %s already", l.name, a.Prefix)
	}
	a.Link = l.index
	a.Flags = a.Flags&^unix.IFA_F_SECONDARY | unix.IFA_F_PERMANENT
	if addr.Is4() {
		if a.Label == "" {
			a.Label = l.name
		}
		for _, o := range l.addresses {
			if o.Flags&unix.IFA_F_SECONDARY == 0 && o.Prefix.Addr().Is4() && o.network() == a.network() {
				a.Flags |= unix.IFA_F_SECONDARY
			}
		}
	} else {
		a.Label, a.Scope = "", scopeOf(addr)
	}
	if n.stack != nil && !holds(l.addresses, addr) {
		n.mirrorAddress(l, &a)
	}
	// As in Linux, the first addresses of networks stand before the others.
	at := len(l.addresses)
	if addr.Is4() && a.Flags&unix.IFA_F_SECONDARY == 0 {
		if i := slices.IndexFunc(l.addresses, func(o *AddressInfo) bool { return o.Flags&unix.IFA_F_SECONDARY != 0 }); i >= 0 {
			at = i
		}
	}
	l.addresses = slices.Insert(l.addresses, at, &a)
	n.tell(Event{Address: ref(a)})
	if l.up {
		n.connect(l, &a)
	}
	return nil
}

// DeleteAddress takes an address away from an interface, with the secondary addresses of its
// network, and the routes that prefer it as source. EADDRNOTAVAIL if it is not there.
func (n *Namespace) DeleteAddress(index int32, p netip.Prefix) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.links[index]
	if l == nil {
		return unix.ENODEV
	}
	a := l.find(p)
	if a == nil {
		return refuse(unix.EADDRNOTAVAIL, "%s does not have %s", l.name, p)
	}
	n.deleteAddress(l, a)
	if p.Addr().Is4() && a.Flags&unix.IFA_F_SECONDARY == 0 {
		for _, o := range slices.Clone(l.addresses) {
			if o.Flags&unix.IFA_F_SECONDARY != 0 && o.network() == a.network() {
				n.deleteAddress(l, o)
			}
		}
	}
	return nil
}

func (n *Namespace) deleteAddress(l *link, a *AddressInfo) {
	addr := a.Prefix.Addr()
	l.addresses = slices.DeleteFunc(l.addresses, func(o *AddressInfo) bool { return o == a })
	if n.stack != nil && !holds(l.addresses, addr) {
		n.stack.RemoveAddress(l.nic(), toStack(addr))
		n.changes.Add(1)
	}
	n.deleteRoutes(func(r *RouteInfo) bool {
		if addr.Is4() && r.Source == addr {
			return !n.hasAddress(addr)
		}
		return addr.Is6() && r.Link == l.index && r.Protocol == unix.RTPROT_KERNEL && r.Destination == a.network() &&
			!slices.ContainsFunc(l.addresses, func(o *AddressInfo) bool { return o.network() == a.network() })
	})
	n.deleteRoutes(func(r *RouteInfo) bool {
		return addr.Is4() && r.Link == l.index && r.Protocol == unix.RTPROT_KERNEL && r.Source == addr && r.Destination == a.network()
	})
	if addr.Is4() && !slices.ContainsFunc(l.addresses, func(o *AddressInfo) bool { return o.Prefix.Addr().Is4() }) {
		// With its last address a link loses all IPv4 routes. As in Linux, they are not told of.
		n.dropRoutes(func(r *RouteInfo) bool { return n.over(r, l.index) && r.Destination.Addr().Is4() })
	}
	n.tell(Event{Deleted: true, Address: ref(*a)})
	if l.up {
		n.tellLocal(a, true)
	}
}

// hasAddress reports whether any link has an address.
func (n *Namespace) hasAddress(addr netip.Addr) bool {
	for _, l := range n.links {
		if holds(l.addresses, addr) {
			return true
		}
	}
	return false
}

// linkLocal is the address that an IPv6 interface gives itself: fe80:: and its Ethernet
// address (RFC 4291, appendix A).
func linkLocal(mac string) netip.Addr {
	var b [16]byte
	b[0], b[1] = 0xfe, 0x80
	copy(b[8:], mac[:3])
	b[8] ^= 2
	b[11], b[12] = 0xff, 0xfe
	copy(b[13:], mac[3:])
	return netip.AddrFrom16(b)
}
