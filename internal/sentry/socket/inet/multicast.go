package inet

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"coffer/internal/sentry/network"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// group is a multicast group on an interface that the socket has joined.
type group struct {
	link    int32
	address netip.Addr
	// only says that sources are those whose datagrams are wanted (MCAST_INCLUDE), not
	// those whose are not (MCAST_EXCLUDE).
	only bool
	// sources is nil until one has been named: an empty list keeps its kind, as on Linux.
	sources []netip.Addr
}

// maxGroups6 is how many groups of IPv6 a socket joins at most.
const maxGroups6 = 256

// setMulticastOption sets an option of groups; false if it is none.
func (s *Socket) setMulticastOption(level, name int32, value []byte) (bool, error) {
	switch {
	case level == unix.IPPROTO_IP && (name == unix.IP_ADD_MEMBERSHIP || name == unix.IP_DROP_MEMBERSHIP):
		address, local, index, ok := groupRequest4(value)
		switch {
		case s.stream():
			return true, unix.EPROTO
		case !ok:
			return true, unix.EINVAL
		}
		return true, s.changeGroup(name == unix.IP_ADD_MEMBERSHIP, false, address, local, index)
	case level == unix.IPPROTO_IPV6 && (name == unix.IPV6_JOIN_GROUP || name == unix.IPV6_LEAVE_GROUP):
		switch {
		case len(value) < 20:
			return true, unix.EINVAL
		case s.stream():
			return true, unix.EPROTO
		}
		return true, s.changeGroup(name == unix.IPV6_JOIN_GROUP, false, netip.AddrFrom16([16]byte(value)), netip.Addr{}, int32(binary.LittleEndian.Uint32(value[16:])))
	case (level == unix.IPPROTO_IP || level == unix.IPPROTO_IPV6) && (name == unix.MCAST_JOIN_GROUP || name == unix.MCAST_LEAVE_GROUP):
		address, index, err := groupRequest(level, value)
		if err != nil {
			return true, err
		}
		return true, s.changeGroup(name == unix.MCAST_JOIN_GROUP, false, address, netip.Addr{}, index)
	case level == unix.IPPROTO_IP && name == unix.IP_MULTICAST_IF:
		return true, s.setMulticastInterface4(value)
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_MULTICAST_IF:
		v, ok := number32(level, value)
		if !ok {
			return true, unix.EINVAL
		}
		return true, s.setMulticastInterface6(v)
	case level == unix.IPPROTO_IP && name == unix.IP_MULTICAST_ALL:
		v, ok := number32(level, value)
		if !ok || v != 0 && v != 1 {
			return true, unix.EINVAL
		}
		s.onlyJoined.Store(v == 0)
		s.keepDestinations(s.ep.Load())
		return true, nil
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_MULTICAST_ALL:
		v, ok := number32(level, value)
		if !ok {
			return true, unix.EINVAL
		}
		s.onlyJoined6.Store(v == 0)
		s.keepDestinations(s.ep.Load())
		return true, nil
	}
	return s.setSourceOption(level, name, value)
}

// keepDestinations has the stack keep where datagrams were sent to, if that decides
// whether the socket wants them, or the program wants to know it.
func (s *Socket) keepDestinations(e tcpip.Endpoint) {
	o, judged, report := e.SocketOptions(), s.judgesGroups(), s.report.Load()
	o.SetReceivePacketInfo(judged || report&(reportPktInfo|reportPktInfo6) != 0)
	o.SetIPv6ReceivePacketInfo(judged || report&(reportPktInfo6|report2292PktInfo) != 0)
}

// judgesGroups reports whether the socket does not want all that is sent to groups.
func (s *Socket) judgesGroups() bool {
	return s.onlyJoined.Load() || s.onlyJoined6.Load() || s.bySource.Load()
}

// multicastOption is an option of groups; ok is false if it is none.
func (s *Socket) multicastOption(level, name int32) (value []byte, ok bool) {
	s.groupMu.Lock()
	defer s.groupMu.Unlock()
	switch {
	case level == unix.IPPROTO_IP && name == unix.IP_MULTICAST_IF:
		b := make([]byte, 4)
		copy(b, s.multicastFrom.AsSlice())
		return b, true
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_MULTICAST_IF:
		return int32Bytes(s.multicastLink6), true
	case level == unix.IPPROTO_IP && name == unix.IP_MULTICAST_ALL:
		return int32Bytes(truth(!s.onlyJoined.Load())), true
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_MULTICAST_ALL:
		return int32Bytes(truth(!s.onlyJoined6.Load())), true
	}
	return nil, false
}

// groupRequest4 reads a struct ip_mreq or ip_mreqn.
func groupRequest4(value []byte) (address, local netip.Addr, index int32, ok bool) {
	if len(value) < 8 {
		return address, local, 0, false
	}
	address, local = netip.AddrFrom4([4]byte(value)), netip.AddrFrom4([4]byte(value[4:]))
	if len(value) >= 12 {
		index = int32(binary.LittleEndian.Uint32(value[8:]))
	}
	return address, local, index, true
}

// groupRequest reads a struct group_req: an interface, and a socket address of the
// level's family.
func groupRequest(level int32, value []byte) (address netip.Addr, index int32, err error) {
	const sizeofRequest = 136
	if len(value) < sizeofRequest {
		return address, 0, unix.EINVAL
	}
	address, ok := storedAddress(level, value[8:])
	switch {
	case !ok && level == unix.IPPROTO_IPV6:
		return address, 0, unix.EADDRNOTAVAIL
	case !ok:
		return address, 0, unix.EINVAL
	}
	return address, int32(binary.LittleEndian.Uint32(value)), nil
}

// changeGroup joins or leaves a group on an interface, which is given by its index, by
// an address that it has, or by where the group's packets would be sent. only is for who
// joins to name sources. EINVAL for what is no group, ENODEV without an interface, EADDRINUSE
// for a group that is joined already, EADDRNOTAVAIL to leave one that is not, ENOBUFS for too many.
func (s *Socket) changeGroup(join, only bool, address, local netip.Addr, index int32) error {
	if !address.IsMulticast() && (join || address.Is6()) {
		return unix.EINVAL
	}
	s.groupMu.Lock()
	defer s.groupMu.Unlock()
	if !join && index == 0 && !(local.IsValid() && !local.IsUnspecified()) {
		for i, g := range s.groups {
			if g.address == address {
				return s.leave(i)
			}
		}
		if address.Is4() && s.interfaceFor(address, local, index) == 0 {
			return unix.ENODEV
		}
		return unix.EADDRNOTAVAIL
	}
	link := s.interfaceFor(address, local, index)
	if link == 0 && join {
		return unix.ENODEV
	}
	switch i := s.member(link, address); {
	case i >= 0 && join:
		return unix.EADDRINUSE
	case i >= 0:
		return s.leave(i)
	case !join:
		return unix.EADDRNOTAVAIL
	}
	count := 0
	for _, g := range s.groups {
		if g.address.Is4() == address.Is4() {
			count++
		}
	}
	most := int64(maxGroups6)
	if address.Is4() {
		most = s.net.Number(network.MaxMemberships)
	}
	if int64(count) >= most {
		return unix.ENOBUFS
	}
	if err := s.net.JoinGroup(link, address); err != nil {
		return err
	}
	s.groups = append(s.groups, group{link: link, address: address, only: only})
	s.judgeSources()
	return nil
}

// member is where a group on an interface is among those joined, or -1. s.groupMu is held.
func (s *Socket) member(link int32, address netip.Addr) int {
	return slices.IndexFunc(s.groups, func(g group) bool { return g.link == link && g.address == address })
}

// leave leaves the i-th group. s.groupMu is held.
func (s *Socket) leave(i int) error {
	g := s.groups[i]
	s.groups = slices.Delete(s.groups, i, i+1)
	s.judgeSources()
	s.net.LeaveGroup(g.link, g.address)
	return nil
}

// leaveAll leaves all groups, or those of IPv6.
func (s *Socket) leaveAll(only6 bool) {
	s.groupMu.Lock()
	defer s.groupMu.Unlock()
	for i := len(s.groups) - 1; i >= 0; i-- {
		if !only6 || s.groups[i].address.Is6() {
			s.leave(i)
		}
	}
}

// interfaceFor is the index of an interface, or 0.
func (s *Socket) interfaceFor(address, local netip.Addr, index int32) int32 {
	if index != 0 {
		if _, ok := s.net.LinkByIndex(index); ok {
			return index
		}
		return 0
	}
	if local.IsValid() && !local.IsUnspecified() {
		for _, a := range s.net.Addresses() {
			if a.Prefix.Addr() == local {
				return a.Link
			}
		}
		return 0
	}
	if r, err := s.net.Lookup(network.RouteKey{To: address}); err == nil {
		return r.Link
	}
	if address.Is6() {
		// Each interface has a route to all groups.
		for _, l := range s.net.Links() {
			if l.Flags&unix.IFF_UP != 0 && l.Flags&unix.IFF_MULTICAST != 0 {
				return l.Index
			}
		}
	}
	return 0
}

// setMulticastInterface4 is IP_MULTICAST_IF: an address, or a struct ip_mreqn.
func (s *Socket) setMulticastInterface4(value []byte) error {
	if s.stream() {
		return unix.EINVAL
	}
	var local netip.Addr
	var index int32
	switch {
	case len(value) >= 8:
		_, local, index, _ = groupRequest4(value)
	case len(value) >= 4:
		local = netip.AddrFrom4([4]byte(value))
	default:
		return unix.EINVAL
	}
	o := tcpip.MulticastInterfaceOption{}
	if index != 0 || !local.IsUnspecified() {
		link := s.interfaceFor(netip.Addr{}, local, index)
		if link == 0 {
			return unix.EADDRNOTAVAIL
		}
		o.NIC = tcpip.NICID(link)
		if !local.IsUnspecified() {
			o.InterfaceAddr = tcpip.AddrFrom4(local.As4())
		}
	}
	if err := s.ep.Load().SetSockOpt(&o); err != nil {
		return unix.EINVAL // another interface than the socket is bound to
	}
	s.groupMu.Lock()
	s.multicastFrom = local
	s.groupMu.Unlock()
	return nil
}

// setMulticastInterface6 is IPV6_MULTICAST_IF: an index, or 0.
func (s *Socket) setMulticastInterface6(index int32) error {
	if s.stream() {
		return unix.ENOPROTOOPT
	}
	if index < 0 {
		return unix.ENODEV
	}
	if _, ok := s.net.LinkByIndex(index); index != 0 && !ok {
		return unix.ENODEV
	}
	if err := s.ep.Load().SetSockOptInt(tcpip.IPv6MulticastInterfaceOption, int(index)); err != nil {
		return unix.EINVAL
	}
	s.groupMu.Lock()
	s.multicastLink6 = index
	s.groupMu.Unlock()
	return nil
}

// refusesGroup reports whether a datagram was sent to a group of which the socket wants
// nothing, having not joined it (IP_MULTICAST_ALL), or nothing from there.
func (s *Socket) refusesGroup(m *tcpip.ReceivableControlMessages, from tcpip.Address) bool {
	if !s.judgesGroups() {
		return false
	}
	var link int32
	var to netip.Addr
	onlyJoined := s.onlyJoined.Load()
	switch {
	case m.HasIPPacketInfo:
		link = int32(m.PacketInfo.NIC)
		to, _ = netip.AddrFromSlice(m.PacketInfo.DestinationAddr.AsSlice())
	case m.HasIPv6PacketInfo:
		link, onlyJoined = int32(m.IPv6PacketInfo.NIC), s.onlyJoined6.Load()
		to, _ = netip.AddrFromSlice(m.IPv6PacketInfo.Addr.AsSlice())
	}
	if !to.IsMulticast() {
		return false
	}
	s.groupMu.Lock()
	defer s.groupMu.Unlock()
	i := s.member(link, to)
	if i < 0 {
		return onlyJoined
	}
	source, _ := netip.AddrFromSlice(from.AsSlice())
	return slices.Contains(s.groups[i].sources, source) != s.groups[i].only
}

// joinedGroups reports whether the socket is in a group.
func (s *Socket) joinedGroups() bool {
	s.groupMu.Lock()
	defer s.groupMu.Unlock()
	return len(s.groups) > 0
}
