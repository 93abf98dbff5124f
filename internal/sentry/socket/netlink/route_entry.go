package netlink

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// rtaNextHopID is RTA_NH_ID of linux/rtnetlink.h.
const rtaNextHopID = 30

// What the answer for one destination says of it (RTCF_* of linux/in_route.h).
const (
	flagLocal     = 0x80000000
	flagBroadcast = 0x10000000
)

// fillRoute lays out struct rtmsg and its attributes.
func fillRoute(w *builder, r *network.RouteInfo) {
	table := r.Table
	if table > 255 {
		table = unix.RT_TABLE_COMPAT
	}
	dst := r.Destination.Addr()
	from := 0
	if r.From.IsValid() {
		from = r.From.BitLen()
	}
	w.u8(family(dst), uint8(r.Destination.Bits()), uint8(from), r.TOS, uint8(table), r.Protocol, r.Scope, r.Type)
	w.u32(r.Flags)
	w.attr32(unix.RTA_TABLE, r.Table)
	if r.Destination.Bits() > 0 {
		w.attr(unix.RTA_DST, dst.AsSlice())
	}
	if from > 0 {
		w.attr(unix.RTA_SRC, r.From.AsSlice())
	}
	if r.Metric != 0 || dst.Is6() {
		w.attr32(unix.RTA_PRIORITY, r.Metric)
	}
	if r.Source.IsValid() {
		w.attr(unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	if r.MTU != 0 {
		end := w.nest(unix.RTA_METRICS)
		w.attr32(unix.RTAX_MTU, r.MTU)
		end()
	}
	fillGateway(w, dst, r.Gateway)
	switch {
	case len(r.Hops) > 0:
		fillHops(w, r)
	case r.Link != 0:
		w.attr32(unix.RTA_OIF, uint32(r.Link))
	case dst.Is6() && r.Type != unix.RTN_UNICAST:
		w.attr32(unix.RTA_OIF, network.LoopbackIndex) // where Linux has those that refuse
	}
	if dst.Is6() {
		w.attr(unix.RTA_CACHEINFO, make([]byte, 32))
		w.attr8(unix.RTA_PREF, 0)
	}
}

// fillGateway lays out the gateway to a destination, if there is one: RTA_VIA if it is of the other family.
func fillGateway(w *builder, dst, gateway netip.Addr) {
	switch {
	case !gateway.IsValid():
	case gateway.Is4() == dst.Is4():
		w.attr(unix.RTA_GATEWAY, gateway.AsSlice())
	default:
		w.attr(unix.RTA_VIA, append([]byte{family(gateway), 0}, gateway.AsSlice()...))
	}
}

// fillHops lays out RTA_MULTIPATH: for each hop struct rtnexthop and its attributes.
func fillHops(w *builder, r *network.RouteInfo) {
	end := w.nest(unix.RTA_MULTIPATH)
	for _, h := range r.Hops {
		start := len(w.b)
		w.u16(0)
		w.u8(uint8(h.Flags), uint8(h.Weight-1))
		w.u32(uint32(h.Link))
		fillGateway(w, r.Destination.Addr(), h.Gateway)
		binary.LittleEndian.PutUint16(w.b[start:], uint16(len(w.b)-start))
	}
	end()
}

// dumpRoutes answers a RTM_GETROUTE with NLM_F_DUMP.
func (s *Socket) dumpRoutes(_ Caller, r *request) error {
	at, err := s.attrs(r, unix.SizeofRtMsg)
	if err != nil {
		return err
	}
	fam := r.body[0]
	var table uint32
	var link int32
	protocol, typ := uint8(0), uint8(0)
	if s.flag(unix.NETLINK_GET_STRICT_CHK) {
		table, protocol, typ = uint32(r.body[4]), r.body[5], r.body[7]
		if v, ok, err := at.u32(unix.RTA_TABLE); err != nil {
			return err
		} else if ok {
			table = v
		}
		oif, _, err := at.u32(unix.RTA_OIF)
		if err != nil {
			return err
		}
		link = int32(oif)
	}
	if binary.LittleEndian.Uint32(r.body[8:])&unix.RTM_F_CLONED != 0 {
		// Routes that were made for one destination: there are none.
		_, err := s.dumpOf(r, func(*builder) {})
		return err
	}
	_, err = s.dumpOf(r, func(w *builder) {
		list := s.ns.IP.Routes()
		for i := range list {
			e := &list[i]
			if !wants(fam, family(e.Destination.Addr())) || table != 0 && e.Table != table || protocol != 0 && e.Protocol != protocol ||
				typ != 0 && e.Type != typ || link != 0 && e.Link != link && !slices.ContainsFunc(e.Hops, func(h network.NextHop) bool { return h.Link == link }) {
				continue
			}
			w.begin(unix.RTM_NEWROUTE, unix.NLM_F_MULTI, r.seq, s.portID())
			fillRoute(w, e)
			w.end()
		}
	})
	return err
}

// getRoute answers a RTM_GETROUTE for one destination.
func (s *Socket) getRoute(c Caller, r *request) error {
	at, err := s.attrs(r, unix.SizeofRtMsg)
	if err != nil {
		return err
	}
	fam := r.body[0]
	if fam != unix.AF_INET && fam != unix.AF_INET6 {
		return unix.EOPNOTSUPP
	}
	dst, err := at.ip(unix.RTA_DST, fam)
	if err != nil {
		return err
	}
	src, err := at.ip(unix.RTA_SRC, fam)
	if err != nil {
		return err
	}
	oif, _, err := at.u32(unix.RTA_OIF)
	if err != nil {
		return err
	}
	mark, _, err := at.u32(unix.RTA_MARK)
	if err != nil {
		return err
	}
	if !dst.IsValid() {
		if dst = netip.IPv4Unspecified(); fam == unix.AF_INET6 {
			dst = netip.IPv6Unspecified()
		}
	}
	k := network.RouteKey{From: src, To: dst, Link: int32(oif), Mark: mark, UID: s.uid, TOS: r.body[3] &^ 3}
	if src.IsValid() && src.IsUnspecified() {
		k.From = netip.Addr{}
	}
	iif, _, err := at.u32(unix.RTA_IIF)
	if err != nil {
		return err
	}
	k.In = int32(iif)
	uid, ok, err := at.u32(unix.RTA_UID)
	if err != nil {
		return err
	}
	if ok {
		k.UID = c.Credentials().UserNS.ToUID(uid)
	}
	if k.Protocol, _, err = at.u8(unix.RTA_IP_PROTO); err != nil {
		return err
	}
	for typ, port := range map[int]*uint16{unix.RTA_SPORT: &k.SourcePort, unix.RTA_DPORT: &k.DestinationPort} {
		if b := at[typ]; len(b) >= 2 {
			*port = binary.BigEndian.Uint16(b)
		}
	}
	e, err := s.ns.IP.Lookup(k)
	if err != nil {
		return err
	}
	if fam == unix.AF_INET {
		e.Flags |= unix.RTM_F_CLONED
		e.Protocol, e.Scope, e.Metric = 0, 0, 0
		switch e.Type {
		case unix.RTN_LOCAL:
			e.Flags |= flagLocal
		case unix.RTN_BROADCAST:
			e.Flags |= flagLocal | flagBroadcast
		}
		if src.IsValid() && !src.IsUnspecified() {
			e.From = src
			e.Source = netip.Addr{} // the same
		}
		if e.Table == unix.RT_TABLE_LOCAL && !s.ns.IP.RulesAdded() {
			e.Table = unix.RT_TABLE_MAIN // in Linux the two are one until rules part them
		}
	}
	if fam == unix.AF_INET6 {
		// Linux shows it also if there is none.
		if e.From = netip.IPv6Unspecified(); src.IsValid() {
			e.From = src
		}
	}
	if iif != 0 {
		e.Source = netip.Addr{} // it has one already
	}
	s.reply(func(w *builder) {
		w.begin(unix.RTM_NEWROUTE, 0, r.seq, s.portID())
		fillRoute(w, &e)
		if iif != 0 {
			w.attr32(unix.RTA_IIF, iif)
		}
		if fam == unix.AF_INET {
			if mark != 0 {
				w.attr32(unix.RTA_MARK, mark)
			}
			if iif == 0 {
				w.attr32(unix.RTA_UID, c.Credentials().UserNS.FromUID(k.UID))
			}
			w.attr(unix.RTA_CACHEINFO, make([]byte, 32))
		}
		w.end()
	})
	return nil
}

// parseRoute reads RTM_NEWROUTE and RTM_DELROUTE.
func (s *Socket) parseRoute(r *request) (e network.RouteInfo, err error) {
	fam, bits := r.body[0], int(r.body[1])
	if fam != unix.AF_INET && fam != unix.AF_INET6 {
		return e, unix.EOPNOTSUPP
	}
	if r.body[2] != 0 {
		return e, refuse(unix.EINVAL, "Routes by source address are not supported")
	}
	at, err := s.attrs(r, unix.SizeofRtMsg)
	if err != nil {
		return e, err
	}
	e.TOS, e.Table, e.Protocol, e.Scope, e.Type = r.body[3], uint32(r.body[4]), r.body[5], r.body[6], r.body[7]
	e.Flags = binary.LittleEndian.Uint32(r.body[8:]) & unix.RTNH_F_ONLINK
	dst, err := at.ip(unix.RTA_DST, fam)
	if err != nil {
		return e, err
	}
	if !dst.IsValid() {
		if dst = netip.IPv4Unspecified(); fam == unix.AF_INET6 {
			dst = netip.IPv6Unspecified()
		}
	}
	if bits > dst.BitLen() {
		return e, refuse(unix.EINVAL, "Invalid prefix length")
	}
	e.Destination = netip.PrefixFrom(dst, bits)
	if err := s.parseNexthop(&e, at, fam); err != nil {
		return e, err
	}
	if e.Source, err = at.ip(unix.RTA_PREFSRC, fam); err != nil {
		return e, err
	}
	if e.Metric, _, err = at.u32(unix.RTA_PRIORITY); err != nil {
		return e, err
	}
	if table, ok, err := at.u32(unix.RTA_TABLE); err != nil {
		return e, err
	} else if ok {
		e.Table = table
	}
	if b := at[unix.RTA_METRICS]; b != nil {
		metrics, err := parseAttrs(b, false)
		if err != nil {
			return e, err
		}
		if e.MTU, _, err = metrics.u32(unix.RTAX_MTU); err != nil {
			return e, err
		}
	}
	return e, nil
}

// parseNexthop reads where a route leads: an interface and a gateway, or several of these in RTA_MULTIPATH.
func (s *Socket) parseNexthop(e *network.RouteInfo, at *attrs, fam uint8) (err error) {
	if at.has(unix.RTA_ENCAP) || at.has(rtaNextHopID) {
		return refuse(unix.EOPNOTSUPP, "Encapsulation and next hop objects are not supported")
	}
	b := at[unix.RTA_MULTIPATH]
	if len(b) == 0 {
		oif, _, err := at.u32(unix.RTA_OIF)
		if err != nil {
			return err
		}
		e.Link = int32(oif)
		e.Gateway, err = at.gateway(fam)
		return err
	}
	for len(b) >= unix.SizeofRtNexthop {
		// struct rtnexthop: length, flags, one less than the weight, interface; then attributes.
		n := int(binary.LittleEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			return unix.EINVAL
		}
		h := network.NextHop{Flags: uint32(b[2]) & unix.RTNH_F_ONLINK, Weight: uint16(b[3]) + 1, Link: int32(binary.LittleEndian.Uint32(b[4:]))}
		in, err := parseAttrs(b[unix.SizeofRtNexthop:n], false)
		if err != nil {
			return err
		}
		if in.has(unix.RTA_ENCAP) {
			return refuse(unix.EOPNOTSUPP, "Encapsulation is not supported")
		}
		if h.Gateway, err = in.gateway(fam); err != nil {
			return err
		}
		e.Hops = append(e.Hops, h)
		b = b[min(align(n), len(b)):]
	}
	if len(e.Hops) == 1 {
		h := e.Hops[0]
		e.Hops, e.Link, e.Gateway = nil, h.Link, h.Gateway
		e.Flags |= h.Flags
	}
	return nil
}

// gateway reads RTA_GATEWAY, or RTA_VIA, which is of another family: struct rtvia. Only IPv4 goes by gateways of IPv6.
func (a *attrs) gateway(fam uint8) (netip.Addr, error) {
	via := a[unix.RTA_VIA]
	if via == nil {
		return a.ip(unix.RTA_GATEWAY, fam)
	}
	if fam != unix.AF_INET {
		return netip.Addr{}, refuse(unix.EINVAL, "IPv6 does not support RTA_VIA attribute")
	}
	if len(via) < 2 {
		return netip.Addr{}, refuse(unix.EINVAL, "Invalid attribute length for RTA_VIA")
	}
	addr, ok := netip.AddrFromSlice(via[2:])
	of := binary.LittleEndian.Uint16(via)
	if !ok || a.has(unix.RTA_GATEWAY) || of != uint16(family(addr)) {
		return netip.Addr{}, refuse(unix.EINVAL, "Invalid address in RTA_VIA")
	}
	return addr, nil
}

func (s *Socket) newRoute(_ Caller, r *request) error {
	e, err := s.parseRoute(r)
	if err != nil {
		return err
	}
	if e.Type == unix.RTN_UNSPEC {
		e.Type = unix.RTN_UNICAST
	}
	if e.Destination != e.Destination.Masked() {
		return refuse(unix.EINVAL, "Invalid prefix for given prefix length")
	}
	mode := network.RouteAppend
	switch {
	case r.flags&unix.NLM_F_EXCL != 0:
		mode = network.RouteCreate
	case r.flags&unix.NLM_F_REPLACE != 0 && r.flags&unix.NLM_F_CREATE != 0:
		mode = network.RouteReplace
	case r.flags&unix.NLM_F_REPLACE != 0:
		mode = network.RouteChange
	case r.flags&unix.NLM_F_CREATE == 0:
		return unix.ENOENT
	}
	return s.ns.IP.AddRoute(e, mode)
}

func (s *Socket) deleteRoute(_ Caller, r *request) error {
	e, err := s.parseRoute(r)
	if err != nil {
		return err
	}
	return s.ns.IP.DeleteRoute(e)
}
