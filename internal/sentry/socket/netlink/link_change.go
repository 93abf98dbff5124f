package netlink

import (
	"encoding/binary"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
)

const (
	// maxKind and maxAlias are MODULE_NAME_LEN and IFALIASZ.
	maxKind  = 56
	maxAlias = 256
)

// changedAttrs are the attributes of a message that changes a link. It refuses what is
// about the ports of a bridge (AF_BRIDGE), such as hairpin mode.
func (s *Socket) changedAttrs(r *request) (*attrs, error) {
	if r.body[0] == unix.AF_BRIDGE {
		return nil, refuse(unix.EOPNOTSUPP, "Ports of bridges have no settings here")
	}
	return s.attrs(r, unix.SizeofIfInfomsg)
}

// newLink answers RTM_NEWLINK: it makes an interface, or changes the one that there is.
func (s *Socket) newLink(c Caller, r *request) error {
	at, err := s.changedAttrs(r)
	if err != nil {
		return err
	}
	l, err := s.linkOf(r, at)
	switch {
	case err == nil && r.flags&unix.NLM_F_EXCL != 0:
		return unix.EEXIST
	case err == nil && r.flags&unix.NLM_F_REPLACE != 0:
		return unix.EOPNOTSUPP
	case err == nil:
		return s.changeLink(c, r, at, l)
	case r.flags&unix.NLM_F_CREATE == 0:
		// Also if none is named: programs try that to learn whether there is RTM_NEWLINK.
		return unix.ENODEV
	}
	return s.makeLink(c, r, at)
}

// setLink answers RTM_SETLINK.
func (s *Socket) setLink(c Caller, r *request) error {
	at, err := s.changedAttrs(r)
	if err != nil {
		return err
	}
	l, err := s.linkOf(r, at)
	if err != nil {
		return err
	}
	return s.changeLink(c, r, at, l)
}

// deleteLink answers RTM_DELLINK.
func (s *Socket) deleteLink(_ Caller, r *request) error {
	at, err := s.changedAttrs(r)
	if err != nil {
		return err
	}
	l, err := s.linkOf(r, at)
	if err != nil {
		return err
	}
	return s.ns.IP.DeleteLink(l.Index)
}

// parseNewLink reads how a new interface is to be.
func parseNewLink(body []byte, at *attrs) (o network.NewLink, err error) {
	o.Index = int32(binary.LittleEndian.Uint32(body[4:]))
	if o.Name, _, err = at.text(unix.IFLA_IFNAME, unix.IFNAMSIZ); err != nil {
		return o, err
	}
	if o.MTU, _, err = at.u32(unix.IFLA_MTU); err != nil {
		return o, err
	}
	if b := at[unix.IFLA_ADDRESS]; b != nil && copy(o.HardwareAddr[:], b) != len(o.HardwareAddr) {
		return o, refuse(unix.EINVAL, "Invalid link address")
	}
	return o, nil
}

// makeLink makes an interface, here or in the namespace that IFLA_NET_NS_* names.
func (s *Socket) makeLink(c Caller, r *request, at *attrs) error {
	o, err := parseNewLink(r.body, at)
	if err != nil {
		return err
	}
	where, err := s.otherNetwork(c, at, unix.IFLA_NET_NS_PID, unix.IFLA_NET_NS_FD, true)
	if err != nil {
		return err
	}
	if where == nil {
		where = s.ns.IP
	}
	b := at[unix.IFLA_LINKINFO]
	if b == nil {
		return refuse(unix.EOPNOTSUPP, "An interface has to be of a kind")
	}
	info, err := parseAttrs(b, false)
	if err != nil {
		return err
	}
	kind, _, err := info.text(unix.IFLA_INFO_KIND, maxKind)
	if err != nil {
		return err
	}
	master, _, err := at.u32(unix.IFLA_MASTER)
	if err != nil {
		return err
	}
	if master != 0 && where != s.ns.IP {
		return refuse(unix.EINVAL, "A bridge in another namespace cannot be given")
	}
	var made network.LinkInfo
	switch kind {
	case "veth":
		made, err = s.makePair(c, where, o, info)
	case "bridge":
		made, err = where.AddBridge(o)
	case "dummy":
		made, err = where.AddDummy(o)
	case "tun":
		return refuse(unix.EOPNOTSUPP, "tun/tap creation via rtnetlink is not supported.")
	default:
		return refuse(unix.EOPNOTSUPP, "Unknown device type")
	}
	if err != nil {
		return err
	}
	if err := s.finish(r, at, where, made.Index, master); err != nil {
		where.DeleteLink(made.Index)
		return err
	}
	return nil
}

// finish sets what a new interface has beside what it is made with.
func (s *Socket) finish(r *request, at *attrs, n *network.Namespace, index int32, master uint32) error {
	if master != 0 {
		if err := n.SetMaster(index, int32(master)); err != nil {
			return err
		}
	}
	if err := setDetails(n, index, at); err != nil {
		return err
	}
	flags, change := binary.LittleEndian.Uint32(r.body[8:]), binary.LittleEndian.Uint32(r.body[12:])
	if change == 0 {
		change = flags
	}
	return n.SetFlags(index, flags, change)
}

// makePair makes a pair: VETH_INFO_PEER in IFLA_INFO_DATA describes the other end, as a message of its
// own, with struct ifinfomsg.
func (s *Socket) makePair(c Caller, where *network.Namespace, o network.NewLink, info *attrs) (network.LinkInfo, error) {
	var p network.NewLink
	peer := where
	flags := uint32(0)
	if b := info[unix.IFLA_INFO_DATA]; b != nil {
		data, err := parseAttrs(b, false)
		if err != nil {
			return network.LinkInfo{}, err
		}
		if b := data[vethInfoPeer]; b != nil {
			if len(b) < unix.SizeofIfInfomsg {
				return network.LinkInfo{}, unix.EINVAL
			}
			at, err := parseAttrs(b[unix.SizeofIfInfomsg:], false)
			if err != nil {
				return network.LinkInfo{}, err
			}
			if p, err = parseNewLink(b, at); err != nil {
				return network.LinkInfo{}, err
			}
			flags = binary.LittleEndian.Uint32(b[8:])
			other, err := s.otherNetwork(c, at, unix.IFLA_NET_NS_PID, unix.IFLA_NET_NS_FD, true)
			if err != nil {
				return network.LinkInfo{}, err
			}
			if other != nil {
				peer = other
			}
		}
	}
	made, end, err := where.AddPair(o, peer, p)
	if err == nil && flags&unix.IFF_UP != 0 {
		err = peer.SetUp(end.Index, true)
	}
	return made, err
}

// setDetails sets what is only shown.
func setDetails(n *network.Namespace, index int32, at *attrs) error {
	length, ok, err := at.u32(unix.IFLA_TXQLEN)
	if err == nil && ok {
		err = n.SetQueueLen(index, length)
	}
	if err != nil {
		return err
	}
	group, ok, err := at.u32(unix.IFLA_GROUP)
	if err == nil && ok {
		err = n.SetGroup(index, group)
	}
	if err != nil {
		return err
	}
	alias, ok, err := at.text(unix.IFLA_IFALIAS, maxAlias)
	if err == nil && ok {
		err = n.SetAlias(index, alias)
	}
	return err
}

// changeLink changes an interface, in the order that Linux does. The first thing that is refused ends it.
func (s *Socket) changeLink(c Caller, r *request, at *attrs, l network.LinkInfo) error {
	n := s.ns.IP
	index := l.Index
	to, err := s.otherNetwork(c, at, unix.IFLA_NET_NS_PID, unix.IFLA_NET_NS_FD, true)
	if err != nil {
		return err
	}
	name, named, err := at.text(unix.IFLA_IFNAME, unix.IFNAMSIZ)
	if err != nil {
		return err
	}
	if b := at[unix.IFLA_LINKINFO]; b != nil {
		info, err := parseAttrs(b, false)
		if err != nil {
			return err
		}
		if len(info[unix.IFLA_INFO_DATA]) > 0 {
			return refuse(unix.EOPNOTSUPP, "What belongs to its kind cannot be changed on a link")
		}
	}
	if to != nil {
		if index, err = n.Move(index, to, name); err != nil {
			return err
		}
		n = to
	}
	if b := at[unix.IFLA_ADDRESS]; b != nil {
		var a [6]byte
		if copy(a[:], b) != len(a) {
			return refuse(unix.EINVAL, "Invalid link address")
		}
		if err := n.SetHardwareAddr(index, a); err != nil {
			return err
		}
	}
	mtu, ok, err := at.u32(unix.IFLA_MTU)
	if err == nil && ok {
		err = n.SetMTU(index, mtu)
	}
	if err != nil {
		return err
	}
	if named && name != "" && to == nil && name != l.Name {
		if err := n.Rename(index, name); err != nil {
			return err
		}
	}
	master, ok, err := at.u32(unix.IFLA_MASTER)
	if err == nil && ok {
		err = n.SetMaster(index, int32(master))
	}
	if err != nil {
		return err
	}
	if err := setDetails(n, index, at); err != nil {
		return err
	}
	flags, change := binary.LittleEndian.Uint32(r.body[8:]), binary.LittleEndian.Uint32(r.body[12:])
	if flags == 0 && change == 0 {
		return nil
	}
	if change == 0 {
		change = 0xffffffff
	}
	return n.SetFlags(index, flags, change)
}
