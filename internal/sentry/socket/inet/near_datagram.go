package inet

import (
	"math"

	"coffer/internal/sentry/network"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A datagram of UDP between two addresses of a namespace is handed to the endpoint that the
// stack would find for it, as a packet that has come: it takes no way through routes, IP and
// lo. All that the receiver does with it, and what it learns of it, is as ever. What is not
// ordinary is left to the stack: that nobody listens, groups and broadcasts, fragments,
// interfaces, control messages.
//
// Who captures packets is to see them, and has them made.

// way is where datagrams go to that stay within the namespace, as the last one did.
type way struct {
	// endpoint had a name when the way was found, changes is Namespace.Changes then.
	endpoint *endpoint
	changes  uint64
	// to is what Send was given, or nothing for the peer.
	to       tcpip.FullAddress
	protocol tcpip.NetworkProtocolNumber
	// id is the datagram's, as its receiver has it, nic the interface that it comes in by.
	id  stack.TransportEndpointID
	nic tcpip.NICID
	// most is how many bytes need no fragments, hops what the sender's TTL is if it has not set one.
	most int
	hops uint8
	// label is the flow's, if there is to be one.
	label uint32
}

// forgetWay is for a socket whose name or peer has changed.
func (s *Socket) forgetWay() {
	s.sendMu.Lock()
	s.way = way{}
	s.sendMu.Unlock()
}

// sendWithin hands a datagram to its receiver, if that is within the namespace and all is
// ordinary; it reports whether it has. s.sendMu is held.
func (s *Socket) sendWithin(e *endpoint, p []byte, opts *tcpip.WriteOptions) bool {
	if s.sort() != ofUDP || s.net.Observed() || e.SocketOptions().GetBindToDevice() != 0 || s.headerOptions() != nil || s.extensions() != nil ||
		opts.ControlMessages != (tcpip.SendableControlMessages{}) {
		return false
	}
	w := &s.way
	var to tcpip.FullAddress
	if opts.To != nil {
		to = *opts.To
	}
	if w.endpoint != e || w.to != to || w.changes != s.net.Changes() {
		if *w = s.findWay(e, to); w.endpoint == nil {
			return false
		}
	}
	if len(p) > w.most {
		return false
	}
	receiver := s.net.Stack().FindTransportEndpoint(w.protocol, header.UDPProtocolNumber, w.id, w.nic)
	if receiver == nil {
		return false // the stack tells that nobody listens
	}
	pkt := w.packet(e, p, s.label(w.label))
	size := pkt.Size()
	network.HandDatagram(receiver, w.id, pkt)
	pkt.DecRef()
	s.net.CountDatagram(w.protocol, size)
	return true
}

// findWay returns the way to an address, or to the peer; one without an endpoint if there is none.
func (s *Socket) findWay(e *endpoint, to tcpip.FullAddress) way {
	w := way{endpoint: e, changes: s.net.Changes(), to: to}
	from, err := e.GetLocalAddress()
	if err != nil || from.Port == 0 {
		return way{} // the stack gives it a name
	}
	if to == (tcpip.FullAddress{}) {
		if to, err = e.GetRemoteAddress(); err != nil {
			return way{}
		}
	}
	if header.IsV4MappedAddress(to.Addr) {
		to.Addr = tcpip.AddrFrom4Slice(to.Addr.AsSlice()[12:])
	}
	w.protocol = header.IPv4ProtocolNumber
	headers := header.IPv4MinimumSize + header.UDPMinimumSize
	if to.Addr.Len() == header.IPv6AddressSize {
		w.protocol, headers = header.IPv6ProtocolNumber, header.IPv6MinimumSize+header.UDPMinimumSize
	}
	if to.NIC != 0 || to.Port == 0 || from.Addr.Len() != 0 && from.Addr.Len() != to.Addr.Len() {
		return way{}
	}
	r, ok := s.net.WayWithin(sourceTo(to.Addr, from.Addr), to.Addr, w.protocol)
	if !ok {
		return way{}
	}
	defer r.Release()
	w.id = stack.TransportEndpointID{LocalAddress: to.Addr, LocalPort: to.Port, RemoteAddress: r.LocalAddress(), RemotePort: from.Port}
	w.nic = r.NICID()
	w.most, w.hops = min(int(r.MTU())-header.UDPMinimumSize, math.MaxUint16-headers), r.DefaultTTL()
	if w.protocol == header.IPv6ProtocolNumber {
		w.label = network.FlowLabel(w.id.RemoteAddress, w.id.LocalAddress, header.UDPProtocolNumber, w.id.RemotePort, w.id.LocalPort)
	}
	return w
}

// packet makes a packet of a datagram that has arrived.
func (w *way) packet(e *endpoint, p []byte, label uint32) *stack.PacketBuffer {
	v6 := w.protocol == header.IPv6ProtocolNumber
	ip, classOption, hopsOption := header.IPv4MinimumSize, tcpip.IPv4TOSOption, tcpip.IPv4TTLOption
	if v6 {
		ip, classOption, hopsOption = header.IPv6MinimumSize, tcpip.IPv6TrafficClassOption, tcpip.IPv6HopLimitOption
	}
	class, _ := e.GetSockOptInt(classOption)
	hops, err := e.GetSockOptInt(hopsOption)
	if err != nil || hops == tcpip.UseDefaultIPv6HopLimit || !v6 && hops == tcpip.UseDefaultIPv4TTL {
		hops = int(w.hops)
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: ip + header.UDPMinimumSize, Payload: buffer.MakeWithData(p), Mark: e.SocketOptions().GetMark(),
	})
	length := uint16(header.UDPMinimumSize + len(p))
	header.UDP(pkt.TransportHeader().Push(header.UDPMinimumSize)).Encode(&header.UDPFields{SrcPort: w.id.RemotePort, DstPort: w.id.LocalPort, Length: length})
	h := pkt.NetworkHeader().Push(ip)
	if v6 {
		header.IPv6(h).Encode(&header.IPv6Fields{
			TrafficClass: uint8(class), FlowLabel: label, PayloadLength: length, TransportProtocol: header.UDPProtocolNumber, HopLimit: uint8(hops),
			SrcAddr: w.id.RemoteAddress, DstAddr: w.id.LocalAddress,
		})
	} else {
		header.IPv4(h).Encode(&header.IPv4Fields{
			TotalLength: length + header.IPv4MinimumSize, TOS: uint8(class), TTL: uint8(hops), Protocol: uint8(header.UDPProtocolNumber),
			SrcAddr: w.id.RemoteAddress, DstAddr: w.id.LocalAddress,
		})
	}
	pkt.NetworkProtocolNumber, pkt.TransportProtocolNumber = w.protocol, header.UDPProtocolNumber
	pkt.NICID, pkt.RXChecksumValidated = w.nic, true
	return pkt
}
