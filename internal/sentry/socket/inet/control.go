package inet

import (
	"encoding/binary"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
)

// What a receiver wants to be told beside what the stack keeps an option for.
const (
	report2292PktInfo = 1 << iota
	report2292HopLimit
	reportInq
	reportDrops
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
		case report2292PktInfo:
			e.SocketOptions().SetIPv6ReceivePacketInfo(v != 0 || s.judgesGroups())
		case report2292HopLimit:
			e.SocketOptions().SetReceiveHopLimit(v != 0)
		}
	}
}

// receivedControl lays out what came with a datagram, as far as the receiver wants
// to know it.
func (s *Socket) receivedControl(m *tcpip.ReceivableControlMessages) []socket.ControlMessage {
	var out []socket.ControlMessage
	add := func(level, typ int32, data []byte) {
		out = append(out, socket.ControlMessage{Level: level, Type: typ, Data: data})
	}
	report := s.report.Load()
	if m.HasTimestamp {
		out = s.AppendReceived(out, m.Timestamp)
	}
	if report&reportDrops != 0 {
		if n := s.ep.Load().drops(); n > 0 {
			add(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, int32Bytes(int32(n)))
		}
	}
	if m.HasIPPacketInfo && s.wantsPacketInfo() {
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
	if m.HasIPv6PacketInfo && s.wantsPacketInfo6() {
		typ := int32(unix.IPV6_PKTINFO)
		if report&report2292PktInfo != 0 {
			typ = unix.IPV6_2292PKTINFO
		}
		ip := addrPort(unix.AF_INET6, tcpip.FullAddress{Addr: m.IPv6PacketInfo.Addr}).Addr().As16()
		add(unix.IPPROTO_IPV6, typ, append(ip[:], int32Bytes(int32(m.IPv6PacketInfo.NIC))...))
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
	if m.HasOriginalDstAddress {
		if s.family.Load() == unix.AF_INET {
			add(unix.IPPROTO_IP, unix.IP_ORIGDSTADDR, sockaddr(s.family.Load(), m.OriginalDstAddress))
		} else {
			add(unix.IPPROTO_IPV6, unix.IPV6_ORIGDSTADDR, sockaddr(s.family.Load(), m.OriginalDstAddress))
		}
	}
	return out
}

// ip4 is an IPv4 address's four bytes.
func ip4(a tcpip.Address) []byte {
	b := [4]byte{}
	copy(b[:], a.AsSlice())
	return b[:]
}

// sendControl reads the control messages of a send, for the stack into o. EINVAL for
// messages that it does not know.
func (s *Socket) sendControl(c vfs.Caller, o *tcpip.WriteOptions, list []socket.ControlMessage) (beside aside, err error) {
	beside.segment = int(s.segment.Load())
	for _, m := range list {
		switch {
		case m.Level == unix.IPPROTO_IP:
			err = sendControl4(o, &beside, m)
		case m.Level == unix.IPPROTO_IPV6 && s.family.Load() == unix.AF_INET6:
			err = sendControl6(o, &beside, m)
		case m.Level == unix.IPPROTO_UDP && m.Type == unix.UDP_SEGMENT:
			if len(m.Data) < 2 {
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

// sendControlSocket reads a control message of SOL_SOCKET: SO_TIMESTAMPING, and SO_MARK and SCM_TXTIME,
// which nothing inside heeds.
func (s *Socket) sendControlSocket(c vfs.Caller, beside *aside, m socket.ControlMessage) error {
	switch m.Type {
	case unix.SO_MARK:
		if !can(c, unix.CAP_NET_ADMIN) && !can(c, unix.CAP_NET_RAW) {
			return unix.EPERM
		}
		if len(m.Data) == 4 {
			return nil
		}
	case unix.SCM_TXTIME:
		s.optionMu.Lock()
		defer s.optionMu.Unlock()
		if s.sendTimeSet && len(m.Data) == 8 {
			return nil
		}
	case unix.SO_TIMESTAMPING:
		return sentControl(beside, m)
	}
	return unix.EINVAL
}

// sendControl4 reads a control message of IPv4: IP_TTL, IP_TOS, IP_PKTINFO.
func sendControl4(o *tcpip.WriteOptions, beside *aside, m socket.ControlMessage) error {
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
	}
	return unix.EINVAL
}

// sendControl6 reads a control message of IPv6: IPV6_HOPLIMIT, IPV6_PKTINFO,
// IPV6_TCLASS, IPV6_DONTFRAG.
func sendControl6(o *tcpip.WriteOptions, beside *aside, m socket.ControlMessage) error {
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
			o.ControlMessages.IPv6PacketInfo.Addr = tcpip.AddrFrom16(ip)
		}
		return nil
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
