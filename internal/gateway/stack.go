package gateway

import (
	"fmt"
	"net/netip"
	"time"

	"coffer/internal/link"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// nic is the one interface of the gateway's stack: the link to the sandbox.
const nic = 1

// newStack makes a TCP/IP stack that takes what the sandbox sends to any address,
// and may send in the name of any (promiscuous and spoofing). Of its own it has the
// router's and the resolver's addresses. Nothing arrives before open is called, so
// that the first frame, which is waiting already, finds everything in its place.
func newStack(l *link.Link) (s *stack.Stack, open func(), err error) {
	s = stack.New(stack.Options{
		// Without duplicate address detection: the other end is one sandbox, and an
		// address would be of no use for the second that it takes.
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocolWithOptions(ipv6.Options{}), arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
	})
	late := &lateLink{Link: l}
	if err := configure(s, late); err != nil {
		s.Destroy()
		return nil, nil, fmt.Errorf("configuring the gateway's stack: %s", err)
	}
	return s, func() { l.Attach(reopening{late.dispatcher, s}) }, nil
}

// lateLink is a link that reads nothing when it is attached.
type lateLink struct {
	*link.Link
	dispatcher stack.NetworkDispatcher
}

func (l *lateLink) Attach(d stack.NetworkDispatcher) {
	if l.dispatcher = d; d == nil {
		l.Link.Attach(nil)
	}
}

func (l *lateLink) IsAttached() bool { return l.dispatcher != nil }

func configure(s *stack.Stack, l stack.LinkEndpoint) tcpip.Error {
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(false)
	// Between these two nothing is under way for long that could disturb a new connection.
	timeWait := tcpip.TCPTimeWaitTimeoutOption(time.Second)
	recovery := tcpip.TCPRecovery(0) // as the sandbox's, and for the same reasons
	for _, option := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &timeWait, &recovery,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: bufferMin, Default: bufferMax, Max: bufferMax},
		&tcpip.TCPSendBufferSizeRangeOption{Min: bufferMin, Default: bufferMax, Max: bufferMax},
	} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return err
		}
	}
	if err := s.CreateNICWithOptions(nic, l, stack.NICOptions{Name: "sandbox"}); err != nil {
		return err
	}
	for _, a := range []netip.Prefix{
		netip.PrefixFrom(Router4, Guest4.Bits()), netip.PrefixFrom(Resolver4, Guest4.Bits()),
		netip.PrefixFrom(Router6, Guest6.Bits()), netip.PrefixFrom(Resolver6, Guest6.Bits()),
	} {
		p := tcpip.ProtocolAddress{Protocol: protocolOf(a.Addr()), AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(a.Addr().AsSlice()), PrefixLen: a.Bits()}}
		if err := s.AddProtocolAddress(nic, p, stack.AddressProperties{}); err != nil {
			return err
		}
	}
	for _, a := range []netip.Prefix{Guest4, Guest6} {
		if err := s.AddStaticNeighbor(nic, protocolOf(a.Addr()), tcpip.AddrFromSlice(a.Addr().AsSlice()), guestAddress); err != nil {
			return err
		}
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: nic}, {Destination: header.IPv6EmptySubnet, NIC: nic}})
	if err := s.SetPromiscuousMode(nic, true); err != nil {
		return err
	}
	return s.SetSpoofing(nic, true)
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

// fullAddress is an address as endpoints of the stack want it.
func fullAddress(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFromSlice(a.Addr().AsSlice()), Port: a.Port()}
}

// fromTCPIP is an address of the stack's.
func fromTCPIP(a tcpip.Address, port uint16) netip.AddrPort {
	addr, _ := netip.AddrFromSlice(a.AsSlice())
	return netip.AddrPortFrom(addr, port)
}

// newFlow is what an arriving packet asks for: its local end is who the sandbox
// wants to reach.
func newFlow(protocol uint8, id stack.TransportEndpointID) Flow {
	return Flow{Protocol: protocol, From: fromTCPIP(id.RemoteAddress, id.RemotePort), To: fromTCPIP(id.LocalAddress, id.LocalPort)}
}

func withPort(a netip.AddrPort, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr(), port)
}

func portless(a netip.AddrPort) netip.AddrPort { return withPort(a, 0) }
