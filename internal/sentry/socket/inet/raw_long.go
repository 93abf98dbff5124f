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

// The stack's raw sockets send nothing that does not fit the link, counting a header of IP though the packet has one
// already. Here that is sent, in fragments if IP makes the header.

// sendRaw sends a packet of a raw socket if it is one that its endpoint would refuse as too long, and says whether it is.
// s.sendMu is held.
func (s *Socket) sendRaw(e *endpoint, p []byte, opts *tcpip.WriteOptions) (long bool, err error) {
	r, err := s.rawRoute(e, opts)
	if err != nil {
		return false, nil // for the endpoint to say why
	}
	defer r.Release()
	if len(p) <= int(r.MTU()) {
		return false, nil
	}
	own := e.SocketOptions().GetHeaderIncluded()
	most, size := maxIPv4MTU-header.IPv4MinimumSize, header.IPv4MinimumSize
	if r.NetProto() == header.IPv6ProtocolNumber {
		most, size = math.MaxUint16, header.IPv6MinimumSize
	}
	if own {
		most = int(r.MTU()) + size
	}
	if len(p) > most {
		s.tooLong(opts.To, p)
		return true, unix.EMSGSIZE
	}
	if r.IsOutboundBroadcast() && !e.SocketOptions().GetBroadcast() {
		return true, unix.EACCES
	}
	content := buffer.MakeWithData(p)
	if r.NetProto() == header.IPv6ProtocolNumber && !own {
		if at, err := e.GetSockOptInt(tcpip.IPv6Checksum); err == nil && at >= 0 {
			if at > len(p)-checksum.Size {
				content.Release()
				return true, unix.EINVAL
			}
			whole := content.Flatten()
			checksum.Put(whole[at:], 0)
			sum := header.PseudoHeaderChecksum(tcpip.TransportProtocolNumber(s.protocol), r.LocalAddress(), r.RemoteAddress(), uint16(len(whole)))
			checksum.Put(whole[at:], ^checksum.Checksum(whole, sum))
			content.Release()
			content = buffer.MakeWithData(whole)
		}
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: content, Mark: e.SocketOptions().GetMark(),
	})
	defer pkt.DecRef()
	pkt.Owner = s
	var terr tcpip.Error
	if own {
		terr = r.WriteHeaderIncludedPacket(pkt)
	} else {
		terr = r.WritePacket(headerParams(e, r, opts, tcpip.TransportProtocolNumber(s.protocol)), pkt)
	}
	return true, errno(terr)
}

// rawRoute is the way of a packet of a raw socket. The caller releases it.
func (s *Socket) rawRoute(e *endpoint, opts *tcpip.WriteOptions) (*stack.Route, error) {
	local, err := e.GetLocalAddress()
	if err != nil {
		return nil, errno(err)
	}
	to := opts.To
	if to == nil {
		peer, err := s.peer(e)
		if err != nil {
			return nil, errno(err)
		}
		to = &peer
	}
	nic, from, loop := to.NIC, local.Addr, false
	if c := &opts.ControlMessages; c.HasIPv6PacketInfo {
		if c.IPv6PacketInfo.Addr.BitLen() != 0 {
			from = c.IPv6PacketInfo.Addr
		}
		if nic == 0 {
			nic = c.IPv6PacketInfo.NIC
		}
	}
	if nic == 0 {
		nic = tcpip.NICID(e.SocketOptions().GetBindToDevice())
	}
	protocol := networkProtocol(s.family.Load())
	if isMulticast(to.Addr) {
		loop = e.SocketOptions().GetMulticastLoop()
		var o tcpip.MulticastInterfaceOption
		if err := e.GetSockOpt(&o); err == nil && nic == 0 {
			if nic = o.NIC; from.BitLen() == 0 {
				from = o.InterfaceAddr
			}
		}
	}
	r, err := s.net.Stack().FindRoute(nic, from, to.Addr, protocol, loop)
	return r, errno(err)
}

func isMulticast(a tcpip.Address) bool {
	return header.IsV4MulticastAddress(a) || header.IsV6MulticastAddress(a)
}

// headerParams are what the header of a packet has from a socket's options and from the messages that it is sent with.
func headerParams(e *endpoint, r *stack.Route, opts *tcpip.WriteOptions, protocol tcpip.TransportProtocolNumber) stack.NetworkHeaderParams {
	class, hops, said, value := tcpip.IPv4TOSOption, tcpip.IPv4TTLOption, opts.ControlMessages.HasTTL, opts.ControlMessages.TTL
	if r.NetProto() == header.IPv6ProtocolNumber {
		class, hops, said, value = tcpip.IPv6TrafficClassOption, tcpip.IPv6HopLimitOption, opts.ControlMessages.HasHopLimit, opts.ControlMessages.HopLimit
	}
	multicast := isMulticast(r.RemoteAddress())
	if multicast {
		hops = tcpip.MulticastTTLOption
	}
	tos, _ := e.GetSockOptInt(class)
	ttl, _ := e.GetSockOptInt(hops)
	switch {
	case said:
		ttl = int(value)
	case multicast:
	case ttl <= 0:
		ttl = int(r.DefaultTTL())
	}
	return stack.NetworkHeaderParams{Protocol: protocol, TTL: uint8(ttl), TOS: uint8(tos)}
}
