package inet

import (
	"encoding/binary"
	"net/netip"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// What a receiver wants to be told beside what the stack keeps an option for.
const (
	report2292PktInfo = 1 << iota
	report2292HopLimit
	reportInq
	reportDrops
	reportPktInfo
	reportPktInfo6
	reportOrigDst
	reportOrigDst6
	reportOptions
	reportReturned
	reportHops
	reportEnds
	reportRoutes
	report2292Hops
	report2292Ends
	report2292Routes
	reportFlow

	reportsHeader = reportFlow | reportOptions | reportReturned | reportHops | reportEnds | reportRoutes | report2292Hops | report2292Ends | report2292Routes
)

// reports makes an option's apply that wants, or no longer wants, a report.
func reports(bit uint32) func(*Socket, tcpip.Endpoint, int32) {
	return func(s *Socket, e tcpip.Endpoint, v int32) {
		if v != 0 {
			s.report.Or(bit)
		} else {
			s.report.And(^bit)
		}
		switch bit {
		case reportPktInfo, reportPktInfo6, report2292PktInfo:
			s.keepDestinations(e)
		case reportOrigDst, reportOrigDst6:
			e.SocketOptions().SetReceiveOriginalDstAddress(s.report.Load()&(reportOrigDst|reportOrigDst6) != 0)
		case report2292HopLimit:
			e.SocketOptions().SetReceiveHopLimit(v != 0)
		}
		if bit&reportsHeader != 0 {
			s.settleHeaders(e)
		}
	}
}

// receivedControl lays out what came with a datagram, as far as the receiver wants
// to know it. head is the header of its packet, with all extensions, if they have any.
func (s *Socket) receivedControl(m *tcpip.ReceivableControlMessages, head []byte) []socket.ControlMessage {
	var out []socket.ControlMessage
	add := func(level, typ int32, data []byte) {
		out = append(out, socket.ControlMessage{Level: level, Type: typ, Data: data})
	}
	report := s.report.Load()
	if m.HasTimestamp {
		out = s.AppendReceived(out, m.Timestamp)
	}
	if report&reportDrops != 0 {
		if n := s.drops(s.ep.Load()); n > 0 {
			add(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, int32Bytes(int32(n)))
		}
	}
	if m.HasIPPacketInfo && report&reportPktInfo6 != 0 { // of IPv4, to a socket of AF_INET6
		add(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, packetInfo6(m.PacketInfo.DestinationAddr, m.PacketInfo.NIC))
	}
	if m.HasIPPacketInfo && report&reportPktInfo != 0 {
		b := int32Bytes(int32(m.PacketInfo.NIC))
		b = append(b, ip4(m.PacketInfo.LocalAddr)...)
		b = append(b, ip4(m.PacketInfo.DestinationAddr)...)
		add(unix.IPPROTO_IP, unix.IP_PKTINFO, b)
	}
	if m.HasTTL {
		add(unix.IPPROTO_IP, unix.IP_TTL, int32Bytes(int32(m.TTL)))
	}
	if m.HasTOS {
		add(unix.IPPROTO_IP, unix.IP_TOS, []byte{m.TOS})
	}
	options := headerOptionsOf(head)
	if len(options) > 0 && report&reportOptions != 0 {
		add(unix.IPPROTO_IP, unix.IP_RECVOPTS, options)
	}
	if len(options) > 0 && report&reportReturned != 0 {
		add(unix.IPPROTO_IP, unix.IP_RETOPTS, returnedOptions(options, s.stampsAt))
	}
	if m.HasIPv6PacketInfo && report&(reportPktInfo6|report2292PktInfo) != 0 {
		typ := int32(unix.IPV6_PKTINFO)
		if report&report2292PktInfo != 0 {
			typ = unix.IPV6_2292PKTINFO
		}
		add(unix.IPPROTO_IPV6, typ, packetInfo6(m.IPv6PacketInfo.Addr, m.IPv6PacketInfo.NIC))
	}
	if m.HasHopLimit {
		typ := int32(unix.IPV6_HOPLIMIT)
		if report&report2292HopLimit != 0 {
			typ = unix.IPV6_2292HOPLIMIT
		}
		add(unix.IPPROTO_IPV6, typ, int32Bytes(int32(m.HopLimit)))
	}
	if m.HasTClass {
		add(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int32Bytes(int32(m.TClass)))
	}
	if len(head) > 0 && head[0]>>4 == header.IPv6Version {
		if flow := binary.BigEndian.Uint32(head) & flowMask; flow != 0 && report&reportFlow != 0 {
			add(unix.IPPROTO_IPV6, ipv6FlowInfo, binary.BigEndian.AppendUint32(nil, flow))
		}
		tellExtensions(report, head, add)
	}
	if m.HasOriginalDstAddress {
		switch is4 := unmapped(unix.AF_INET6, m.OriginalDstAddress).Addr().Is4(); {
		case is4 && report&reportOrigDst != 0:
			add(unix.IPPROTO_IP, unix.IP_ORIGDSTADDR, sockaddr(unix.AF_INET, m.OriginalDstAddress))
		case !is4 && report&reportOrigDst6 != 0:
			add(unix.IPPROTO_IPV6, unix.IPV6_ORIGDSTADDR, sockaddr(unix.AF_INET6, m.OriginalDstAddress))
		}
	}
	return out
}

// packetInfo6 is a struct in6_pktinfo.
func packetInfo6(address tcpip.Address, link tcpip.NICID) []byte {
	ip := addrPort(unix.AF_INET6, tcpip.FullAddress{Addr: address}).Addr().As16()
	return append(ip[:], int32Bytes(int32(link))...)
}

// ip4 is an IPv4 address's four bytes.
func ip4(a tcpip.Address) []byte {
	b := [4]byte{}
	copy(b[:], a.AsSlice())
	return b[:]
}

// sendControl reads the control messages of a send to an address, or to the peer, for the stack into o. EINVAL for
// messages that it does not know. Those of the family that the datagram is not of count for nothing, but that a
// socket of AF_INET6 may say by IPV6_PKTINFO where one of IPv4 comes from.
func (s *Socket) sendControl(c vfs.Caller, e *endpoint, to tcpip.FullAddress, o *tcpip.WriteOptions, list []socket.ControlMessage) (beside aside, err error) {
	if beside.segment = int(s.segment.Load()); len(list) == 0 {
		return beside, nil
	}
	if to.Addr.BitLen() == 0 {
		to, _ = s.peer(e)
	}
	is6 := to.Addr.Len() == header.IPv6AddressSize && !header.IsV4MappedAddress(to.Addr)
	for _, m := range list {
		switch {
		case m.Level == unix.IPPROTO_IP && !is6:
			err = s.sendControl4(c, o, &beside, m)
		case m.Level == unix.IPPROTO_IPV6 && is6:
			err = s.sendControl6(c, o, &beside, m)
		case m.Level == unix.IPPROTO_IPV6 && m.Type == unix.IPV6_PKTINFO && s.family.Load() == unix.AF_INET6:
			err = sendMappedSource(&beside, m)
		case m.Level == unix.IPPROTO_UDP && s.sort() == ofUDP:
			if m.Type != unix.UDP_SEGMENT || len(m.Data) != 2 {
				return beside, unix.EINVAL
			}
			beside.segment = int(binary.LittleEndian.Uint16(m.Data))
		case m.Level == unix.SOL_SOCKET:
			err = s.sendControlSocket(c, &beside, m)
		}
		if err != nil {
			return beside, err
		}
	}
	return beside, nil
}

// sendControlStream reads the control messages of a send of a stream, which heeds none of them. EINVAL for one of
// SOL_SOCKET that there is none of.
func (s *Socket) sendControlStream(c vfs.Caller, list []socket.ControlMessage) error {
	for _, m := range list {
		if m.Level == unix.SOL_SOCKET {
			if err := s.sendControlSocket(c, &aside{}, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendControlSocket reads a control message of SOL_SOCKET: SO_TIMESTAMPING and SO_MARK, and SO_PRIORITY and SCM_TXTIME,
// which nothing inside heeds.
func (s *Socket) sendControlSocket(c vfs.Caller, beside *aside, m socket.ControlMessage) error {
	switch m.Type {
	case unix.SO_MARK:
		if !can(c, unix.CAP_NET_ADMIN) && !can(c, unix.CAP_NET_RAW) {
			return unix.EPERM
		}
		if len(m.Data) == 4 {
			beside.marked, beside.mark = true, binary.LittleEndian.Uint32(m.Data)
			return nil
		}
	case unix.SO_PRIORITY:
		if len(m.Data) == 4 {
			_, err := checkPriority(s, c, int32(binary.LittleEndian.Uint32(m.Data)))
			return err
		}
	case unix.SCM_TXTIME:
		if s.SendTimeSet() && len(m.Data) == 8 {
			return nil
		}
	case unix.SO_TIMESTAMPING, unix.SO_TIMESTAMPING_NEW:
		return sentControl(beside, m)
	}
	return unix.EINVAL
}

// sendControl4 reads a control message of IPv4: IP_TTL, IP_TOS, IP_PKTINFO, IP_RETOPTS.
func (s *Socket) sendControl4(c vfs.Caller, o *tcpip.WriteOptions, beside *aside, m socket.ControlMessage) error {
	switch m.Type {
	case unix.IP_TTL:
		if len(m.Data) != 4 {
			return unix.EINVAL
		}
		v := int32(binary.LittleEndian.Uint32(m.Data))
		if v < 1 || v > 255 {
			return unix.EINVAL
		}
		o.ControlMessages.HasTTL, o.ControlMessages.TTL = true, uint8(v)
		return nil
	case unix.IP_TOS:
		v := uint32(0)
		switch len(m.Data) {
		case 1:
			v = uint32(m.Data[0])
		case 4:
			v = binary.LittleEndian.Uint32(m.Data)
		default:
			return unix.EINVAL
		}
		if v > 255 {
			return unix.EINVAL
		}
		beside.classed, beside.class, beside.option = true, uint8(v), tcpip.IPv4TOSOption
		return nil
	case unix.IP_PKTINFO:
		if len(m.Data) != 12 {
			return unix.EINVAL
		}
		beside.nic = tcpip.NICID(binary.LittleEndian.Uint32(m.Data))
		if ip := [4]byte(m.Data[4:8]); ip != [4]byte{} {
			beside.source = tcpip.AddrFrom4(ip)
		}
		return nil
	case unix.IP_RETOPTS:
		options, err := s.parseHeaderOptions(c, m.Data[:min(len(m.Data), maxIPOptions)])
		if beside.options = options; options == nil {
			beside.options = noHeaderOptions
		}
		return err
	}
	return unix.EINVAL
}

// sendMappedSource reads the IPV6_PKTINFO of a datagram of IPv4. EINVAL for an address that is IPv6's.
func sendMappedSource(beside *aside, m socket.ControlMessage) error {
	if len(m.Data) < sizeofPacketInfo6 {
		return unix.EINVAL
	}
	ip := netip.AddrFrom16([16]byte(m.Data))
	if !ip.Is4In6() {
		return unix.EINVAL
	}
	if nic := binary.LittleEndian.Uint32(m.Data[16:]); nic != 0 {
		beside.nic = tcpip.NICID(nic)
	}
	if ip = ip.Unmap(); !ip.IsUnspecified() {
		beside.source = tcpip.AddrFrom4(ip.As4())
	}
	return nil
}

// sendControl6 reads a control message of IPv6: IPV6_HOPLIMIT, IPV6_PKTINFO,
// IPV6_TCLASS, IPV6_DONTFRAG, IPV6_FLOWINFO, extension headers.
func (s *Socket) sendControl6(c vfs.Caller, o *tcpip.WriteOptions, beside *aside, m socket.ControlMessage) error {
	switch m.Type {
	case unix.IPV6_HOPLIMIT, unix.IPV6_2292HOPLIMIT:
		if len(m.Data) != 4 {
			return unix.EINVAL
		}
		v := int32(binary.LittleEndian.Uint32(m.Data))
		if v < -1 || v > 255 {
			return unix.EINVAL
		}
		if v >= 0 {
			o.ControlMessages.HasHopLimit, o.ControlMessages.HopLimit = true, uint8(v)
		}
		return nil
	case unix.IPV6_PKTINFO, unix.IPV6_2292PKTINFO:
		if len(m.Data) < sizeofPacketInfo6 {
			return unix.EINVAL
		}
		o.ControlMessages.HasIPv6PacketInfo = true
		o.ControlMessages.IPv6PacketInfo.NIC = tcpip.NICID(binary.LittleEndian.Uint32(m.Data[16:]))
		if ip := [16]byte(m.Data[:16]); ip != [16]byte{} {
			source := tcpip.AddrFrom16(ip)
			if s.net.Stack().CheckLocalAddress(0, header.IPv6ProtocolNumber, source) == 0 && !s.bindsNonlocal(netip.AddrFrom16(ip)) {
				return unix.EINVAL
			}
			o.ControlMessages.IPv6PacketInfo.Addr = source
		}
		return nil
	case ipv6FlowInfo:
		if len(m.Data) < 4 {
			return unix.EINVAL
		}
		beside.flowed, beside.flow = true, binary.BigEndian.Uint32(m.Data)&flowMask
		return nil
	case unix.IPV6_HOPOPTS, unix.IPV6_DSTOPTS, unix.IPV6_RTHDRDSTOPTS, unix.IPV6_RTHDR, unix.IPV6_2292HOPOPTS, unix.IPV6_2292DSTOPTS, unix.IPV6_2292RTHDR:
		return s.sentExtension(c, beside, m)
	case unix.IPV6_TCLASS, unix.IPV6_DONTFRAG:
		if len(m.Data) != 4 {
			return unix.EINVAL
		}
		v := int32(binary.LittleEndian.Uint32(m.Data))
		if m.Type == unix.IPV6_DONTFRAG {
			if v < 0 || v > 1 {
				return unix.EINVAL
			}
			beside.wholeSaid, beside.whole = true, v != 0
			return nil
		}
		if v < -1 || v > 255 {
			return unix.EINVAL
		}
		beside.classed, beside.class, beside.option = true, uint8(v), tcpip.IPv6TrafficClassOption
		return nil
	}
	return unix.EINVAL
}
