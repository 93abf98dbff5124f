package network

import (
	"slices"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// TestPathMTUs: the least that was said is kept, for a while, and of no more destinations than a bound.
func TestPathMTUs(t *testing.T) {
	var p pathMTUs
	to := tcpip.AddrFrom4([4]byte{10, 0, 0, 1})
	if m := p.of(to); m != 0 {
		t.Errorf("at first %d", m)
	}
	p.learn(to, 1300)
	p.learn(to, 1400)
	if m := p.of(to); m != 1300 {
		t.Errorf("after 1300 and 1400: %d", m)
	}
	p.paths[to] = pathMTU{1300, time.Now().Add(-time.Second)}
	if m := p.of(to); m != 0 || p.known.Load() != 0 {
		t.Errorf("later %d, %d known", m, p.known.Load())
	}
	for i := range 2 * maxPaths {
		p.learn(tcpip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}), 1300)
	}
	if n := p.known.Load(); n != maxPaths || len(p.paths) != maxPaths {
		t.Errorf("%d known, %d kept", n, len(p.paths))
	}
	if p.forget(); p.known.Load() != 0 || len(p.paths) != 0 {
		t.Error("not forgotten")
	}
}

// TestCutForPath: fragments fit their link too, and leave by that of the address that they go by first.
func TestCutForPath(t *testing.T) {
	var paths pathMTUs
	s, links := twoOffloads(t, &paths)
	to := tcpip.AddrFrom4([4]byte{10, 9, 1, 3})
	paths.learn(to, 1300)
	for name, c := range map[string]struct {
		owner tcpip.PacketOwner
		link  tcpip.NICID
		mtu   uint32
		most  int
	}{
		"less than the link": {nil, 1, 1500, 1300}, "more than the link": {nil, 1, 700, 700},
		"by another link": {routed(tcpip.AddrFrom4([4]byte{10, 9, 2, 2})), 2, 1500, 1300},
	} {
		t.Run(name, func(t *testing.T) {
			s.SetNICMTU(c.link, c.mtu)
			r, err := s.FindRoute(1, tcpip.Address{}, to, header.IPv4ProtocolNumber, false)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Release()
			const size = 4000
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{ReserveHeaderBytes: int(r.MaxHeaderLength()), Payload: buffer.MakeWithData(make([]byte, size))})
			defer pkt.DecRef()
			pkt.Owner = c.owner
			if err := r.WritePacket(stack.NetworkHeaderParams{Protocol: header.UDPProtocolNumber, TTL: 9}, pkt); err != nil {
				t.Fatal(err)
			}
			at, longest, id := 0, 0, uint16(0)
			for _, sent := range links[c.link].sent {
				h := header.IPv4(stack.PayloadSince(sent.NetworkHeader()).AsSlice())
				if !h.IsValid(len(h)) || !h.IsChecksumValid() || int(h.FragmentOffset()) != at || at != 0 && h.ID() != id {
					t.Errorf("at %d, after %d: % x", at, id, h[:h.HeaderLength()])
				}
				id, longest, at = h.ID(), max(longest, len(h)), at+int(h.PayloadLength())
				sent.DecRef()
			}
			if links[c.link].sent = nil; at != size || longest > c.most || longest < c.most-8 {
				t.Errorf("%d bytes, in packets of %d", at, longest)
			}
		})
	}
}

// correct gives what may be a message of ICMP or ICMPv6 the checksum that it must have.
func correct(packet []byte) {
	if len(packet) < header.IPv6MinimumSize+header.ICMPv6MinimumSize {
		return
	}
	ip4, ip6 := header.IPv4(packet), header.IPv6(packet)
	switch from, to := int(ip4.HeaderLength()), int(ip4.TotalLength()); {
	case ip4.TransportProtocol() == header.ICMPv4ProtocolNumber && from+header.ICMPv4MinimumSize <= to && to <= len(packet):
		icmp := header.ICMPv4(packet[from:to])
		icmp.SetChecksum(0)
		icmp.SetChecksum(^checksum.Checksum(icmp, 0))
	case ip6.TransportProtocol() == header.ICMPv6ProtocolNumber:
		end := header.IPv6MinimumSize + int(ip6.PayloadLength())
		if end < header.IPv6MinimumSize+header.ICMPv6MinimumSize || end > len(packet) {
			return
		}
		icmp := header.ICMPv6(packet[header.IPv6MinimumSize:end])
		icmp.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: icmp, Src: ip6.SourceAddress(), Dst: ip6.DestinationAddress()}))
	}
}

// FuzzPathMTU has routers say anything: nobody is believed where there are no sockets.
func FuzzPathMTU(f *testing.F) {
	needed := make([]byte, 2*header.IPv4MinimumSize+header.ICMPv4MinimumSize+header.UDPMinimumSize)
	header.IPv4(needed).Encode(&header.IPv4Fields{TotalLength: uint16(len(needed)), TTL: 1, Protocol: uint8(header.ICMPv4ProtocolNumber)})
	needed[header.IPv4MinimumSize], needed[header.IPv4MinimumSize+1], needed[header.IPv4MinimumSize+6] = 3, 4, 5
	header.IPv4(needed[header.IPv4MinimumSize+header.ICMPv4MinimumSize:]).Encode(&header.IPv4Fields{TotalLength: 1500, TTL: 1, Protocol: uint8(header.UDPProtocolNumber)})
	f.Add(needed)
	tooBig := make([]byte, 2*header.IPv6MinimumSize+header.ICMPv6PacketTooBigMinimumSize+header.IPv6FragmentHeaderSize+header.UDPMinimumSize)
	header.IPv6(tooBig).Encode(&header.IPv6Fields{PayloadLength: uint16(len(tooBig) - header.IPv6MinimumSize), HopLimit: 1, TransportProtocol: header.ICMPv6ProtocolNumber})
	tooBig[header.IPv6MinimumSize], tooBig[header.IPv6MinimumSize+6] = 2, 5
	header.IPv6(tooBig[header.IPv6MinimumSize+header.ICMPv6PacketTooBigMinimumSize:]).Encode(&header.IPv6Fields{PayloadLength: 1400, HopLimit: 1, TransportProtocol: header.IPv6FragmentHeader})
	tooBig[2*header.IPv6MinimumSize+header.ICMPv6PacketTooBigMinimumSize] = uint8(header.UDPProtocolNumber)
	f.Add(tooBig)
	s := newStack(newLabels(), new(steering), new(pathMTUs))
	f.Cleanup(s.Destroy)
	f.Fuzz(func(t *testing.T, packet []byte) {
		var p pathMTUs
		packet = slices.Clone(packet)
		correct(packet)
		for _, hear := range []func(*stack.Stack, *stack.PacketBuffer){p.hear4, p.hear6} {
			pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
			hear(s, pkt)
			pkt.DecRef()
		}
		if p.known.Load() != 0 {
			t.Error("believed")
		}
	})
}
