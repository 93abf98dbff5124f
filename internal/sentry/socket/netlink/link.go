package netlink

import (
	"encoding/binary"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

// Attributes of links that x/sys/unix does not have (linux/if_link.h).
const (
	vethInfoPeer = 1 // VETH_INFO_PEER
	// inet6AddrGenMode is IFLA_INET6_ADDR_GEN_MODE.
	inet6AddrGenMode = 8
)

// fillLink lays out struct ifinfomsg and its attributes. It takes none of the namespace's locks.
func (s *Socket) fillLink(w *builder, l *network.LinkInfo, change uint32) {
	w.u8(unix.AF_UNSPEC, 0)
	w.u16(l.Type)
	w.u32(uint32(l.Index))
	w.u32(l.Flags)
	w.u32(change)
	w.attrText(unix.IFLA_IFNAME, l.Name)
	w.attr32(unix.IFLA_TXQLEN, l.QueueLen)
	w.attr8(unix.IFLA_OPERSTATE, l.State)
	w.attr8(unix.IFLA_LINKMODE, 0)
	w.attr32(unix.IFLA_MTU, l.MTU)
	least, most := uint32(68), uint32(65535)
	if l.Flags&unix.IFF_LOOPBACK != 0 {
		least, most = 0, 0
	}
	w.attr32(unix.IFLA_MIN_MTU, least)
	w.attr32(unix.IFLA_MAX_MTU, most)
	w.attr32(unix.IFLA_GROUP, l.Group)
	promiscuous := uint32(0)
	if l.Flags&unix.IFF_PROMISC != 0 {
		promiscuous = 1
	}
	w.attr32(unix.IFLA_PROMISCUITY, promiscuous)
	w.attr32(unix.IFLA_NUM_TX_QUEUES, 1)
	w.attr32(unix.IFLA_GSO_MAX_SEGS, 65535)
	w.attr32(unix.IFLA_GSO_MAX_SIZE, 65536)
	w.attr32(unix.IFLA_NUM_RX_QUEUES, 1)
	carrier := uint8(0)
	if l.Flags&unix.IFF_RUNNING != 0 {
		carrier = 1
	}
	w.attr8(unix.IFLA_CARRIER, carrier)
	w.attrText(unix.IFLA_QDISC, noQueue)
	if l.Alias != "" {
		w.attrText(unix.IFLA_IFALIAS, l.Alias)
	}
	w.attr(unix.IFLA_MAP, make([]byte, 32))
	if n := l.AddressLen(); n > 0 {
		w.attr(unix.IFLA_ADDRESS, l.HardwareAddr[:n])
		w.attr(unix.IFLA_BROADCAST, l.Broadcast[:n])
	}
	fillStatistics(w, &l.Statistics)
	s.fillPeer(w, l)
	if l.Master != 0 {
		w.attr32(unix.IFLA_MASTER, uint32(l.Master))
	}
	if l.Kind != "" {
		end := w.nest(unix.IFLA_LINKINFO)
		w.attrText(unix.IFLA_INFO_KIND, l.Kind)
		if l.Kind == "tun" {
			s.fillTun(w, &l.Tun)
		}
		end()
	}
	end := w.nest(unix.IFLA_AF_SPEC)
	inet6 := w.nest(unix.AF_INET6)
	w.attr8(inet6AddrGenMode, addrGenMode(l))
	inet6()
	end()
}

// addrGenMode is how the link's own IPv6 address is made: of its hardware address, or at random (IN6_ADDR_GEN_MODE_*).
func addrGenMode(l *network.LinkInfo) uint8 {
	if l.AddressLen() == 0 {
		return 3
	}
	return 0
}

// fillTun lays out what is of a TUN or TAP device alone.
func (s *Socket) fillTun(w *builder, t *network.TunInfo) {
	flag := func(typ int, on bool) {
		v := uint8(0)
		if on {
			v = 1
		}
		w.attr8(typ, v)
	}
	end := w.nest(unix.IFLA_INFO_DATA)
	w.attr8(unix.IFLA_TUN_TYPE, uint8(t.Flags&(unix.IFF_TUN|unix.IFF_TAP)))
	if t.Owner != auth.NoID {
		w.attr32(unix.IFLA_TUN_OWNER, s.opener.UserNS.FromUID(t.Owner))
	}
	if t.Group != auth.NoID {
		w.attr32(unix.IFLA_TUN_GROUP, s.opener.UserNS.FromGID(t.Group))
	}
	flag(unix.IFLA_TUN_PI, t.Flags&unix.IFF_NO_PI == 0)
	flag(unix.IFLA_TUN_VNET_HDR, t.Flags&unix.IFF_VNET_HDR != 0)
	flag(unix.IFLA_TUN_PERSIST, t.Flags&unix.IFF_PERSIST != 0)
	flag(unix.IFLA_TUN_MULTI_QUEUE, t.Flags&unix.IFF_MULTI_QUEUE != 0)
	if t.Flags&unix.IFF_MULTI_QUEUE != 0 {
		w.attr32(unix.IFLA_TUN_NUM_QUEUES, t.Queues)
		w.attr32(unix.IFLA_TUN_NUM_DISABLED_QUEUES, t.Disabled)
	}
	end()
}

// fillPeer lays out where a pair's other end is.
func (s *Socket) fillPeer(w *builder, l *network.LinkInfo) {
	if l.Kind != "veth" {
		return
	}
	w.attr32(unix.IFLA_LINK, uint32(l.Peer))
	if l.PeerNetwork != nil && l.PeerNetwork != s.ns.IP {
		w.attr32(unix.IFLA_LINK_NETNSID, uint32(s.ns.IP.ID(l.PeerNetwork, true)))
	}
}

// fillStatistics lays out struct rtnl_link_stats64, and the same with 32 bits.
func fillStatistics(w *builder, s *network.Statistics) {
	counters := [25]uint64{
		s.RxPackets, s.TxPackets, s.RxBytes, s.TxBytes, 0, 0, s.RxDropped, s.TxDropped,
	}
	wide, narrow := make([]byte, 0, 200), make([]byte, 0, 96)
	for i, v := range counters {
		wide = binary.LittleEndian.AppendUint64(wide, v)
		if i < 24 {
			narrow = binary.LittleEndian.AppendUint32(narrow, uint32(v))
		}
	}
	w.attr(unix.IFLA_STATS64, wide)
	w.attr(unix.IFLA_STATS, narrow)
}

// dumpLinks answers a RTM_GETLINK with NLM_F_DUMP.
func (s *Socket) dumpLinks(_ Caller, r *request) error {
	// Old programs put a struct rtgenmsg where struct ifinfomsg belongs.
	at, err := s.attrs(r, unix.SizeofIfInfomsg)
	if err != nil {
		return err
	}
	if r.body[0] == unix.AF_BRIDGE {
		return s.dumpPorts(r)
	}
	master, _, err := at.u32(unix.IFLA_MASTER)
	if err != nil {
		return err
	}
	kind := ""
	if b := at[unix.IFLA_LINKINFO]; b != nil {
		info, err := parseAttrs(b, false)
		if err != nil {
			return err
		}
		if kind, _, err = info.text(unix.IFLA_INFO_KIND, maxKind); err != nil {
			return err
		}
	}
	_, err = s.dumpOf(r, func(w *builder) {
		for _, l := range s.ns.IP.Links() {
			if master != 0 && l.Master != int32(master) || kind != "" && l.Kind != kind {
				continue
			}
			w.begin(unix.RTM_NEWLINK, unix.NLM_F_MULTI, r.seq, s.portID())
			s.fillLink(w, &l, 0)
			w.end()
		}
	})
	return err
}

// dumpPorts answers a RTM_GETLINK of family AF_BRIDGE, which asks for ports of bridges.
func (s *Socket) dumpPorts(r *request) error {
	_, err := s.dumpOf(r, func(w *builder) {
		const stateForwarding, portState = 3, 1
		for _, l := range s.ns.IP.Links() {
			if l.Master == 0 {
				continue
			}
			w.begin(unix.RTM_NEWLINK, unix.NLM_F_MULTI, r.seq, s.portID())
			w.u8(unix.AF_BRIDGE, 0)
			w.u16(l.Type)
			w.u32(uint32(l.Index))
			w.u32(l.Flags)
			w.u32(0)
			w.attrText(unix.IFLA_IFNAME, l.Name)
			w.attr32(unix.IFLA_MASTER, uint32(l.Master))
			w.attr32(unix.IFLA_MTU, l.MTU)
			w.attr8(unix.IFLA_OPERSTATE, l.State)
			w.attr(unix.IFLA_ADDRESS, l.HardwareAddr[:])
			end := w.nest(unix.IFLA_PROTINFO | unix.NLA_F_NESTED)
			w.attr8(portState, stateForwarding)
			end()
			w.end()
		}
	})
	return err
}

// linkOf finds the link that a message names by index or name. ENODEV if there is none.
func (s *Socket) linkOf(r *request, at *attrs) (network.LinkInfo, error) {
	if index := int32(binary.LittleEndian.Uint32(r.body[4:])); index > 0 {
		if l, ok := s.ns.IP.LinkByIndex(index); ok {
			return l, nil
		}
		return network.LinkInfo{}, unix.ENODEV
	} else if index < 0 {
		return network.LinkInfo{}, refuse(unix.EINVAL, "ifindex can't be negative")
	}
	named := false
	for _, typ := range []int{unix.IFLA_IFNAME, unix.IFLA_ALT_IFNAME} {
		name, ok, err := at.text(typ, unix.IFNAMSIZ)
		if err != nil {
			return network.LinkInfo{}, err
		}
		if ok && name != "" {
			named = true
			if l, ok := s.ns.IP.LinkByName(name); ok {
				return l, nil
			}
		}
	}
	if !named {
		return network.LinkInfo{}, unix.EINVAL
	}
	return network.LinkInfo{}, unix.ENODEV
}

// getLink answers a RTM_GETLINK for one interface.
func (s *Socket) getLink(_ Caller, r *request) error {
	at, err := s.attrs(r, unix.SizeofIfInfomsg)
	if err != nil {
		return err
	}
	l, err := s.linkOf(r, at)
	if err != nil {
		return err
	}
	s.reply(func(w *builder) {
		w.begin(unix.RTM_NEWLINK, 0, r.seq, s.portID())
		s.fillLink(w, &l, 0)
		w.end()
	})
	return nil
}
