package netlink

import (
	"encoding/binary"
	"net/netip"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// Attributes of addresses that x/sys/unix does not have (linux/if_addr.h).
const (
	ifaFlags      = 8
	ifaRTPriority = 9
	ifaTargetNSID = 10
	ifaProto      = 11
)

// fillAddress lays out struct ifaddrmsg and its attributes.
func fillAddress(w *builder, a *network.AddressInfo) {
	addr := a.Prefix.Addr()
	w.u8(family(addr), uint8(a.Prefix.Bits()), uint8(a.Flags), a.Scope)
	w.u32(uint32(a.Link))
	switch {
	case a.Peer.IsValid():
		w.attr(unix.IFA_ADDRESS, a.Peer.AsSlice())
		w.attr(unix.IFA_LOCAL, addr.AsSlice())
	case addr.Is4():
		w.attr(unix.IFA_ADDRESS, addr.AsSlice())
		w.attr(unix.IFA_LOCAL, addr.AsSlice())
	default:
		w.attr(unix.IFA_ADDRESS, addr.AsSlice())
	}
	if a.Broadcast.IsValid() {
		w.attr(unix.IFA_BROADCAST, a.Broadcast.AsSlice())
	}
	if a.Label != "" {
		w.attrText(unix.IFA_LABEL, a.Label)
	}
	if a.Protocol != 0 {
		w.attr8(ifaProto, a.Protocol)
	}
	w.attr32(ifaFlags, a.Flags)
	if a.Metric != 0 {
		w.attr32(ifaRTPriority, a.Metric)
	}
	const forever = 0xffffffff
	cache := make([]byte, 16)
	binary.LittleEndian.PutUint32(cache, forever)
	binary.LittleEndian.PutUint32(cache[4:], forever)
	w.attr(unix.IFA_CACHEINFO, cache)
}

// dumpAddresses answers RTM_GETADDR.
func (s *Socket) dumpAddresses(_ Caller, r *request) error {
	if _, err := s.attrs(r, unix.SizeofIfAddrmsg); err != nil {
		return err
	}
	fam, index := r.body[0], int32(0)
	if s.flag(unix.NETLINK_GET_STRICT_CHK) {
		if r.body[1] != 0 || r.body[2] != 0 || r.body[3] != 0 {
			return refuse(unix.EINVAL, "Invalid values in header for address dump request")
		}
		index = int32(binary.LittleEndian.Uint32(r.body[4:]))
		if _, ok := s.ns.IP.LinkByIndex(index); index != 0 && !ok {
			return unix.ENODEV
		}
	}
	_, err := s.dumpOf(r, func(w *builder) {
		list := s.ns.IP.Addresses()
		// Linux dumps one family after the other.
		for _, v4 := range []bool{true, false} {
			for i := range list {
				a := &list[i]
				if a.Prefix.Addr().Is4() != v4 || !wants(fam, family(a.Prefix.Addr())) || index != 0 && a.Link != index {
					continue
				}
				w.begin(unix.RTM_NEWADDR, unix.NLM_F_MULTI, r.seq, s.portID())
				fillAddress(w, a)
				w.end()
			}
		}
	})
	return err
}

// parseAddressMessage reads RTM_NEWADDR and RTM_DELADDR.
func (s *Socket) parseAddressMessage(r *request) (a network.AddressInfo, err error) {
	fam, bits := r.body[0], int(r.body[1])
	if fam != unix.AF_INET && fam != unix.AF_INET6 {
		return a, unix.EOPNOTSUPP
	}
	at, err := s.attrs(r, unix.SizeofIfAddrmsg)
	if err != nil {
		return a, err
	}
	a.Flags, a.Scope, a.Link = uint32(r.body[2]), r.body[3], int32(binary.LittleEndian.Uint32(r.body[4:]))
	local, err := at.ip(unix.IFA_LOCAL, fam)
	if err != nil {
		return a, err
	}
	peer, err := at.ip(unix.IFA_ADDRESS, fam)
	if err != nil {
		return a, err
	}
	switch {
	case !local.IsValid():
		local = peer
	case peer.IsValid() && peer != local:
		a.Peer = peer
	}
	if !local.IsValid() {
		return a, refuse(unix.EINVAL, "ipv4: Local address is not supplied")
	}
	if bits > local.BitLen() {
		return a, refuse(unix.EINVAL, "Invalid prefix length")
	}
	a.Prefix = netip.PrefixFrom(local, bits)
	if a.Broadcast, err = at.ip(unix.IFA_BROADCAST, fam); err != nil {
		return a, err
	}
	if flags, ok, err := at.u32(ifaFlags); err != nil {
		return a, err
	} else if ok {
		a.Flags = flags
	}
	if a.Metric, _, err = at.u32(ifaRTPriority); err != nil {
		return a, err
	}
	if a.Protocol, _, err = at.u8(ifaProto); err != nil {
		return a, err
	}
	a.Label, _, err = at.text(unix.IFA_LABEL, unix.IFNAMSIZ)
	return a, err
}

func (s *Socket) newAddress(_ Caller, r *request) error {
	a, err := s.parseAddressMessage(r)
	if err != nil {
		return err
	}
	if r.flags&unix.NLM_F_REPLACE != 0 {
		return s.ns.IP.ReplaceAddress(a)
	}
	return s.ns.IP.AddAddress(a)
}

func (s *Socket) deleteAddress(_ Caller, r *request) error {
	a, err := s.parseAddressMessage(r)
	if err != nil {
		return err
	}
	return s.ns.IP.DeleteAddress(a.Link, a.Prefix)
}
