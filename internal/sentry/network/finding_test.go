package network

import (
	"fmt"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// syn is a packet that begins a connection to a port where nobody listens.
func syn(from, to [4]byte) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.TCPMinimumSize)
	source, destination := tcpip.AddrFrom4(from), tcpip.AddrFrom4(to)
	header.IPv4(b).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 9, Protocol: uint8(header.TCPProtocolNumber), SrcAddr: source, DstAddr: destination,
	})
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	segment := header.TCP(b[header.IPv4MinimumSize:])
	segment.Encode(&header.TCPFields{SrcPort: 1, DstPort: 2, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn})
	pseudo := header.PseudoHeaderChecksum(header.TCPProtocolNumber, source, destination, uint16(len(segment)))
	segment.SetChecksum(^segment.CalculateChecksum(pseudo))
	return b
}

// datagram is a packet of UDP from port 1 to another port.
func datagram(from, to [4]byte, port uint16) []byte {
	b := make([]byte, header.IPv4MinimumSize+header.UDPMinimumSize)
	header.IPv4(b).Encode(&header.IPv4Fields{
		TotalLength: uint16(len(b)), TTL: 9, Protocol: uint8(header.UDPProtocolNumber), SrcAddr: tcpip.AddrFrom4(from), DstAddr: tcpip.AddrFrom4(to),
	})
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	header.UDP(b[header.IPv4MinimumSize:]).Encode(&header.UDPFields{SrcPort: 1, DstPort: port, Length: header.UDPMinimumSize})
	return b
}

// comeIn has a packet come in by the first of twoOffloads, and returns how many have left.
func comeIn(s *stack.Stack, links map[tcpip.NICID]*offloads, b []byte) int {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
	defer pkt.DecRef()
	ep, _ := s.GetNetworkEndpoint(1, header.IPv4ProtocolNumber)
	ep.(*ipv4Endpoint).HandlePacket(pkt)
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
	s, links := twoOffloads(t, new(pathMTUs))
	for nic := range links {
		s.SetNICForwarding(nic, header.IPv4ProtocolNumber, false)
	}
	peer, own := [4]byte{10, 9, 1, 2}, [4]byte{10, 9, 1, 1}
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
	taken(true)
	if got := s.Stats().IP.PacketsReceived.Value(); got != 3 {
		t.Errorf("%d packets received", got)
	}
	if err := s.RemoveAddress(1, tcpip.AddrFrom4(own)); err != nil {
		t.Fatal(err)
	}
	taken(false)
	give := func(address [4]byte, bits int) {
		t.Helper()
		a := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(address), PrefixLen: bits}
		if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: header.IPv4ProtocolNumber, AddressWithPrefix: a}, stack.AddressProperties{}); err != nil {
			t.Fatal(err)
		}
	}
	give(own, 24)
	taken(true)
	give(peer, 24)
	taken(false)
	if err := s.RemoveAddress(1, tcpip.AddrFrom4(peer)); err != nil {
		t.Fatal(err)
	}
	taken(true)
	give([4]byte{10, 9, 1, 3}, 31) // of which 10.9.1.2 is no broadcast address
	taken(true)
}

// TestFoundDatagrams: a datagram is its socket's, and the sender of one for which there is none is told.
func TestFoundDatagrams(t *testing.T) {
	s, links := twoOffloads(t, new(pathMTUs))
	peer, own := [4]byte{10, 9, 1, 2}, [4]byte{10, 9, 1, 1}
	c, err := gonet.DialUDP(s, &tcpip.FullAddress{Addr: tcpip.AddrFrom4(own), Port: 2}, nil, header.IPv4ProtocolNumber)
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
	short := datagram(peer, own, 2)[:header.IPv4MinimumSize+5]
	header.IPv4(short).SetTotalLength(uint16(len(short)))
	header.IPv4(short).SetChecksum(0)
	header.IPv4(short).SetChecksum(^header.IPv4(short[:header.IPv4MinimumSize]).CalculateChecksum())
	if n := comeIn(s, links, short); n != 0 {
		t.Errorf("%d answers to what is no datagram", n)
	}
}

// TestOddSegments: what is no plain segment is for the stack to look at, also between addresses that have been found.
func TestOddSegments(t *testing.T) {
	s, links := twoOffloads(t, new(pathMTUs))
	good := syn([4]byte{10, 9, 1, 2}, [4]byte{10, 9, 1, 1})
	if n := comeIn(s, links, good); n != 1 {
		t.Fatalf("%d answers", n)
	}
	for name, change := range map[string]func(header.IPv4){
		"a wrong checksum":     func(h header.IPv4) { h.SetChecksum(h.Checksum() + 1) },
		"another version":      func(h header.IPv4) { h[0] = 0x65 },
		"a header too short":   func(h header.IPv4) { h[0] = 0x44 },
		"too long":             func(h header.IPv4) { h.SetTotalLength(uint16(len(h)) + 1) },
		"shorter than headers": func(h header.IPv4) { h.SetTotalLength(header.IPv4MinimumSize - 1) },
		"no header of TCP":     func(h header.IPv4) { h.SetTotalLength(header.IPv4MinimumSize + 3) },
		"a first fragment":     func(h header.IPv4) { h.SetFlagsFragmentOffset(header.IPv4FlagMoreFragments, 0) },
		"a last fragment":      func(h header.IPv4) { h.SetFlagsFragmentOffset(0, 8) },
		"a broadcast address":  func(h header.IPv4) { h.SetDestinationAddress(tcpip.AddrFrom4([4]byte{10, 9, 1, 255})) },
	} {
		b := append([]byte(nil), good...)
		change(b)
		if name != "a wrong checksum" {
			header.IPv4(b).SetChecksum(0)
			header.IPv4(b).SetChecksum(^header.IPv4(b[:header.IPv4MinimumSize]).CalculateChecksum())
		}
		if n := comeIn(s, links, b); n != 0 {
			t.Errorf("%s: %d answers", name, n)
		}
	}
	for end := range good {
		if n := comeIn(s, links, good[:end]); n != 0 {
			t.Errorf("%d bytes: %d answers", end, n)
		}
	}
	if n := comeIn(s, links, append(good, make([]byte, 6)...)); n != 1 { // Ethernet's padding
		t.Errorf("a padded one: %d answers", n)
	}
}

// BenchmarkArrival takes a segment to TCP, on an interface with so many addresses.
func BenchmarkArrival(b *testing.B) {
	for _, addresses := range []int{1, 16} {
		b.Run(fmt.Sprint(addresses), func(b *testing.B) {
			s := newStack(newLabels(), new(steering), new(pathMTUs))
			defer s.Destroy()
			if err := s.CreateNIC(1, newDummy(1500)); err != nil {
				b.Fatal(err)
			}
			for i := range addresses {
				a := tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{10, 9, byte(i), 1}), PrefixLen: 24}
				if err := s.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: header.IPv4ProtocolNumber, AddressWithPrefix: a}, stack.AddressProperties{}); err != nil {
					b.Fatal(err)
				}
			}
			// One that TCP drops: it has a wrong checksum.
			segment := syn([4]byte{10, 9, 0, 2}, [4]byte{10, 9, 0, 1})
			segment[len(segment)-1]++
			ep, _ := s.GetNetworkEndpoint(1, header.IPv4ProtocolNumber)
			for b.Loop() {
				pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(segment)})
				ep.HandlePacket(pkt)
				pkt.DecRef()
			}
		})
	}
}
