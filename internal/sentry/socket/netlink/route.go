package netlink

import (
	"net/netip"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// A message type of NETLINK_ROUTE is one of four for a kind of thing: new, delete, get, set.
const (
	kindLink      = (unix.RTM_NEWLINK - unix.RTM_BASE) / 4
	kindAddress   = (unix.RTM_NEWADDR - unix.RTM_BASE) / 4
	kindRoute     = (unix.RTM_NEWROUTE - unix.RTM_BASE) / 4
	kindNeighbour = (unix.RTM_NEWNEIGH - unix.RTM_BASE) / 4
	kindRule      = (unix.RTM_NEWRULE - unix.RTM_BASE) / 4
	kindQdisc     = (unix.RTM_NEWQDISC - unix.RTM_BASE) / 4
	kindClass     = (unix.RTM_NEWTCLASS - unix.RTM_BASE) / 4
	kindFilter    = (unix.RTM_NEWTFILTER - unix.RTM_BASE) / 4
	kindNetconf   = (unix.RTM_NEWNETCONF - unix.RTM_BASE) / 4
	kindNSID      = (unix.RTM_NEWNSID - unix.RTM_BASE) / 4

	verbNew = 0
	verbDel = 1
	verbGet = 2
	verbSet = 3
)

// routeKind has what can be done with one kind of thing. What is nil is EOPNOTSUPP.
type routeKind struct {
	// size is that of the structure that the messages begin with.
	size          int
	dump, get     func(s *Socket, c Caller, r *request) error
	add, del, set func(s *Socket, c Caller, r *request) error
}

var routeKinds = map[int]routeKind{
	kindLink: {
		size: unix.SizeofIfInfomsg, dump: (*Socket).dumpLinks, get: (*Socket).getLink,
		add: (*Socket).newLink, del: (*Socket).deleteLink, set: (*Socket).setLink,
	},
	kindAddress: {
		size: unix.SizeofIfAddrmsg, dump: (*Socket).dumpAddresses, add: (*Socket).newAddress, del: (*Socket).deleteAddress,
	},
	kindRoute: {
		size: unix.SizeofRtMsg, dump: (*Socket).dumpRoutes, get: (*Socket).getRoute, add: (*Socket).newRoute, del: (*Socket).deleteRoute,
	},
	kindNeighbour: {
		size: unix.SizeofNdMsg, dump: (*Socket).dumpNeighbours, get: (*Socket).getNeighbour,
		add: (*Socket).newNeighbour, del: (*Socket).deleteNeighbour,
	},
	kindRule:    {size: sizeofRule, dump: (*Socket).dumpRules, add: (*Socket).newRule, del: (*Socket).deleteRule},
	kindQdisc:   {size: sizeofTC, dump: (*Socket).dumpQdiscs, add: refuseQdisc, del: refuseQdisc},
	kindClass:   {size: sizeofTC, dump: (*Socket).dumpNothing, add: refuseQdisc, del: refuseQdisc},
	kindFilter:  {size: sizeofTC, dump: (*Socket).dumpNothing, add: refuseQdisc, del: refuseQdisc},
	kindNetconf: {size: sizeofNetconf, dump: (*Socket).dumpNetconf, get: (*Socket).getNetconf},
	kindNSID:    {size: 1, dump: (*Socket).dumpNSIDs, get: (*Socket).getNSID, add: (*Socket).newNSID},
}

// handleRoute answers a request of NETLINK_ROUTE.
func (s *Socket) handleRoute(c Caller, r *request) (dumps bool, err error) {
	if r.typ < unix.RTM_BASE {
		return false, unix.EOPNOTSUPP
	}
	verb := int(r.typ-unix.RTM_BASE) % 4
	k, ok := routeKinds[int(r.typ-unix.RTM_BASE)/4]
	if verb != verbGet && !s.may(c, r, s.ns.Owner, unix.CAP_NET_ADMIN) {
		return false, unix.EPERM
	}
	var f func(*Socket, Caller, *request) error
	switch verb {
	case verbNew:
		f = k.add
	case verbDel:
		f = k.del
	case verbSet:
		f = k.set
	case verbGet:
		f = k.get
		if r.flags&unix.NLM_F_DUMP != 0 && k.dump != nil {
			f, dumps = k.dump, true
		}
	}
	switch {
	case !ok || f == nil:
		return false, unix.EOPNOTSUPP
	case len(r.body) < k.size:
		// Old programs dump with nothing but a family (struct rtgenmsg).
		short := refuse(unix.EINVAL, "Invalid header for request: it has %d bytes, not %d", len(r.body), k.size)
		if !dumps || len(r.body) == 0 {
			return false, short
		}
		if s.flag(unix.NETLINK_GET_STRICT_CHK) {
			return true, s.failDump(r, short)
		}
		r.body = append(append([]byte(nil), r.body...), make([]byte, k.size-len(r.body))...)
	}
	err = f(s, c, r)
	if dumps && err != nil && err != unix.EBUSY && err != unix.ENOBUFS {
		// The end of a dump carries what went wrong with it.
		return true, s.failDump(r, err)
	}
	return dumps && err == nil, err
}

// attrs are the request's attributes, which come after size bytes.
func (s *Socket) attrs(r *request, size int) (*attrs, error) {
	return parseAttrs(r.body[min(align(size), len(r.body)):], r.typ%4 == unix.RTM_GETLINK%4 && s.flag(unix.NETLINK_GET_STRICT_CHK))
}

// family is what a message calls the family of an address.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// ip reads an address of a family: ok is false if there is none. EINVAL for one of another length.
func (a *attrs) ip(typ int, family uint8) (addr netip.Addr, err error) {
	b := a[typ]
	if b == nil {
		return netip.Addr{}, nil
	}
	addr, ok := netip.AddrFromSlice(b)
	if !ok || family == unix.AF_INET && !addr.Is4() || family == unix.AF_INET6 && addr.Is4() {
		return netip.Addr{}, refuse(unix.EINVAL, "Invalid length of an address")
	}
	return addr, nil
}

// wants reports whether a dump for a family shows what is of another: 0 shows all.
func wants(asked, of uint8) bool { return asked == unix.AF_UNSPEC || asked == of }

// The groups of NETLINK_ROUTE (RTNLGRP_*).
const (
	groupLink      = unix.RTNLGRP_LINK
	groupNeighbour = unix.RTNLGRP_NEIGH
	rtnlGroups     = 39
)

// NetworkEvent implements network.Watcher.
func (s *Socket) NetworkEvent(e network.Event) {
	group, typ := 0, uint16(0)
	var fill func(*builder)
	var w builder
	switch {
	case e.Link != nil:
		group, typ = groupLink, unix.RTM_NEWLINK
		fill = func(w *builder) { s.fillLink(w, e.Link, 0) }
	case e.Address != nil && e.Address.Prefix.Addr().Is4():
		group, typ = unix.RTNLGRP_IPV4_IFADDR, unix.RTM_NEWADDR
		fill = func(w *builder) { fillAddress(w, e.Address) }
	case e.Address != nil:
		group, typ = unix.RTNLGRP_IPV6_IFADDR, unix.RTM_NEWADDR
		fill = func(w *builder) { fillAddress(w, e.Address) }
	case e.Route != nil && e.Route.Destination.Addr().Is4():
		group, typ = unix.RTNLGRP_IPV4_ROUTE, unix.RTM_NEWROUTE
		fill = func(w *builder) { fillRoute(w, e.Route) }
	case e.Route != nil:
		group, typ = unix.RTNLGRP_IPV6_ROUTE, unix.RTM_NEWROUTE
		fill = func(w *builder) { fillRoute(w, e.Route) }
	case e.Rule != nil:
		group, typ = unix.RTNLGRP_IPV4_RULE, unix.RTM_NEWRULE
		if e.Rule.Family == unix.AF_INET6 {
			group = unix.RTNLGRP_IPV6_RULE
		}
		fill = func(w *builder) { fillRule(w, e.Rule, s.opener.UserNS) }
	case e.Neighbour != nil:
		group, typ = groupNeighbour, unix.RTM_NEWNEIGH
		fill = func(w *builder) { fillNeighbour(w, e.Neighbour) }
	case e.Netconf != nil:
		group, typ = unix.RTNLGRP_IPV4_NETCONF, unix.RTM_NEWNETCONF
		if e.Netconf.Family == unix.AF_INET6 {
			group = unix.RTNLGRP_IPV6_NETCONF
		}
		fill = func(w *builder) { fillNetconf(w, e.Netconf) }
	default:
		return
	}
	if s.groups.Load()&(1<<(group-1)) == 0 || s.port.Load() == 0 {
		return // Linux passes over sockets that have the kernel's port ID, 0
	}
	if e.Deleted {
		typ++
	}
	w.begin(typ, 0, 0, 0)
	fill(&w)
	w.end()
	mask := uint32(0)
	if group <= 32 {
		mask = 1 << (group - 1)
	}
	s.deliver(datagram{data: w.b, from: address{groups: mask}, group: group})
}
