package netlink

import (
	"encoding/binary"
	"net/netip"

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
	if r.Gateway.IsValid() {
		w.attr(unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if r.Link != 0 {
		w.attr32(unix.RTA_OIF, uint32(r.Link))
	}
	if dst.Is6() {
		w.attr(unix.RTA_CACHEINFO, make([]byte, 32))
		w.attr8(unix.RTA_PREF, 0)
	}
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
				typ != 0 && e.Type != typ || link != 0 && e.Link != link {
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
func (s *Socket) getRoute(_ Caller, r *request) error {
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
	own := src
	if at.has(unix.RTA_IIF) {
		own = netip.Addr{} // that of a packet which comes in
	}
	e, err := s.ns.IP.Lookup(dst, own, int32(oif))
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
		e.Table = unix.RT_TABLE_MAIN // in Linux tables local and main are one until rules part them
	}
	s.reply(func(w *builder) {
		w.begin(unix.RTM_NEWROUTE, 0, r.seq, s.portID())
		fillRoute(w, &e)
		if fam == unix.AF_INET {
			if mark != 0 {
				w.attr32(unix.RTA_MARK, mark)
			}
			w.attr32(unix.RTA_UID, s.uid)
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

// parseNexthop reads where a route leads: an interface and a gateway, or a RTA_MULTIPATH with one of these.
func (s *Socket) parseNexthop(e *network.RouteInfo, at *attrs, fam uint8) (err error) {
	if at.has(unix.RTA_VIA) || at.has(unix.RTA_ENCAP) || at.has(rtaNextHopID) {
		return refuse(unix.EOPNOTSUPP, "Gateways of other families, encapsulation and next hop objects are not supported")
	}
	if b := at[unix.RTA_MULTIPATH]; len(b) > 0 {
		// struct rtnexthop: length, flags, hops, interface; then attributes.
		if len(b) < unix.SizeofRtNexthop {
			return unix.EINVAL
		}
		n := int(binary.LittleEndian.Uint16(b))
		if n < unix.SizeofRtNexthop || n > len(b) {
			return unix.EINVAL
		}
		if len(b)-align(n) >= unix.SizeofRtNexthop {
			return refuse(unix.EOPNOTSUPP, "Routes with several next hops are not supported")
		}
		e.Flags |= uint32(b[2]) & unix.RTNH_F_ONLINK
		e.Link = int32(binary.LittleEndian.Uint32(b[4:]))
		if at, err = parseAttrs(b[unix.SizeofRtNexthop:n], false); err != nil {
			return err
		}
	} else {
		oif, _, err := at.u32(unix.RTA_OIF)
		if err != nil {
			return err
		}
		e.Link = int32(oif)
	}
	e.Gateway, err = at.ip(unix.RTA_GATEWAY, fam)
	return err
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
