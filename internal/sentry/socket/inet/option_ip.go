package inet

import (
	"encoding/binary"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// Options that x/sys does not have (linux/in6.h).
	ipv6FlowInfo     = 11
	ipv6FlowInfoSend = 33
	// lowestIPv6MTU is what every link carries (RFC 8200, section 5).
	lowestIPv6MTU = 1280
	// maxIPv4MTU is the longest packet of IPv4.
	maxIPv4MTU = 65535
	// defaultHops is net.ipv4.ip_default_ttl, and IPv6's hop limit.
	defaultHops = 64
	// ecnMask are the bits of a TOS that belong to congestion control (RFC 3168).
	ecnMask = 3
	// sizeofPacketInfo6 is that of struct in6_pktinfo.
	sizeofPacketInfo6 = 20
	// maxIPOptions are as many bytes as an IPv4 header has room for options.
	maxIPOptions = 40
)

var ipOptions = []option{
	{level: unix.IPPROTO_IP, name: unix.IP_TOS, of: ofAll, check: checkTOS, apply: applyTOS},
	{level: unix.IPPROTO_IP, name: unix.IP_TTL, of: ofAll, initial: -1, check: checkTTL, apply: applyTTL, shown: shownHops},
	{level: unix.IPPROTO_IP, name: unix.IP_HDRINCL, of: ofAll, check: readOnly},
	{level: unix.IPPROTO_IP, name: unix.IP_ROUTER_ALERT, of: ofAll, check: checkRouterAlert, apply: applyRouterAlert},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVOPTS, of: ofAll, check: boolean, apply: reports(reportOptions)},
	{level: unix.IPPROTO_IP, name: unix.IP_RETOPTS, of: ofAll, check: boolean, apply: reports(reportReturned)},
	{level: unix.IPPROTO_IP, name: unix.IP_PKTINFO, of: ofAll, check: boolean, apply: reports(reportPktInfo)},
	{level: unix.IPPROTO_IP, name: unix.IP_MTU_DISCOVER, of: ofAll, initial: 1, check: checkMTUDiscover, apply: applyMTUDiscover},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVERR, of: ofAll, check: boolean, apply: applyRecvErr},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVTTL, of: ofAll, check: boolean, apply: applyRecvTTL},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVTOS, of: ofAll, check: boolean, apply: applyRecvTOS},
	{level: unix.IPPROTO_IP, name: unix.IP_FREEBIND, of: ofAll, check: boolean},
	{level: unix.IPPROTO_IP, name: unix.IP_PASSSEC, of: ofAll, check: boolean},
	{level: unix.IPPROTO_IP, name: unix.IP_TRANSPARENT, of: ofAll, check: privileged},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVORIGDSTADDR, of: ofAll, check: boolean, apply: reports(reportOrigDst)},
	{level: unix.IPPROTO_IP, name: unix.IP_MINTTL, of: ofAll, check: between(0, 255)},
	{level: unix.IPPROTO_IP, name: unix.IP_NODEFRAG, of: ofTCP | ofUDP, check: readOnly},
	{level: unix.IPPROTO_IP, name: unix.IP_NODEFRAG, of: ofOthers, check: checkRawOnly},
	{level: unix.IPPROTO_IP, name: unix.IP_CHECKSUM, of: ofAll, check: boolean},
	{level: unix.IPPROTO_IP, name: unix.IP_BIND_ADDRESS_NO_PORT, of: ofAll, check: boolean},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVFRAGSIZE, of: ofTCP, check: invalid},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVFRAGSIZE, of: ofUDPish, check: boolean},
	{level: unix.IPPROTO_IP, name: unix.IP_RECVERR_RFC4884, of: ofAll, check: strict},
	{level: unix.IPPROTO_IP, name: unix.IP_MULTICAST_TTL, of: ofTCP, initial: 1, check: invalid},
	{level: unix.IPPROTO_IP, name: unix.IP_MULTICAST_TTL, of: ofUDPish, initial: 1, check: checkMulticastTTL, apply: applyMulticastTTL},
	{level: unix.IPPROTO_IP, name: unix.IP_MULTICAST_LOOP, of: ofAll, initial: 1, check: boolean, apply: applyMulticastLoop},
	{level: unix.IPPROTO_IP, name: unix.IP_LOCAL_PORT_RANGE, of: ofAll, check: checkPortRange, apply: applyPortRange},
	{level: unix.IPPROTO_IP, name: unix.IP_PROTOCOL, of: ofAll, check: readOnly, shown: shownIPProtocol},
	{level: unix.IPPROTO_IP, name: unix.IP_UNICAST_IF, of: ofAll, check: checkUnicastInterface},
}

var ip6Options = []option{
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_2292PKTINFO, of: ofAll, check: boolean, apply: reports(report2292PktInfo)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_2292HOPOPTS, of: ofAll, check: boolean, apply: reports(report2292Hops)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_2292DSTOPTS, of: ofAll, check: boolean, apply: reports(report2292Ends)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_2292RTHDR, of: ofAll, check: boolean, apply: reports(report2292Routes)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_2292HOPLIMIT, of: ofAll, check: boolean, apply: reports(report2292HopLimit)},
	{level: unix.IPPROTO_IPV6, name: ipv6FlowInfo, of: ofAll, check: boolean, apply: applyFlowInfo},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_UNICAST_HOPS, of: ofAll, initial: -1, check: between(-1, 255), apply: applyHops, shown: shownHops},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_MULTICAST_HOPS, of: ofTCP, initial: 1, check: readOnly},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_MULTICAST_HOPS, of: ofUDPish, initial: 1, check: checkMulticastHops, apply: applyMulticastTTL},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_MULTICAST_LOOP, of: ofAll, initial: 1, check: strict, apply: applyMulticastLoop},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_ROUTER_ALERT, of: ofAll, check: checkRouterAlert6, apply: applyRouterAlert, shown: shownRouterAlert6},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_MTU_DISCOVER, of: ofAll, initial: 1, check: checkMTUDiscover, apply: applyMTUDiscover6},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVERR, of: ofAll, check: boolean, apply: applyRecvErr6},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_V6ONLY, of: ofAll, check: checkV6Only, apply: applyV6Only, shown: shownV6Only},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_ROUTER_ALERT_ISOLATE, of: ofAll, check: boolean},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVERR_RFC4884, of: ofAll, check: strict},
	{level: unix.IPPROTO_IPV6, name: ipv6FlowInfoSend, of: ofAll, check: boolean, apply: applyFlowSend},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVPKTINFO, of: ofAll, check: boolean, apply: reports(reportPktInfo6)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVHOPLIMIT, of: ofAll, check: boolean, apply: applyRecvHops},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVHOPOPTS, of: ofAll, check: boolean, apply: reports(reportHops)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVRTHDR, of: ofAll, check: boolean, apply: reports(reportRoutes)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVDSTOPTS, of: ofAll, check: boolean, apply: reports(reportEnds)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVPATHMTU, of: ofAll, check: boolean},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_DONTFRAG, of: ofAll, check: boolean, apply: applyDontFragment},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVTCLASS, of: ofAll, check: boolean, apply: applyRecvTClass},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_TCLASS, of: ofAll, check: checkTClass, apply: applyTClass},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_AUTOFLOWLABEL, of: ofAll, check: boolean, apply: applyAutoLabel, shown: shownAutoLabel},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_ADDR_PREFERENCES, of: ofAll, check: checkPreferences, shown: shownPreferences},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_MINHOPCOUNT, of: ofAll, check: between(0, 255)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_ORIGDSTADDR, of: ofAll, check: boolean, apply: reports(reportOrigDst6)},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_UNICAST_IF, of: ofAll, check: checkUnicastInterface},
	{level: unix.IPPROTO_IPV6, name: unix.IPV6_RECVFRAGSIZE, of: ofAll, check: boolean},
}

// checkRouterAlert is for raw sockets that are to get what is forwarded with that option, which the stack does not
// give away: EADDRINUSE for one that has it, ENOBUFS for one that has not.
func checkRouterAlert(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	set := s.routerAlert.Load() != 0
	switch {
	case !s.isRaw() || s.protocol == unix.IPPROTO_RAW:
		return 0, unix.EINVAL
	case v != 0 && set:
		return 0, unix.EADDRINUSE
	case v == 0 && !set:
		return 0, unix.ENOBUFS
	}
	return truth(v != 0), nil
}

// checkRawOnly takes a truth from raw sockets.
func checkRawOnly(s *Socket, c vfs.Caller, v int32) (int32, error) {
	if !s.isRaw() {
		return 0, unix.ENOPROTOOPT
	}
	return boolean(s, c, v)
}

// What is kept of IPV6_ROUTER_ALERT: what is shown, which is of the value set last, and whether it chooses packets.
const (
	alertShown = 1 << iota
	alertSet
)

// checkRouterAlert6 is the same of IPv6: all values below 0 take it away.
func checkRouterAlert6(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	set := s.routerAlert.Load()&alertSet != 0
	switch {
	case !s.isRaw() || s.protocol != unix.IPPROTO_RAW:
		return 0, unix.ENOPROTOOPT
	case v >= 0 && set:
		return 0, unix.EADDRINUSE
	case v < 0 && !set:
		return 0, unix.ENOBUFS
	case v < 0:
		return alertShown, nil
	}
	return alertSet | truth(v != 0)*alertShown, nil
}

func applyRouterAlert(s *Socket, _ tcpip.Endpoint, v int32) { s.routerAlert.Store(v) }
func shownRouterAlert6(_ *Socket, v int32) int32            { return v & alertShown }

// checkTOS takes a type of service. Of TCP the two bits of congestion notification are
// the protocol's own.
func checkTOS(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v &= 0xff; s.stream() {
		v &^= ecnMask
	}
	return v, nil
}

func applyTOS(_ *Socket, e tcpip.Endpoint, v int32) { e.SetSockOptInt(tcpip.IPv4TOSOption, int(v)) }

func checkTClass(s *Socket, c vfs.Caller, v int32) (int32, error) {
	if v < -1 || v > 255 {
		return 0, unix.EINVAL
	}
	return checkTOS(s, c, max(v, 0))
}

func applyTClass(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SetSockOptInt(tcpip.IPv6TrafficClassOption, int(v))
}

func checkTTL(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v != -1 && (v < 1 || v > 255) {
		return 0, unix.EINVAL
	}
	return v, nil
}

func applyTTL(_ *Socket, e tcpip.Endpoint, v int32) {
	if v < 0 {
		v = tcpip.UseDefaultIPv4TTL
	}
	e.SetSockOptInt(tcpip.IPv4TTLOption, int(v))
}

func applyHops(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SetSockOptInt(tcpip.IPv6HopLimitOption, int(v)) // -1 is tcpip.UseDefaultIPv6HopLimit
}

func shownHops(_ *Socket, v int32) int32 {
	if v < 0 {
		return defaultHops
	}
	return v
}

func checkMulticastTTL(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	if v < -1 || v > 255 {
		return 0, unix.EINVAL
	}
	if v < 0 {
		v = 1
	}
	return v, nil
}

var checkMulticastHops = checkMulticastTTL

func applyMulticastTTL(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SetSockOptInt(tcpip.MulticastTTLOption, int(v))
}

func applyMulticastLoop(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SocketOptions().SetMulticastLoop(v != 0)
}

var checkMTUDiscover = between(unix.IP_PMTUDISC_DONT, unix.IP_PMTUDISC_OMIT)

// The bits of Socket.whole: what IP_MTU_DISCOVER, IPV6_MTU_DISCOVER and IPV6_DONTFRAG say.
const (
	whole4 = 1 << iota
	whole6
	dontFragment
	// What routers have said counts for nothing (IP_PMTUDISC_PROBE and _INTERFACE).
	blind4
	blind6
)

func (s *Socket) keepWhole(bit uint32, on bool) {
	if on {
		s.whole.Or(bit)
	} else {
		s.whole.And(^bit)
	}
}

// refusesFragments reports whether a value of IP_MTU_DISCOVER has what is too long refused.
func refusesFragments(v int32) bool { return v >= unix.IP_PMTUDISC_DO && v != unix.IP_PMTUDISC_OMIT }

// ignoreRouters has what is sent be as long as the link takes, if a value of IP_MTU_DISCOVER says so.
func (s *Socket) ignoreRouters(e tcpip.Endpoint, bit uint32, v int32) {
	on := v == unix.IP_PMTUDISC_PROBE || v == unix.IP_PMTUDISC_INTERFACE
	if s.keepWhole(bit, on); on {
		s.own(e)
	}
}

// Probes implements network.Prober.
func (s *Socket) Probes(six bool) bool {
	if six {
		return s.whole.Load()&blind6 != 0
	}
	return s.whole.Load()&blind4 != 0
}

func applyDontFragment(s *Socket, _ tcpip.Endpoint, v int32) { s.keepWhole(dontFragment, v != 0) }

func applyMTUDiscover6(s *Socket, e tcpip.Endpoint, v int32) {
	discoverMTU(e, v)
	s.keepWhole(whole6, refusesFragments(v))
	s.ignoreRouters(e, blind6, v)
}

func applyMTUDiscover(s *Socket, e tcpip.Endpoint, v int32) {
	discoverMTU(e, v)
	s.keepWhole(whole4, refusesFragments(v))
	s.ignoreRouters(e, blind4, v)
}

func discoverMTU(e tcpip.Endpoint, v int32) {
	strategy := tcpip.PMTUDiscoveryDont // also of IP_PMTUDISC_INTERFACE and _OMIT
	switch v {
	case unix.IP_PMTUDISC_WANT:
		strategy = tcpip.PMTUDiscoveryWant
	case unix.IP_PMTUDISC_DO:
		strategy = tcpip.PMTUDiscoveryDo
	case unix.IP_PMTUDISC_PROBE:
		strategy = tcpip.PMTUDiscoveryProbe
	}
	e.SetSockOptInt(tcpip.MTUDiscoverOption, int(strategy))
}

func applyRecvErr(s *Socket, _ tcpip.Endpoint, v int32)  { s.setReceiveErrors(false, v != 0) }
func applyRecvErr6(s *Socket, _ tcpip.Endpoint, v int32) { s.setReceiveErrors(true, v != 0) }
func applyRecvTTL(_ *Socket, e tcpip.Endpoint, v int32)  { e.SocketOptions().SetReceiveTTL(v != 0) }
func applyRecvTOS(_ *Socket, e tcpip.Endpoint, v int32)  { e.SocketOptions().SetReceiveTOS(v != 0) }

func applyRecvHops(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SocketOptions().SetReceiveHopLimit(v != 0)
}

func applyRecvTClass(_ *Socket, e tcpip.Endpoint, v int32) {
	e.SocketOptions().SetReceiveTClass(v != 0)
}

// checkV6Only refuses a socket that has a name already.
func checkV6Only(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	if local, err := s.ep.Load().GetLocalAddress(); err == nil && local.Port != 0 {
		return 0, unix.EINVAL
	}
	return truth(v != 0), nil
}

// shownV6Only is also set where bind(2) had an address that is only IPv6's.
func shownV6Only(s *Socket, v int32) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound == nil || s.sort() == ofOthers {
		return v
	}
	ip := unmapped(s.family.Load(), *s.bound).Addr()
	return max(v, truth(ip.Is6() && !ip.IsUnspecified()))
}

func applyV6Only(_ *Socket, e tcpip.Endpoint, v int32) { e.SocketOptions().SetV6Only(v != 0) }

// checkPortRange takes a range of ports: the first in the low half, the last in the
// high, 0 for what the namespace has.
func checkPortRange(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	low, high := uint16(v), uint16(uint32(v)>>16)
	if low != 0 && high != 0 && low > high {
		return 0, unix.EINVAL
	}
	return v, nil
}

func applyPortRange(s *Socket, _ tcpip.Endpoint, v int32) { s.ports.Store(uint32(v)) }

// checkUnicastInterface takes the index of an interface, in network byte order.
func checkUnicastInterface(s *Socket, _ vfs.Caller, v int32) (int32, error) {
	index := int32(binary.BigEndian.Uint32(int32Bytes(v)))
	if v != 0 && !s.net.Stack().HasNIC(tcpip.NICID(index)) {
		return 0, unix.EADDRNOTAVAIL
	}
	return v, nil
}

// shownIPProtocol is IP_PROTOCOL: of a raw socket its protocol. Of others Linux shows their port.
func shownIPProtocol(s *Socket, _ int32) int32 {
	if s.isRaw() {
		return s.protocol
	}
	local, err := s.ep.Load().GetLocalAddress()
	if err != nil {
		return 0
	}
	return int32(local.Port)
}

// The bits of IPV6_ADDR_PREFERENCES (RFC 5014, linux/in6.h).
const (
	preferTemporary = 0x1
	preferPublic    = 0x2
	preferCareOf    = 0x4
	preferGenerated = 0x8
	preferDefault   = 0x100
	preferHome      = 0x400
	preferPlain     = 0x800
)

// checkPreferences takes wishes for source addresses: of each pair one. Those before are
// forgotten. There are no temporary and no home addresses that they could choose.
func checkPreferences(_ *Socket, _ vfs.Caller, v int32) (int32, error) {
	switch v & (preferTemporary | preferPublic | preferDefault) {
	case preferTemporary, preferPublic, preferDefault, 0:
	default:
		return 0, unix.EINVAL
	}
	if v&(preferHome|preferCareOf) == preferHome|preferCareOf || v&(preferGenerated|preferPlain) == preferGenerated|preferPlain {
		return 0, unix.EINVAL
	}
	return v & (preferTemporary | preferPublic | preferCareOf), nil
}

func shownPreferences(_ *Socket, v int32) int32 {
	if v&(preferTemporary|preferPublic) == 0 {
		v |= preferDefault
	}
	if v&preferCareOf == 0 {
		v |= preferHome
	}
	return v
}

// ipOption is an option of IPv4 that is not a number, or is only asked for.
func (s *Socket) ipOption(name int32) ([]byte, error) {
	switch name {
	case unix.IP_OPTIONS:
		if o := s.always.Load(); o != nil {
			return o.data, nil
		}
		return nil, nil
	case unix.IP_PKTOPTIONS:
		if s.stream() {
			return nil, nil
		}
	case unix.IP_MTU:
		return s.pathMTU()
	}
	return nil, unix.ENOPROTOOPT
}

// ip6Option is the same of IPv6.
func (s *Socket) ip6Option(name int32) ([]byte, error) {
	switch name {
	case unix.IPV6_ADDRFORM:
		return s.addressForm()
	case unix.IPV6_2292PKTOPTIONS:
		if s.stream() { // nobody is told what came with segments
			return nil, nil
		}
	case unix.IPV6_MTU:
		return s.pathMTU()
	case unix.IPV6_PATHMTU: // struct ip6_mtuinfo, whose address stays empty
		mtu, err := s.pathMTU()
		if err != nil {
			return nil, err
		}
		return append(make([]byte, sizeofSockaddr6), mtu...), nil
	}
	if isHeader6(name) {
		if x := s.always6.Load(); x != nil {
			return *x.at(name), nil
		}
		return nil, nil
	}
	return nil, unix.ENOPROTOOPT
}

// isHeader6 reports whether an option is an extension header for all that is sent (RFC 3542, 8.1).
func isHeader6(name int32) bool {
	switch name {
	case unix.IPV6_HOPOPTS, unix.IPV6_RTHDRDSTOPTS, unix.IPV6_RTHDR, unix.IPV6_DSTOPTS:
		return true
	}
	return false
}

// pathMTU is IP_MTU: that of the way to the peer. ENOTCONN without one.
func (s *Socket) pathMTU() ([]byte, error) {
	mtu := s.mtu()
	if mtu == 0 {
		return nil, unix.ENOTCONN
	}
	return int32Bytes(mtu), nil
}

// mtu is that of the interface that leads to the peer, 0 without a peer.
func (s *Socket) mtu() int32 {
	e := s.ep.Load()
	peer, err := s.peer(e)
	if err != nil {
		return 0
	}
	return s.mtuTo(e, peer)
}

// mtuTo is that of the interface that leads to an address, 0 without one.
func (s *Socket) mtuTo(e *endpoint, to tcpip.FullAddress) int32 {
	r, err := s.routeTo(e, to)
	if err != nil {
		return 0
	}
	defer r.Release()
	info, ok := s.net.Stack().NICInfo()[r.NICID()]
	path := s.pathMTUOf(r)
	switch {
	case !ok:
		return 0
	case path != 0 && path < int(info.MTU):
		return int32(path)
	case r.NetProto() == networkProtocol(unix.AF_INET):
		return int32(min(info.MTU, maxIPv4MTU)) // that of lo is more
	}
	return int32(info.MTU)
}

// pathMTUOf is what routers have said of a path, or 0.
func (s *Socket) pathMTUOf(r *stack.Route) int {
	return s.net.PathMTU(r.RemoteAddress())
}

// routeTo is the way to an address. The caller releases it.
func (s *Socket) routeTo(e *endpoint, to tcpip.FullAddress) (*stack.Route, tcpip.Error) {
	local, err := e.GetLocalAddress()
	if err != nil {
		return nil, err
	}
	network := networkProtocol(unix.AF_INET6)
	if to.Addr.Len() == 4 {
		network = networkProtocol(unix.AF_INET)
	}
	nic := to.NIC
	if nic == 0 {
		nic = tcpip.NICID(e.SocketOptions().GetBindToDevice())
	}
	return s.net.Stack().FindRoute(nic, local.Addr, to.Addr, network, false)
}

// exceeds reports whether a datagram of so many bytes is to be refused, since it would have
// to be fragmented. s.sendMu is held.
func (s *Socket) exceeds(e *endpoint, to *tcpip.FullAddress, n int) bool {
	whole := s.whole.Load()
	if s.wholeOnce != 0 {
		whole = whole&^dontFragment | dontFragment*uint32(s.wholeOnce-1)
	}
	if s.isRaw() && s.protocol != unix.IPPROTO_ICMPV6 {
		whole &^= dontFragment // as on Linux
	}
	if whole == 0 || s.isRaw() && e.SocketOptions().GetHeaderIncluded() { // sendRaw refuses all with a header of their own
		return false
	}
	var peer tcpip.FullAddress
	if to != nil {
		peer = *to
	} else if p, err := s.peer(e); err == nil {
		peer = p
	} else {
		return false
	}
	bits := uint32(whole4)
	if header.IsV4MappedAddress(peer.Addr) {
		peer.Addr = tcpip.AddrFrom4Slice(peer.Addr.AsSlice()[12:])
	} else if peer.Addr.Len() == header.IPv6AddressSize {
		bits = whole6 | dontFragment
	}
	if whole&bits == 0 {
		return false
	}
	if s.sort() == ofUDP {
		n += header.UDPMinimumSize
	}
	if bits == whole4 {
		n += s.headerOptions().length()
	} else if x := s.extensions(); x != nil {
		n += x.length() + len(x.end) // Linux counts these twice
	}
	r, err := s.routeTo(e, peer)
	if err != nil {
		return false
	}
	defer r.Release()
	most, size, blind := int(r.MTU()), header.IPv4MinimumSize, uint32(blind4)
	if bits != whole4 {
		size, blind = header.IPv6MinimumSize, blind6
	}
	if path := s.pathMTUOf(r); path != 0 && whole&blind == 0 {
		most = min(most, path-size)
	}
	return n > most
}

// setIPOption sets an option of IPv4 or IPv6 that is not a number.
func (s *Socket) setIPOption(c vfs.Caller, level, name int32, value []byte) (bool, error) {
	switch {
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_ADDRFORM:
		return true, s.setAddressForm(value)
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_UNICAST_IF && len(value) != 4:
		return true, unix.EINVAL
	case level == unix.IPPROTO_IP && name == unix.IP_OPTIONS:
		return true, s.setHeaderOptions(c, value)
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_PKTINFO:
		return true, s.setPacketInfo6(value)
	case level == unix.IPPROTO_IPV6 && isHeader6(name):
		return true, s.setExtension(c, name, value)
	case level == unix.IPPROTO_IPV6 && name == unix.IPV6_MTU:
		v, ok := number32(level, value)
		if !ok || v != 0 && v < lowestIPv6MTU {
			return true, unix.EINVAL
		}
		return true, nil
	}
	return false, nil
}

// setPacketInfo6 is IPV6_PKTINFO: the interface that datagrams leave by which name none. Linux keeps the address too,
// and takes no notice of it.
func (s *Socket) setPacketInfo6(value []byte) error {
	if len(value) < sizeofPacketInfo6 {
		return unix.EINVAL
	}
	index := int32(binary.LittleEndian.Uint32(value[16:]))
	if bound := s.ep.Load().SocketOptions().GetBindToDevice(); index != 0 && bound != 0 && bound != index {
		return unix.EINVAL
	}
	s.leaveBy.Store(index)
	return nil
}

// leaveTo gives an address of IPv6 without an interface that of IPV6_PKTINFO. ENETUNREACH if that is not there.
func (s *Socket) leaveTo(to *tcpip.FullAddress) error {
	nic := tcpip.NICID(s.leaveBy.Load())
	if nic == 0 || to.NIC != 0 || to.Addr.Len() != header.IPv6AddressSize || header.IsV4MappedAddress(to.Addr) {
		return nil
	}
	if !s.net.Stack().HasNIC(nic) {
		return unix.ENETUNREACH
	}
	to.NIC = nic
	return nil
}
