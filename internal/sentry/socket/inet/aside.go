package inet

import (
	"math"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// aside is what control messages say of one datagram, beside what the stack takes along
// with it.
type aside struct {
	// segment is UDP_SEGMENT, the size of the datagrams to be made of it, 0 for one.
	segment int
	// classed says that class, IP_TOS or IPV6_TCLASS, is set instead of the socket's.
	classed bool
	class   uint8
	option  tcpip.SockOptInt
	// nic and source are of IP_PKTINFO: the interface to leave by and the address to come
	// from, if they are set.
	nic    tcpip.NICID
	source tcpip.Address
	// whole is IPV6_DONTFRAG, if wholeSaid instead of the socket's.
	wholeSaid, whole bool
	// stamps is what of SO_TIMESTAMPING chooses what is told of it, if stamped instead of the socket's.
	stamped bool
	stamps  int32
	// options are those of its header, if not nil instead of the socket's.
	options *headerOptions
	// extensions are those of its packet, if not nil instead of the socket's.
	extensions *extensions
	// flow is IPV6_FLOWINFO, if flowed instead of what comes with the address.
	flowed bool
	flow   uint32
	// mark is SO_MARK, if marked instead of the socket's.
	marked bool
	mark   uint32
}

// apply makes the socket's next datagrams what control messages said; the result undoes it.
// s.sendMu is held.
func (a *aside) apply(s *Socket, e *endpoint, o *tcpip.WriteOptions) (undo func(), err error) {
	if a.nic != 0 || a.source.BitLen() != 0 {
		if o.To == nil {
			peer, err := s.peer(e)
			if err != nil {
				return nil, unix.EDESTADDRREQ
			}
			s.to, o.To = peer, &s.to
		}
		if a.nic != 0 {
			s.to.NIC = a.nic
		}
	}
	if s.sort() == ofUDP {
		s.from = a.source
	}
	if a.wholeSaid {
		s.wholeOnce = truth(a.whole) + 1
	}
	if a.options != nil || a.extensions != nil {
		s.once.Store(a.options)
		s.once6.Store(a.extensions)
		s.own(e)
	}
	mark := e.SocketOptions().GetMark()
	if a.marked {
		e.SocketOptions().SetMark(a.mark)
	}
	before := 0
	if a.classed {
		if v, err := e.GetSockOptInt(a.option); err == nil {
			before = v
		}
		e.SetSockOptInt(a.option, int(a.class))
	}
	return func() {
		s.from, s.wholeOnce = tcpip.Address{}, 0
		s.once.Store(nil)
		s.once6.Store(nil)
		if a.marked {
			e.SocketOptions().SetMark(mark)
		}
		if a.classed {
			e.SetSockOptInt(a.option, before)
		}
	}, nil
}

// sendFrom sends a datagram of IPv4 from s.from, which need not be the address that the
// socket is bound to: the stack's sockets know that of IPv6 only. s.sendMu is held.
func (s *Socket) sendFrom(e *endpoint, p []byte, opts tcpip.WriteOptions) (int, error) {
	local, err := e.GetLocalAddress()
	if err == nil && local.Port == 0 {
		if err = e.Bind(tcpip.FullAddress{}); err == nil {
			local, err = e.GetLocalAddress()
		}
	}
	if err != nil {
		return 0, autobindError(err)
	}
	if len(p) > maxDatagram {
		return 0, unix.EMSGSIZE
	}
	to := opts.To.Addr
	if header.IsV4MappedAddress(to) {
		to = tcpip.AddrFrom4Slice(to.AsSlice()[12:])
	}
	st, nic, loop := s.net.Stack(), opts.To.NIC, true
	if header.IsV4MulticastAddress(to) {
		loop = e.SocketOptions().GetMulticastLoop()
		if nic == 0 {
			nic = s.groupLink(e)
		}
	}
	if to.Len() != header.IPv4AddressSize || st.CheckLocalAddress(opts.To.NIC, header.IPv4ProtocolNumber, s.from) == 0 {
		return 0, unix.ENETUNREACH
	}
	r, err := st.FindRoute(nic, s.from, to, header.IPv4ProtocolNumber, loop)
	if err != nil {
		return 0, errno(err)
	}
	defer r.Release()
	if r.IsOutboundBroadcast() && !e.SocketOptions().GetBroadcast() {
		return 0, unix.EACCES
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: header.UDPMinimumSize + int(r.MaxHeaderLength()),
		Payload:            buffer.MakeWithData(p),
		Mark:               e.SocketOptions().GetMark(),
	})
	defer pkt.DecRef()
	pkt.Owner = s
	udp := header.UDP(pkt.TransportHeader().Push(header.UDPMinimumSize))
	pkt.TransportProtocolNumber = header.UDPProtocolNumber
	length := uint16(pkt.Size())
	udp.Encode(&header.UDPFields{SrcPort: local.Port, DstPort: opts.To.Port, Length: length})
	if r.RequiresTXTransportChecksum() && !e.SocketOptions().GetNoChecksum() {
		sum := udp.CalculateChecksum(checksum.Combine(
			header.PseudoHeaderChecksum(header.UDPProtocolNumber, r.LocalAddress(), r.RemoteAddress(), length), pkt.Data().Checksum()))
		if sum != math.MaxUint16 { // 0 would say that there is none
			sum = ^sum
		}
		udp.SetChecksum(sum)
	}
	if err := r.WritePacket(headerParams(e, r, &opts, header.UDPProtocolNumber), pkt); err != nil {
		return 0, errno(err)
	}
	return len(p), nil
}

// groupLink is the interface that a datagram to a group leaves by which names but its source: that of IP_MULTICAST_IF,
// or the one that has the source. s.sendMu is held.
func (s *Socket) groupLink(e *endpoint) tcpip.NICID {
	var o tcpip.MulticastInterfaceOption
	if err := e.GetSockOpt(&o); err == nil && o.NIC != 0 {
		return o.NIC
	}
	return s.net.Stack().CheckLocalAddress(0, header.IPv4ProtocolNumber, s.from)
}
