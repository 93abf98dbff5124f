package network

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// RouteInfo is a route (rtnetlink(7)).
type RouteInfo struct {
	// Destination is a network; 0.0.0.0/0 and ::/0 are the default routes.
	Destination netip.Prefix
	// Gateway and Source are invalid if there are none. A gateway may be of the other family.
	Gateway, Source netip.Addr
	// Hops are what takes the place of Gateway and Link if there are several.
	Hops []NextHop
	// From is the source address that a lookup was asked for, as it is shown.
	From netip.Addr
	// Link is the interface's index.
	Link int32
	// Metric is RTA_PRIORITY: the lowest wins.
	Metric uint32
	// Table is RT_TABLE_*, Protocol RTPROT_*, Scope RT_SCOPE_*, Type RTN_*, Flags RTNH_F_*.
	Table                 uint32
	Protocol, Scope, Type uint8
	Flags                 uint32
	TOS                   uint8
	// MTU is RTAX_MTU, or 0.
	MTU uint32
}

// NextHop is one of several ways to a destination.
type NextHop struct {
	// Gateway is invalid if there is none.
	Gateway netip.Addr
	Link    int32
	// Weight is how many of all flows go there, of the sum of all weights.
	Weight uint16
	// Flags are RTNH_F_*.
	Flags uint32
}

// maxHops bounds the hops of a route.
const maxHops = 256

// counts reports whether the stack is told of a route: the usual rules lead to the main table alone, and
// its own local one.
func (r *RouteInfo) counts() bool { return r.Table == unix.RT_TABLE_MAIN && r.Type == unix.RTN_UNICAST }

// over reports whether a route goes over a link, and over no other one that is up.
func (n *Namespace) over(r *RouteInfo, index int32) bool {
	return r.Link == index || len(r.Hops) > 0 && !slices.ContainsFunc(r.Hops, func(h NextHop) bool {
		l := n.links[h.Link]
		return h.Link != index && l != nil && l.up
	})
}

// same reports whether two routes cannot both be in a table.
func (r *RouteInfo) same(o *RouteInfo) bool {
	return r.Table == o.Table && r.Destination == o.Destination && r.Metric == o.Metric && r.TOS == o.TOS
}

// sortedByMetric returns routes with the least metric first, and otherwise in their order.
func sortedByMetric(list []*RouteInfo) []*RouteInfo {
	return slices.SortedStableFunc(slices.Values(list), func(a, b *RouteInfo) int { return cmp.Compare(a.Metric, b.Metric) })
}

// Routes returns all routes: those of the main table and others, as ip(8) orders them, then
// those of the local table, which follow from the addresses.
func (n *Namespace) Routes() []RouteInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]RouteInfo, 0, len(n.routes))
	for _, r := range n.routes {
		out = append(out, *n.shown(r))
	}
	slices.SortStableFunc(out, func(a, b RouteInfo) int {
		va, vb := a.Destination.Addr().Is6(), b.Destination.Addr().Is6()
		switch {
		case va != vb:
			if vb {
				return -1
			}
			return 1
		case va && a.Destination.Bits() == 0 != (b.Destination.Bits() == 0):
			return cmp.Compare(b.Destination.Bits(), a.Destination.Bits())
		}
		return cmp.Or(a.Destination.Addr().Compare(b.Destination.Addr()), cmp.Compare(b.Destination.Bits(), a.Destination.Bits()), cmp.Compare(a.Metric, b.Metric))
	})
	for _, l := range n.sorted() {
		out = append(out, l.localRoutes()...)
	}
	return out
}

// shown is a route as it is shown: with RTNH_F_LINKDOWN if nothing is at the link's other end.
func (n *Namespace) shown(r *RouteInfo) *RouteInfo {
	out := *r
	if l := n.links[r.Link]; r.Type != unix.RTN_LOCAL && l != nil && l.device != nil && !carries(l.device) {
		out.Flags |= unix.RTNH_F_LINKDOWN
	}
	out.Hops = slices.Clone(r.Hops)
	for i := range out.Hops {
		h := &out.Hops[i]
		switch l := n.links[h.Link]; {
		case l == nil || !l.up:
			h.Flags |= unix.RTNH_F_DEAD | unix.RTNH_F_LINKDOWN
		case l.device != nil && !carries(l.device):
			h.Flags |= unix.RTNH_F_LINKDOWN
		}
	}
	return &out
}

// localRoutes are the routes of table local that a link's addresses bring.
func (l *link) localRoutes() []RouteInfo {
	if !l.up {
		return nil
	}
	var out []RouteInfo
	six := false
	for _, a := range l.addresses {
		out = append(out, a.localRoutes()...)
		six = six || a.Prefix.Addr().Is6()
	}
	if six && l.device != nil {
		out = append(out, RouteInfo{
			Destination: netip.MustParsePrefix("ff00::/8"), Link: l.index, Metric: 256,
			Table: unix.RT_TABLE_LOCAL, Protocol: unix.RTPROT_KERNEL, Type: unix.RTN_MULTICAST,
		})
	}
	return out
}

// localRoutes are those that an address brings: to itself, and to its network's broadcast
// address.
func (a *AddressInfo) localRoutes() []RouteInfo {
	addr := a.Prefix.Addr()
	r := RouteInfo{
		Destination: netip.PrefixFrom(addr, addr.BitLen()), Link: a.Link,
		Table: unix.RT_TABLE_LOCAL, Protocol: unix.RTPROT_KERNEL, Type: unix.RTN_LOCAL,
	}
	if addr.Is6() {
		return []RouteInfo{r}
	}
	r.Source, r.Scope = addr, unix.RT_SCOPE_HOST
	out := []RouteInfo{r}
	if addr.IsLoopback() && a.Prefix.Bits() < 32 {
		all := r
		all.Destination = a.network()
		out = []RouteInfo{all, r}
	}
	if b := BroadcastOf(a.Prefix); b.IsValid() && a.Flags&unix.IFA_F_SECONDARY == 0 {
		r.Destination, r.Type, r.Scope = netip.PrefixFrom(b, 32), unix.RTN_BROADCAST, unix.RT_SCOPE_LINK
		out = append(out, r)
	}
	return out
}

// tellLocal tells of the local routes of an address that has come to a link that is up, or gone.
func (n *Namespace) tellLocal(a *AddressInfo, deleted bool) {
	if len(n.watchers) == 0 {
		return
	}
	for _, r := range a.localRoutes() {
		n.tell(Event{Deleted: deleted, Route: n.shown(&r)})
	}
}

// prefixMetric is that of the route to an IPv6 address's network (IP6_RT_PRIO_ADDRCONF).
const prefixMetric = 256

// connect adds the routes to an address's network. n.mu is held, here and below.
func (n *Namespace) connect(l *link, a *AddressInfo) {
	addr, p := a.Prefix.Addr(), a.network()
	n.tellLocal(a, false)
	r := RouteInfo{
		Destination: p, Link: l.index, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_KERNEL, Type: unix.RTN_UNICAST, Metric: a.Metric,
	}
	if l.device == nil && addr.IsLoopback() {
		// In Linux the route is the local table's.
		if n.stack != nil {
			n.stack.AddRoute(r.toStack())
		}
		return
	}
	switch {
	case a.Flags&unix.IFA_F_NOPREFIXROUTE != 0, addr.Is4() && p.Bits() == 32 && p.Addr() == addr, a.Flags&unix.IFA_F_SECONDARY != 0:
		return
	case addr.Is4():
		r.Scope, r.Source = unix.RT_SCOPE_LINK, addr
	case r.Metric == 0:
		r.Metric = prefixMetric
	}
	if !slices.ContainsFunc(n.routes, func(o *RouteInfo) bool { return o.same(&r) && o.Link == r.Link }) {
		n.enter(r)
	}
}

// What AddRoute does where there is such a route already: NLM_F_EXCL and its kin.
type RouteMode int

const (
	// RouteCreate is for a route that must not be there: EEXIST.
	RouteCreate RouteMode = iota
	// RouteReplace takes the place of the one that is there.
	RouteReplace
	// RouteAppend comes after it.
	RouteAppend
	// RouteChange must be there: ENOENT.
	RouteChange
)

// AddRoute adds a route. ENETUNREACH for a gateway that is on no link, ENETDOWN for an interface
// that is down, EOPNOTSUPP for what the stack cannot do.
func (n *Namespace) AddRoute(r RouteInfo, mode RouteMode) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addRoute(r, mode)
}

func (n *Namespace) addRoute(r RouteInfo, mode RouteMode) error {
	if err := n.checkRoute(&r); err != nil {
		return err
	}
	i := slices.IndexFunc(n.routes, func(o *RouteInfo) bool {
		// Beside others of IPv6, only the same way is the same route.
		return o.same(&r) && (r.Destination.Addr().Is4() || mode != RouteCreate || o.Gateway == r.Gateway && o.Link == r.Link)
	})
	switch {
	case i < 0 && mode == RouteChange:
		return unix.ENOENT
	case i >= 0 && mode == RouteCreate:
		return unix.EEXIST
	case i >= 0 && mode != RouteAppend && n.hops()-max(len(n.routes[i].Hops), 1)+max(len(r.Hops), 1) <= maxRoutes:
		n.routes[i] = &r // whoever steers has the old one
		n.steer()
		n.mirrorRoutes()
		n.tell(Event{Route: n.shown(&r)})
		return nil
	case n.hops()+max(len(r.Hops), 1) > maxRoutes:
		return refuse(unix.ENOSPC, "There are %d routes already", maxRoutes)
	}
	n.enter(r)
	return nil
}

// hops is how many ways all routes have, which maxRoutes bounds.
func (n *Namespace) hops() (sum int) {
	for _, r := range n.routes {
		sum += max(len(r.Hops), 1)
	}
	return sum
}

// checkRoute completes a route and says what is wrong with it.
func (n *Namespace) checkRoute(r *RouteInfo) error {
	v6 := r.Destination.Addr().Is6()
	if !r.Destination.IsValid() || r.Destination != r.Destination.Masked() {
		return refuse(unix.EINVAL, "Invalid prefix for given prefix length")
	}
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if r.Table == unix.RT_TABLE_LOCAL {
		return refuse(unix.EOPNOTSUPP, "Routes can be added to other tables than the local one only")
	}
	if r.Metric == 0 && v6 {
		r.Metric = 1024
	}
	switch r.Type {
	case unix.RTN_UNICAST:
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		if !v6 && (r.Link != 0 || r.Gateway.IsValid() || len(r.Hops) > 0) {
			return refuse(unix.EINVAL, "Gateway, device and multipath can not be specified for this route type")
		}
		r.Link, r.Gateway, r.Hops = 0, netip.Addr{}, nil
		return nil
	default:
		return refuse(unix.EINVAL, "Invalid route type")
	}
	if r.Source.IsValid() && !n.hasAddress(r.Source) {
		return refuse(unix.EINVAL, "Invalid preferred source address")
	}
	if len(r.Hops) == 0 {
		h := NextHop{Gateway: r.Gateway, Link: r.Link, Flags: r.Flags}
		err := n.checkHop(r, &h)
		r.Link = h.Link
		return err
	}
	if len(r.Hops) > maxHops {
		return refuse(unix.EINVAL, "A route has %d next hops at most", maxHops)
	}
	for i := range r.Hops {
		if err := n.checkHop(r, &r.Hops[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkHop is that for where a route leads.
func (n *Namespace) checkHop(r *RouteInfo, h *NextHop) error {
	if h.Gateway.IsValid() && h.Flags&unix.RTNH_F_ONLINK == 0 {
		on := n.onLink(h.Gateway, r.Table)
		if h.Link == 0 {
			h.Link = on
		}
		if h.Gateway.Is6() && h.Gateway.IsLinkLocalUnicast() {
			on = h.Link
		}
		if on == 0 || n.hasAddress(h.Gateway) {
			return refuse(unix.ENETUNREACH, "Nexthop has invalid gateway")
		}
	}
	l := n.links[h.Link]
	switch {
	case h.Link == 0:
		return refuse(unix.ENODEV, "A route needs an interface or a gateway")
	case l == nil:
		return refuse(unix.ENODEV, "There is no such interface")
	case !l.up:
		return refuse(unix.ENETDOWN, "Device for nexthop is not up")
	}
	return nil
}

// onLink returns the link whose network an address is in, by the main table or another one, or 0.
func (n *Namespace) onLink(a netip.Addr, table uint32) int32 {
	best, bits := int32(0), -1
	for _, r := range n.routes {
		if (r.counts() || r.Table == table && r.Type == unix.RTN_UNICAST && len(r.Hops) == 0) && !r.Gateway.IsValid() && r.Destination.Contains(a) && r.Destination.Bits() > bits {
			best, bits = r.Link, r.Destination.Bits()
		}
	}
	return best
}

// enter puts a route in the table.
func (n *Namespace) enter(r RouteInfo) {
	n.routes = append(n.routes, &r)
	n.steer()
	switch {
	case n.Steered():
		if r.MTU != 0 {
			n.mirrorRoutes()
		}
	case n.stack != nil && r.counts():
		later := slices.ContainsFunc(n.routes, func(o *RouteInfo) bool { return o.Destination == r.Destination && o.Metric > r.Metric })
		if later {
			n.mirrorRoutes()
		} else {
			n.stack.AddRoute(r.toStack())
		}
	}
	n.tell(Event{Route: n.shown(&r)})
}

// DeleteRoute takes away the first route that matches: what is not given (0, invalid) matches
// everything, but the table is the main one. ESRCH if there is none.
func (n *Namespace) DeleteRoute(r RouteInfo) error {
	rtnl.Lock()
	defer rtnl.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
	}
	if refusal(r.Type) != 0 {
		r.Link = 0 // Linux has them on lo
	}
	// Of a route of IPv6 only the hop goes that has the gateway.
	hop := func(o *RouteInfo) int {
		if !r.Gateway.IsValid() || o.Destination.Addr().Is4() {
			return -1
		}
		return slices.IndexFunc(o.Hops, func(h NextHop) bool { return h.Gateway == r.Gateway && (r.Link == 0 || h.Link == r.Link) })
	}
	leads := func(o *RouteInfo) bool {
		first := o.first()
		return hop(o) >= 0 || (!r.Gateway.IsValid() || first.Gateway == r.Gateway) && (r.Link == 0 || first.Link == r.Link) &&
			(len(r.Hops) == 0 || sameHops(r.Hops, o.Hops))
	}
	var best *RouteInfo
	for _, o := range n.routes {
		if o.Table == r.Table && o.Destination == r.Destination && (r.Metric == 0 || o.Metric == r.Metric) && leads(o) &&
			(!r.Source.IsValid() || o.Source == r.Source) && (r.Protocol == 0 || o.Protocol == r.Protocol) && (r.Type == 0 || o.Type == r.Type) &&
			(r.Scope == unix.RT_SCOPE_NOWHERE || r.Destination.Addr().Is6() || o.Scope == r.Scope) && (best == nil || o.Metric < best.Metric) {
			best = o
		}
	}
	if best == nil {
		return unix.ESRCH
	}
	if at := hop(best); at >= 0 {
		n.deleteHop(best, at)
		return nil
	}
	n.deleteRoutes(func(o *RouteInfo) bool { return o == best })
	return nil
}

// deleteHop takes one of several hops from a route.
func (n *Namespace) deleteHop(r *RouteInfo, at int) {
	rest, gone := *r, *r
	gone.Hops, gone.Gateway, gone.Link = nil, r.Hops[at].Gateway, r.Hops[at].Link
	rest.Hops = slices.Delete(slices.Clone(r.Hops), at, at+1)
	if len(rest.Hops) == 1 {
		h := rest.Hops[0]
		rest.Hops, rest.Gateway, rest.Link, rest.Flags = nil, h.Gateway, h.Link, rest.Flags|h.Flags
	}
	n.routes[slices.Index(n.routes, r)] = &rest // whoever steers has the old one
	n.steer()
	n.mirrorRoutes()
	n.tell(Event{Deleted: true, Route: n.shown(&gone)})
}

// first is where a route leads, or the first of several hops.
func (r *RouteInfo) first() NextHop {
	if len(r.Hops) > 0 {
		return r.Hops[0]
	}
	return NextHop{Gateway: r.Gateway, Link: r.Link}
}

// sameHops reports whether hops that somebody has described are those of a route.
func sameHops(described, have []NextHop) bool {
	return slices.EqualFunc(described, have, func(a, b NextHop) bool {
		return (a.Link == 0 || a.Link == b.Link) && (!a.Gateway.IsValid() || a.Gateway == b.Gateway) && a.Weight == b.Weight
	})
}

// deleteRoutes takes away the routes that match, and tells of each.
func (n *Namespace) deleteRoutes(match func(*RouteInfo) bool) {
	for _, r := range n.dropRoutes(match) {
		n.tell(Event{Deleted: true, Route: n.shown(r)})
	}
}

// dropRoutes takes away the routes that match, and returns them.
func (n *Namespace) dropRoutes(match func(*RouteInfo) bool) (gone []*RouteInfo) {
	n.routes = slices.DeleteFunc(n.routes, func(r *RouteInfo) bool {
		if !match(r) {
			return false
		}
		gone = append(gone, r)
		return true
	})
	if len(gone) == 0 {
		return nil
	}
	was := n.Steered()
	if n.steer(); was {
		if n.Steered() && slices.ContainsFunc(gone, func(r *RouteInfo) bool { return r.MTU != 0 }) {
			n.mirrorRoutes()
		}
		return gone
	}
	for _, r := range gone {
		if n.stack != nil && r.counts() {
			was, first := r.toStack(), true
			n.stack.RemoveRoutes(func(o tcpip.Route) bool {
				hit := first && o.Destination.Equal(was.Destination) && o.NIC == was.NIC && o.Gateway == was.Gateway && o.SourceHint == was.SourceHint && o.MTU == was.MTU
				first = first && !hit
				return hit
			})
		}
	}
	return gone
}
