package inet

import (
	"net/netip"

	"coffer/internal/sentry/network"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// Where rules and routes say more than the stack knows, a socket asks the network which interface what it sends
// leaves by. That it leaves by no other is all that the stack has to be told; gateways are found packet by packet.

// Unsourced implements network.Sender.
func (s *Socket) Unsourced() bool { return s.unsourced.Load() }

// Bound implements network.Sender.
func (s *Socket) Bound() int32 {
	if link := s.leavesBy.Load(); link != 0 {
		return link
	}
	return s.ep.Load().SocketOptions().GetBindToDevice()
}

// routeKey is what the way of what a socket sends depends on.
func (s *Socket) routeKey(e *endpoint, to tcpip.FullAddress) network.RouteKey {
	o := e.SocketOptions()
	peer := unmapped(s.family.Load(), to)
	k := network.RouteKey{
		To: peer.Addr(), Link: int32(to.NIC), Mark: o.GetMark(), UID: s.KUID(), Protocol: uint8(s.protocol),
		DestinationPort: peer.Port(),
	}
	if k.Link == 0 {
		k.Link = o.GetBindToDevice()
	}
	class := tcpip.IPv4TOSOption
	if k.To.Is6() {
		class = tcpip.IPv6TrafficClassOption
	}
	if tos, err := e.GetSockOptInt(class); err == nil {
		k.TOS = uint8(tos) &^ 3
	}
	local, err := e.GetLocalAddress()
	if p := s.portless.Load(); p != nil && (err != nil || local.Addr.Len() == 0) {
		local.Addr = p.Addr
	}
	if err == nil {
		k.SourcePort = local.Port
	}
	if from := unmapped(s.family.Load(), local).Addr(); !from.IsUnspecified() && !from.IsMulticast() && from.Is4() == k.To.Is4() {
		k.From = from
	}
	return k
}

// steer gives an address the interface that what is sent there leaves by, and returns the source that it is to have,
// if the stack would choose another. A socket that connects is looked up again with the source that it gets, as on
// Linux.
func (s *Socket) steer(e *endpoint, to *tcpip.FullAddress, from netip.Addr, connects bool) (source tcpip.Address, err error) {
	k := s.routeKey(e, *to)
	if from.IsValid() {
		k.From = from
	}
	chosen := k.From.IsValid()
	s.leavesBy.Store(k.Link)
	link, address, err := s.net.Way(k)
	if err == nil && link != 0 && connects && !chosen {
		k.From = address
		link, address, err = s.net.Way(k)
	}
	if err != nil || link == 0 {
		return source, err
	}
	s.own(e)
	s.unsourced.Store(!chosen && !connects)
	to.NIC = tcpip.NICID(link)
	if chosen {
		return source, nil
	}
	r, terr := s.net.Stack().FindRoute(to.NIC, tcpip.Address{}, tcpip.AddrFromSlice(k.To.AsSlice()), networkOf(k.To), false)
	if terr != nil {
		return source, errno(terr)
	}
	defer r.Release()
	if source = tcpip.AddrFromSlice(address.AsSlice()); source == r.LocalAddress() {
		return tcpip.Address{}, nil
	}
	return source, nil
}

// steerDatagram is that for the datagram that is being sent, which goes to o.To or to the peer. s.sendMu is held.
func (s *Socket) steerDatagram(e *endpoint, o *tcpip.WriteOptions) error {
	if o.To == nil {
		to, err := s.peer(e)
		if err != nil {
			return nil // the stack says so
		}
		to.NIC = 0
		_, serr := s.steer(e, &to, netip.Addr{}, true)
		return serr
	}
	info := &o.ControlMessages.IPv6PacketInfo
	said := s.from
	if o.ControlMessages.HasIPv6PacketInfo {
		if said = info.Addr; info.NIC != 0 && s.to.NIC == 0 {
			s.to.NIC = info.NIC
		}
	}
	from, _ := netip.AddrFromSlice(said.AsSlice())
	source, err := s.steer(e, &s.to, from, false)
	if err != nil || source.Len() == 0 {
		return err
	}
	switch {
	case source.Len() == header.IPv6AddressSize:
		o.ControlMessages.HasIPv6PacketInfo = true
		info.Addr = source
	case s.sort() == ofUDP:
		s.from = source
	}
	return nil
}

// comeFrom gives a socket without an address the one that it is to connect from, which the stack would not
// choose. The result is its endpoint then. s.mu is held.
func (s *Socket) comeFrom(e *endpoint, source tcpip.Address) (*endpoint, error) {
	local, terr := e.GetLocalAddress()
	if terr != nil {
		return e, errno(terr)
	}
	if local.Port == 0 {
		terr = e.Bind(tcpip.FullAddress{Addr: source})
		if s.sourced = terr == nil; s.stream() {
			return e, errno(terr)
		}
		return e, autobindError(terr)
	}
	if !s.stream() && s.joinedGroups() {
		return e, nil // another endpoint would not have them
	}
	bound := s.bound
	s.bound = &tcpip.FullAddress{Addr: source, Port: local.Port}
	err := s.renew()
	if s.bound != nil {
		s.bound = bound
	}
	s.sourced = true
	return s.ep.Load(), err
}
