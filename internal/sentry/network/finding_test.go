package network

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// foundPairs are a neighbour of the first of twoOffloads, and its own address, of each protocol.
var foundPairs = [][2]netip.Addr{
	{netip.MustParseAddr("10.9.1.2"), netip.MustParseAddr("10.9.1.1")},
	{netip.MustParseAddr("fd09::2"), netip.MustParseAddr("fd09::1")},
}

// findingStack is twoOffloads, with IPv6, and without forwarding.
func findingStack(t *testing.T) (*stack.Stack, map[tcpip.NICID]*offloads) {
	t.Helper()
	s, links := twoOffloads(t, new(pathMTUs))
	for nic := range links {
		s.SetNICForwarding(nic, header.IPv4ProtocolNumber, false)
	}
	peer, own := foundPairs[1][0], foundPairs[1][1]
	give(t, s, netip.PrefixFrom(own, 64))
	if err := s.AddStaticNeighbor(1, header.IPv6ProtocolNumber, toStack(peer), randomAddress()); err != nil {
		t.Fatal(err)
	}
	to := tcpip.AddressWithPrefix{Address: toStack(own), PrefixLen: 64}
	s.SetRouteTable(append(s.GetRouteTable(), tcpip.Route{Destination: to.Subnet(), NIC: 1}))
	return s, links
}

// give gives an address to the first link.
func give(t *testing.T, s *stack.Stack, p netip.Prefix) {
	t.Helper()
	a := tcpip.ProtocolAddress{
		Protocol:          protocolOf(p.Addr()),
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: toStack(p.Addr()), PrefixLen: p.Bits()},
	}
	if err := s.AddProtocolAddress(1, a, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
}

// packetOf is a packet with a content.
func packetOf(from, to netip.Addr, protocol tcpip.TransportProtocolNumber, content []byte) []byte {
	if from.Is6() {
		b := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(content))
		header.IPv6(b).Encode(&header.IPv6Fields{
			PayloadLength: uint16(len(content)), TransportProtocol: protocol, HopLimit: 9, SrcAddr: toStack(from), DstAddr: toStack(to),
		})
		return append(b, content...)
	}
	b := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(content))
	header.IPv4(b).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b) + len(content)), TTL: 9, Protocol: uint8(protocol), SrcAddr: toStack(from), DstAddr: toStack(to),
	})
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	return append(b, content...)
}

// syn is a packet that begins a connection to a port where nobody listens.
func syn(from, to netip.Addr) []byte {
	segment := header.TCP(make([]byte, header.TCPMinimumSize))
	segment.Encode(&header.TCPFields{SrcPort: 1, DstPort: 2, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn})
	pseudo := header.PseudoHeaderChecksum(header.TCPProtocolNumber, toStack(from), toStack(to), uint16(len(segment)))
	segment.SetChecksum(^segment.CalculateChecksum(pseudo))
	return packetOf(from, to, header.TCPProtocolNumber, segment)
}

// datagram is a packet of UDP from port 1 to another port.
func datagram(from, to netip.Addr, port uint16) []byte {
	d := header.UDP(make([]byte, header.UDPMinimumSize))
	d.Encode(&header.UDPFields{SrcPort: 1, DstPort: port, Length: header.UDPMinimumSize})
	pseudo := header.PseudoHeaderChecksum(header.UDPProtocolNumber, toStack(from), toStack(to), header.UDPMinimumSize)
	d.SetChecksum(^checksum.Checksum(d, pseudo))
	return packetOf(from, to, header.UDPProtocolNumber, d)
}

// comeIn has a packet come in by the first link, and returns how many have left.
func comeIn(s *stack.Stack, links map[tcpip.NICID]*offloads, b []byte) int {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	defer pkt.DecRef()
	protocol := header.IPv4ProtocolNumber
	if b[0]>>4 == 6 {
		protocol = header.IPv6ProtocolNumber
	}
	endpoint, _ := s.GetNetworkEndpoint(1, protocol)
	endpoint.HandlePacket(pkt)
	sent := 0
	for _, l := range links {
		sent += len(l.sent)
		for _, pkt := range l.sent {
			pkt.DecRef()
		}
		l.sent = nil
	}
	return sent
}

// TestFindings: a segment is refused by TCP, and counted, as often as it comes; not once the address is gone, or is the
// sender's.
func TestFindings(t *testing.T) {
	for _, pair := range foundPairs {
		peer, own := pair[0], pair[1]
		t.Run(own.String(), func(t *testing.T) {
			s, links := findingStack(t)
			segment := syn(peer, own)
			taken := func(want bool) {
				t.Helper()
				for range 3 {
					before := s.Stats().IP.PacketsDelivered.Value()
					sent := comeIn(s, links, segment)
					if got := s.Stats().IP.PacketsDelivered.Value() > before; (sent == 1) != want || got != want {
						t.Errorf("%d answers, delivered: %v; want %v", sent, got, want)
					}
				}
			}
			take := func(a netip.Addr) {
				t.Helper()
				if err := s.RemoveAddress(1, toStack(a)); err != nil {
					t.Fatal(err)
				}
			}
			taken(true)
			if got := s.Stats().IP.PacketsReceived.Value(); got != 3 {
				t.Errorf("%d packets received", got)
			}
			take(own)
			taken(false)
			bits := own.BitLen() - 8
			give(t, s, netip.PrefixFrom(own, bits))
			taken(true)
			give(t, s, netip.PrefixFrom(peer, bits))
			taken(false)
			take(peer)
			taken(true)
		})
	}
}

// TestFoundDatagrams: a datagram is its socket's, and the sender of one for which there is none is told.
func TestFoundDatagrams(t *testing.T) {
	for _, pair := range foundPairs {
		peer, own := pair[0], pair[1]
		t.Run(own.String(), func(t *testing.T) {
			s, links := findingStack(t)
			c, err := gonet.DialUDP(s, &tcpip.FullAddress{Addr: toStack(own), Port: 2}, nil, protocolOf(own))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for range 3 {
				if n := comeIn(s, links, datagram(peer, own, 2)); n != 0 {
					t.Errorf("%d answers", n)
				}
				c.SetReadDeadline(time.Now().Add(time.Minute))
				if _, _, err := c.ReadFrom(make([]byte, 1)); err != nil {
					t.Error(err)
				}
				if n := comeIn(s, links, datagram(peer, own, 3)); n != 1 {
					t.Errorf("%d answers where no socket is", n)
				}
			}
			if n := comeIn(s, links, packetOf(peer, own, header.UDPProtocolNumber, make([]byte, 5))); n != 0 {
				t.Errorf("%d answers to what is no datagram", n)
			}
		})
	}
}

// TestOddPackets: what is no plain packet is for the stack to look at, also between addresses that have been found.
func TestOddPackets(t *testing.T) {
	s, links := findingStack(t)
	for _, pair := range foundPairs {
		good := syn(pair[0], pair[1])
		if n := comeIn(s, links, good); n != 1 {
			t.Fatalf("%d answers", n)
		}
		for end := 1; end < len(good); end++ {
			if n := comeIn(s, links, good[:end:end]); n != 0 {
				t.Errorf("%d bytes: %d answers", end, n)
			}
		}
		padded := append(good[:len(good):len(good)], make([]byte, 6)...) // as Ethernet does it
		if n := comeIn(s, links, padded); n != 1 {
			t.Errorf("a padded one: %d answers", n)
		}
	}
	good := syn(foundPairs[0][0], foundPairs[0][1])
	for name, change := range map[string]func(header.IPv4){
		"another version":      func(h header.IPv4) { h[0] = 0x65 },
		"a header too short":   func(h header.IPv4) { h[0] = 0x44 },
		"too long":             func(h header.IPv4) { h.SetTotalLength(uint16(len(h)) + 1) },
		"shorter than headers": func(h header.IPv4) { h.SetTotalLength(header.IPv4MinimumSize - 1) },
		"no header of TCP":     func(h header.IPv4) { h.SetTotalLength(header.IPv4MinimumSize + 3) },
		"a first fragment":     func(h header.IPv4) { h.SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 0) },
		"a last fragment":      func(h header.IPv4) { h.SetFlagsFragmentOffset(0, 8) },
		"a broadcast address":  func(h header.IPv4) { h.SetDestinationAddress(tcpip.AddrFrom4([4]byte{10, 9, 1, 255})) },
	} {
		b := header.IPv4(append([]byte(nil), good...))
		change(b)
		b.SetChecksum(0)
		b.SetChecksum(^b[:header.IPv4MinimumSize].CalculateChecksum())
		if n := comeIn(s, links, b); n != 0 {
			t.Errorf("%s: %d answers", name, n)
		}
	}
	header.IPv4(good).SetChecksum(header.IPv4(good).Checksum() + 1)
	if n := comeIn(s, links, good); n != 0 {
		t.Errorf("a wrong checksum: %d answers", n)
	}
}

// BenchmarkArrival takes a segment to TCP, on an interface with so many addresses.
func BenchmarkArrival(b *testing.B) {
	for _, pair := range foundPairs {
		for _, addresses := range []int{1, 16} {
			b.Run(fmt.Sprintf("to=%v/addresses=%d", pair[1], addresses), func(b *testing.B) {
				s := newStack(newLabels(), new(steering), new(pathMTUs))
				defer s.Destroy()
				if err := s.CreateNIC(1, newDummy(1500)); err != nil {
					b.Fatal(err)
				}
				own := pair[1]
				for range addresses {
					a := tcpip.ProtocolAddress{Protocol: protocolOf(own), AddressWithPrefix: toStack(own).WithPrefix()}
					if err := s.AddProtocolAddress(1, a, stack.AddressProperties{}); err != nil {
						b.Fatal(err)
					}
					own = own.Next().Next()
				}
				// One that TCP drops: it has a wrong checksum.
				segment := syn(pair[0], pair[1])
				segment[len(segment)-1]++
				endpoint, _ := s.GetNetworkEndpoint(1, protocolOf(pair[1]))
				for b.Loop() {
					pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(segment)})
					endpoint.HandlePacket(pkt)
					pkt.DecRef()
				}
			})
		}
	}
}
