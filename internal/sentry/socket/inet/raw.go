package inet

import (
	"encoding/binary"

	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/raw"
	stackwaiter "gvisor.dev/gvisor/pkg/waiter"
)

// Options of raw(7) and icmp(7) that x/sys does not have.
const (
	icmpFilter  = 1 // ICMP_FILTER, of level SOL_RAW
	icmp6Filter = 1 // ICMP6_FILTER, of level SOL_ICMPV6
)

// rawEndpoint makes the endpoints of raw sockets of a protocol. Those of IPPROTO_RAW
// only send, whole packets with their header.
func rawEndpoint(protocol int32) maker {
	return func(s *stack.Stack, network tcpip.NetworkProtocolNumber, q *stackwaiter.Queue) (tcpip.Endpoint, tcpip.Error) {
		if protocol == unix.IPPROTO_RAW {
			return raw.EndpointFactory{}.NewUnassociatedEndpoint(s, network, tcpip.TransportProtocolNumber(protocol), q)
		}
		ep, err := raw.NewEndpoint(s, network, tcpip.TransportProtocolNumber(protocol), q)
		if _, unknown := err.(*tcpip.ErrNotSupported); unknown {
			// The stack has no packets of the protocol to give away.
			return nil, &tcpip.ErrUnknownProtocol{}
		}
		return ep, err
	}
}

// admit says whether the caller may have a socket of a kind: EPERM for raw ones without
// CAP_NET_RAW, EACCES for ping sockets outside of ping_group_range.
func admit(net *network.Namespace, c vfs.Caller, k kind) error {
	switch {
	case k.typ == unix.SOCK_RAW:
		if !can(c, unix.CAP_NET_RAW) {
			return unix.EPERM
		}
	case k.protocol == unix.IPPROTO_ICMP || k.protocol == unix.IPPROTO_ICMPV6:
		first, last := net.Range(network.PingGroupRange)
		cred := c.Credentials()
		for _, gid := range append([]uint32{cred.EGID}, cred.Groups...) {
			if int64(gid) >= first && int64(gid) <= last {
				return nil
			}
		}
		return unix.EACCES
	}
	return nil
}

// isRaw reports whether the socket is a raw one.
func (s *Socket) isRaw() bool { return s.typ == unix.SOCK_RAW }

// peer is what the socket is connected to. The stack does not tell of raw ones.
func (s *Socket) peer(e *endpoint) (tcpip.FullAddress, tcpip.Error) {
	if peer := s.rawPeer.Load(); peer != nil {
		return *peer, nil
	}
	return e.GetRemoteAddress()
}

// setRawOption sets an option that only raw sockets have; false if it is none.
func (s *Socket) setRawOption(level, name int32, value []byte) (bool, error) {
	if !s.isRaw() {
		return false, nil
	}
	e := s.ep.Load()
	switch {
	case level == unix.SOL_RAW && name == icmpFilter && s.filtersICMP():
		// What is too short is the beginning of it, here and below.
		filter := binary.LittleEndian.AppendUint32(nil, s.icmpFilter.Load())
		copy(filter, value)
		s.icmpFilter.Store(binary.LittleEndian.Uint32(filter))
	case level == unix.IPPROTO_ICMPV6 && name == icmp6Filter && s.protocol == unix.IPPROTO_ICMPV6:
		var f tcpip.ICMPv6Filter
		if err := e.GetSockOpt(&f); err != nil {
			return true, errno(err)
		}
		filter := icmp6FilterBytes(&f)
		copy(filter, value)
		for i := range f.DenyType {
			f.DenyType[i] = binary.LittleEndian.Uint32(filter[4*i:])
		}
		return true, errno(e.SetSockOpt(&f))
	case s.headerOption(level, name):
		v, ok := number32(level, value)
		if !ok {
			return true, unix.EINVAL
		}
		e.SocketOptions().SetHeaderIncluded(v != 0)
	case (level == unix.IPPROTO_IPV6 || level == unix.SOL_RAW) && name == unix.IPV6_CHECKSUM && s.family.Load() == unix.AF_INET6:
		v, ok := number32(level, value)
		if !ok || v > 0 && v%2 != 0 {
			return true, unix.EINVAL
		}
		if level == unix.SOL_RAW && s.protocol == unix.IPPROTO_ICMPV6 {
			return true, nil // that of ICMPv6 has one place
		}
		return true, errno(e.SetSockOptInt(tcpip.IPv6Checksum, int(max(v, -1))))
	case level == unix.SOL_RAW && name == icmpFilter && s.family.Load() == unix.AF_INET:
		return true, unix.EOPNOTSUPP
	default:
		return false, nil
	}
	return true, nil
}

// copyRawOptions gives the socket's endpoint the options that only the one before it, of a raw socket, has.
func (s *Socket) copyRawOptions(before *endpoint) {
	e := s.ep.Load()
	if !s.isRaw() || e == before {
		return
	}
	e.SocketOptions().SetHeaderIncluded(before.SocketOptions().GetHeaderIncluded())
	if s.family.Load() != unix.AF_INET6 {
		return
	}
	if v, err := before.GetSockOptInt(tcpip.IPv6Checksum); err == nil {
		e.SetSockOptInt(tcpip.IPv6Checksum, v)
	}
	var f tcpip.ICMPv6Filter
	if err := before.GetSockOpt(&f); err == nil {
		e.SetSockOpt(&f)
	}
}

// icmp6FilterBytes lays out struct icmp6_filter.
func icmp6FilterBytes(f *tcpip.ICMPv6Filter) (b []byte) {
	for _, word := range f.DenyType {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

// headerOption reports whether an option says that packets come with their header.
func (s *Socket) headerOption(level, name int32) bool {
	if s.family.Load() == unix.AF_INET6 {
		return (level == unix.IPPROTO_IPV6 || level == unix.SOL_RAW) && name == unix.IPV6_HDRINCL
	}
	return level == unix.IPPROTO_IP && name == unix.IP_HDRINCL
}

// sendsHeader reports whether what is sent begins with a header of IPv4.
func (s *Socket) sendsHeader(e *endpoint) bool {
	return s.isRaw() && s.family.Load() == unix.AF_INET && (s.protocol == unix.IPPROTO_RAW || e.SocketOptions().GetHeaderIncluded())
}

// filtersICMP reports whether the socket has ICMP_FILTER.
func (s *Socket) filtersICMP() bool {
	return s.family.Load() == unix.AF_INET && s.protocol == unix.IPPROTO_ICMP
}

// rawOption is an option that only raw sockets have; ok is false if it is none.
func (s *Socket) rawOption(level, name int32) (value []byte, ok bool, err error) {
	if !s.isRaw() {
		return nil, false, nil
	}
	e := s.ep.Load()
	switch {
	case level == unix.SOL_RAW && name == icmpFilter && s.filtersICMP():
		return int32Bytes(int32(s.icmpFilter.Load())), true, nil
	case level == unix.IPPROTO_ICMPV6 && name == icmp6Filter && s.protocol == unix.IPPROTO_ICMPV6:
		var f tcpip.ICMPv6Filter
		if err := e.GetSockOpt(&f); err != nil {
			return nil, true, errno(err)
		}
		return icmp6FilterBytes(&f), true, nil
	case s.headerOption(level, name):
		return int32Bytes(truth(e.SocketOptions().GetHeaderIncluded())), true, nil
	case (level == unix.IPPROTO_IPV6 || level == unix.SOL_RAW) && name == unix.IPV6_CHECKSUM && s.family.Load() == unix.AF_INET6:
		v, terr := e.GetSockOptInt(tcpip.IPv6Checksum)
		if terr != nil {
			return nil, true, errno(terr)
		}
		return int32Bytes(int32(v)), true, nil
	case level == unix.SOL_RAW && name == icmpFilter && s.family.Load() == unix.AF_INET:
		return nil, true, unix.EOPNOTSUPP
	}
	return nil, false, nil
}

// refusesICMP reports whether ICMP_FILTER keeps a packet, which begins with its IPv4
// header, from the socket.
func (s *Socket) refusesICMP(packet []byte) bool {
	mask := s.icmpFilter.Load()
	if mask == 0 || len(packet) < header.IPv4MinimumSize {
		return false
	}
	at := int(header.IPv4(packet).HeaderLength())
	if at >= len(packet) {
		return false
	}
	typ := packet[at]
	return typ < 32 && mask&(1<<typ) != 0
}
