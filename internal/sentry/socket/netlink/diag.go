package netlink

import (
	"encoding/binary"
	"net/netip"

	"coffer/internal/sentry/socket"

	"golang.org/x/sys/unix"
)

const (
	// sockDiagByFamily is SOCK_DIAG_BY_FAMILY of linux/sock_diag.h.
	sockDiagByFamily = 20
	// allProtocols stands for all protocols of AF_NETLINK.
	allProtocols = 255
	// stateListen is TCP_LISTEN, stateClosed TCP_CLOSE, stateEstablished TCP_ESTABLISHED.
	stateEstablished, stateClosed, stateListen = 1, 7, 10
)

// handleDiag answers NETLINK_SOCK_DIAG (sock_diag(7)).
func (s *Socket) handleDiag(c Caller, r *request) (bool, error) {
	if r.typ != sockDiagByFamily {
		return false, unix.EOPNOTSUPP
	}
	if len(r.body) < 2 {
		return false, unix.EINVAL
	}
	dump := r.flags&unix.NLM_F_DUMP != 0
	switch r.body[0] {
	case unix.AF_INET, unix.AF_INET6:
		return s.diagInet(c, r, dump)
	case unix.AF_UNIX:
		return s.diagUnix(c, r, dump)
	case unix.AF_NETLINK:
		return s.diagOthers(c, r, dump, fillNetlinkDiag)
	case unix.AF_PACKET:
		return s.diagOthers(c, r, dump, fillPacketDiag)
	}
	return false, unix.ENOENT
}

// answerDiag sends what was found: all that a dump asked for, or the one socket. ENOENT if that is
// not there.
func (s *Socket) answerDiag(r *request, dump bool, found int, fill func(w *builder, i int)) (bool, error) {
	one := func(w *builder, i int, flags uint16) {
		w.begin(sockDiagByFamily, flags, r.seq, s.portID())
		fill(w, i)
		w.end()
	}
	if dump {
		return s.dumpOf(r, func(w *builder) {
			for i := range found {
				one(w, i, unix.NLM_F_MULTI)
			}
		})
	}
	if found == 0 {
		return false, unix.ENOENT
	}
	s.reply(func(w *builder) { one(w, 0, 0) })
	return false, nil
}

// inetID is struct inet_diag_sockid.
type inetID struct {
	local, peer netip.AddrPort
	device      int32
}

const sizeofInetID = 48

func parseInetID(b []byte, family uint8) (id inetID) {
	address := func(b []byte) netip.Addr {
		if family == unix.AF_INET {
			return netip.AddrFrom4([4]byte(b[:4]))
		}
		return netip.AddrFrom16([16]byte(b[:16]))
	}
	id.local = netip.AddrPortFrom(address(b[4:]), binary.BigEndian.Uint16(b))
	id.peer = netip.AddrPortFrom(address(b[20:]), binary.BigEndian.Uint16(b[2:]))
	id.device = int32(binary.LittleEndian.Uint32(b[36:]))
	return id
}

// The extensions of struct inet_diag_msg (INET_DIAG_*).
const (
	inetDiagMeminfo   = 1
	inetDiagInfo      = 2
	inetDiagSkmeminfo = 7
	inetDiagShutdown  = 8
	inetDiagSKV6Only  = 11
)

// diagInet answers for AF_INET and AF_INET6: struct inet_diag_req_v2.
func (s *Socket) diagInet(c Caller, r *request, dump bool) (bool, error) {
	const sizeofRequest, idAt = 56, 8
	if len(r.body) < sizeofRequest {
		return false, unix.EINVAL
	}
	family, protocol, ext := r.body[0], int32(r.body[1]), r.body[2]
	states := binary.LittleEndian.Uint32(r.body[4:])
	id := parseInetID(r.body[idAt:idAt+sizeofInetID], family)
	list := s.ns.Sockets.List(func(i *socket.Info) bool {
		if i.Family != int32(family) || i.Protocol != protocol {
			return false
		}
		if !dump {
			return i.Local == id.local && i.Peer == id.peer
		}
		return states&(1<<i.State) != 0 &&
			(id.local.Port() == 0 || i.Local.Port() == id.local.Port()) && (id.peer.Port() == 0 || i.Peer.Port() == id.peer.Port())
	})
	return s.answerDiag(r, dump, len(list), func(w *builder, i int) { fillInetDiag(w, &list[i], c, ext) })
}

// fillInetDiag lays out struct inet_diag_msg and its extensions.
func fillInetDiag(w *builder, i *socket.Info, c Caller, ext uint8) {
	w.u8(uint8(i.Family), i.State, 0, 0)
	be16 := func(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }
	be16(i.Local.Port())
	be16(i.Peer.Port())
	for _, a := range []netip.AddrPort{i.Local, i.Peer} {
		var b [16]byte
		copy(b[:], a.Addr().AsSlice())
		w.u8(b[:]...)
	}
	w.u32(uint32(i.Device))
	w.u64(i.Inode) // the cookie
	w.u32(0)       // no timer
	w.u32(i.ReceiveQueue)
	w.u32(i.SendQueue)
	w.u32(c.Credentials().UserNS.FromUID(i.UID))
	w.u32(uint32(i.Inode))
	w.attr8(inetDiagShutdown, 0)
	if i.Family == unix.AF_INET6 {
		only := uint8(0)
		if i.V6Only {
			only = 1
		}
		w.attr8(inetDiagSKV6Only, only)
	}
	if ext&(1<<(inetDiagMeminfo-1)) != 0 {
		end := w.nest(inetDiagMeminfo)
		for _, v := range []uint32{i.ReceiveQueue, 0, 0, i.SendQueue} {
			w.u32(v)
		}
		end()
	}
	if ext&(1<<(inetDiagSkmeminfo-1)) != 0 {
		fillMemory(w, inetDiagSkmeminfo, i)
	}
	if ext&(1<<(inetDiagInfo-1)) != 0 && i.TCP != nil {
		w.attr(inetDiagInfo, i.TCP)
	}
}

// fillMemory lays out what SK_MEMINFO_* counts.
func fillMemory(w *builder, typ int, i *socket.Info) {
	end := w.nest(typ)
	for _, v := range []uint32{i.ReceiveQueue, i.ReceiveBuffer, 0, i.SendBuffer, 0, i.SendQueue, 0, 0, uint32(i.Drops)} {
		w.u32(v)
	}
	end()
}

// diagOthers answers for AF_NETLINK and AF_PACKET, whose requests begin alike: family, protocol, inode.
func (s *Socket) diagOthers(c Caller, r *request, dump bool, fill func(*builder, *socket.Info, Caller)) (bool, error) {
	const sizeofRequest = 20
	if len(r.body) < sizeofRequest {
		return false, unix.EINVAL
	}
	if !dump {
		return false, unix.EOPNOTSUPP
	}
	family, protocol := int32(r.body[0]), int32(r.body[1])
	list := s.ns.Sockets.List(func(i *socket.Info) bool {
		return i.Family == family && (family == unix.AF_PACKET || protocol == allProtocols || i.Protocol == protocol)
	})
	return s.answerDiag(r, dump, len(list), func(w *builder, i int) { fill(w, &list[i], c) })
}

// fillNetlinkDiag lays out struct netlink_diag_msg.
func fillNetlinkDiag(w *builder, i *socket.Info, _ Caller) {
	const memory, groups = 0, 1
	w.u8(unix.AF_NETLINK, uint8(i.Type), uint8(i.Protocol), i.State)
	w.u32(i.PortID)
	w.u32(0)
	w.u32(0)
	w.u32(uint32(i.Inode))
	w.u64(i.Inode)
	fillMemory(w, memory, i)
	if i.Groups != 0 {
		w.attr(groups, binary.LittleEndian.AppendUint64(nil, uint64(i.Groups)))
	}
}

// fillPacketDiag lays out struct packet_diag_msg.
func fillPacketDiag(w *builder, i *socket.Info, c Caller) {
	const info, uid, memory = 0, 5, 6
	w.u8(unix.AF_PACKET, uint8(i.Type))
	w.u16(i.EtherType)
	w.u32(uint32(i.Inode))
	w.u64(i.Inode)
	index := make([]byte, 24)
	binary.LittleEndian.PutUint32(index, uint32(i.Device))
	w.attr(info, index)
	w.attr32(uid, c.Credentials().UserNS.FromUID(i.UID))
	fillMemory(w, memory, i)
}
