package inet

import (
	"encoding/binary"
	"time"

	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// What SO_TIMESTAMPING asks for of datagrams that are sent: the socket's error queue tells when each was
// queued and when it left, with the packet (Documentation/networking/timestamping.rst of Linux). Inside
// both are the moment of the send.

const (
	// sentStamps are the flags that choose what is told of what is sent: SOF_TIMESTAMPING_TX_HARDWARE,
	// _TX_SOFTWARE, _TX_SCHED, _TX_ACK and _TX_COMPLETION. Of each a datagram is numbered; those in toldStamps
	// are told of here.
	sentStamps = 1<<0 | unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_SCHED | unix.SOF_TIMESTAMPING_TX_ACK | 1<<18
	toldStamps = unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_SCHED
	// scmTimestampSent and scmTimestampQueued are SCM_TSTAMP_SND and SCM_TSTAMP_SCHED (linux/errqueue.h).
	scmTimestampSent, scmTimestampQueued = 0, 1
)

// setTimestamping is SO_TIMESTAMPING, by either of its numbers. Numbers of what is sent begin at 0 when they
// are asked for.
func (s *Socket) setTimestamping(name int32, value []byte) error {
	v := int32(binary.LittleEndian.Uint32(value))
	if v&^s.TimestampingFlags()&unix.SOF_TIMESTAMPING_OPT_ID != 0 {
		if s.stream() && !s.connected() {
			return unix.EINVAL
		}
		s.sentNumber.Store(0)
	}
	_, err := s.SetStampOption(name, value)
	return err
}

// sentControl reads the control message with which a send chooses what is told of it.
func sentControl(beside *aside, m socket.ControlMessage) error {
	if len(m.Data) != 4 {
		return unix.EINVAL
	}
	v := int32(binary.LittleEndian.Uint32(m.Data))
	if v&^sentStamps != 0 {
		return unix.EINVAL
	}
	beside.stamped, beside.stamps = true, v
	return nil
}

// tellSent numbers a datagram that was sent at a time, and queues what is to be told of it. s.sendMu is held.
func (s *Socket) tellSent(e *endpoint, p []byte, to *tcpip.FullAddress, at time.Time) {
	flags := s.TimestampingFlags()
	told := queuedError{errno: unix.ENOMSG, origin: unix.SO_EE_ORIGIN_TIMESTAMPING, at: at}
	if flags&unix.SOF_TIMESTAMPING_OPT_ID != 0 {
		told.last = s.sentNumber.Add(1) - 1
	}
	if s.stamps&toldStamps == 0 {
		return
	}
	var dst tcpip.FullAddress
	if to != nil {
		dst = *to
	} else if peer, err := s.peer(e); err == nil {
		dst = peer
	}
	local, err := e.GetLocalAddress()
	if err != nil {
		return
	}
	if r, err := s.routeTo(e, dst); err == nil {
		local.Addr = r.LocalAddress()
		r.Release()
	}
	if s.family.Load() == unix.AF_INET6 || flags&unix.SOF_TIMESTAMPING_OPT_CMSG != 0 {
		told.offender = tcpip.FullAddress{Addr: local.Addr}
	}
	for _, stage := range [...]struct {
		flag int32
		info uint32
	}{{unix.SOF_TIMESTAMPING_TX_SCHED, scmTimestampQueued}, {unix.SOF_TIMESTAMPING_TX_SOFTWARE, scmTimestampSent}} {
		if s.stamps&stage.flag == 0 {
			continue
		}
		one := told
		one.info = stage.info
		if flags&unix.SOF_TIMESTAMPING_OPT_TSONLY == 0 {
			one.data = sentFrame(local, dst, p)
		}
		s.errors.errorMu.Lock()
		s.errors.add(&one)
		s.errors.errorMu.Unlock()
	}
	s.wait.Notify(waiter.Err | waiter.Pri)
}

// sentFrame lays out the frame of a datagram of UDP, without checksums and without Ethernet addresses.
func sentFrame(from, to tcpip.FullAddress, p []byte) []byte {
	src, dst := unmapped(unix.AF_INET6, from), unmapped(unix.AF_INET6, to)
	network, typ := header.IPv6MinimumSize, tcpip.NetworkProtocolNumber(header.IPv6ProtocolNumber)
	if dst.Addr().Is4() {
		network, typ = header.IPv4MinimumSize, header.IPv4ProtocolNumber
	}
	b := make([]byte, header.EthernetMinimumSize+network+header.UDPMinimumSize, header.EthernetMinimumSize+network+header.UDPMinimumSize+len(p))
	header.Ethernet(b).Encode(&header.EthernetFields{Type: typ})
	ip, udp := b[header.EthernetMinimumSize:], header.UDP(b[header.EthernetMinimumSize+network:])
	length := uint16(header.UDPMinimumSize + len(p))
	if dst.Addr().Is4() {
		header.IPv4(ip).Encode(&header.IPv4Fields{
			TotalLength: uint16(network) + length, TTL: defaultHops, Protocol: unix.IPPROTO_UDP,
			SrcAddr: tcpip.AddrFromSlice(src.Addr().AsSlice()), DstAddr: tcpip.AddrFromSlice(dst.Addr().AsSlice()),
		})
		header.IPv4(ip).SetChecksum(^header.IPv4(ip).CalculateChecksum())
	} else {
		header.IPv6(ip).Encode(&header.IPv6Fields{
			PayloadLength: length, TransportProtocol: header.UDPProtocolNumber, HopLimit: defaultHops,
			SrcAddr: tcpip.AddrFromSlice(src.Addr().AsSlice()), DstAddr: tcpip.AddrFromSlice(dst.Addr().AsSlice()),
		})
	}
	udp.Encode(&header.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: length})
	return append(b, p...)
}
