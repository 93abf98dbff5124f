package network

import (
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
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

// FuzzPathMTU has routers say anything: nobody is believed where there are no sockets.
func FuzzPathMTU(f *testing.F) {
	needed := make([]byte, 2*header.IPv4MinimumSize+header.ICMPv4MinimumSize+header.UDPMinimumSize)
	header.IPv4(needed).Encode(&header.IPv4Fields{TotalLength: uint16(len(needed)), TTL: 1, Protocol: uint8(header.ICMPv4ProtocolNumber)})
	needed[header.IPv4MinimumSize], needed[header.IPv4MinimumSize+1], needed[header.IPv4MinimumSize+6] = 3, 4, 5
	header.IPv4(needed[header.IPv4MinimumSize+header.ICMPv4MinimumSize:]).Encode(&header.IPv4Fields{TotalLength: 1500, TTL: 1, Protocol: uint8(header.UDPProtocolNumber)})
	icmp := header.ICMPv4(needed[header.IPv4MinimumSize:])
	icmp.SetChecksum(header.ICMPv4Checksum(icmp, 0))
	f.Add(needed)
	tooBig := make([]byte, 2*header.IPv6MinimumSize+header.ICMPv6PacketTooBigMinimumSize+header.IPv6FragmentHeaderSize+header.UDPMinimumSize)
	header.IPv6(tooBig).Encode(&header.IPv6Fields{PayloadLength: uint16(len(tooBig) - header.IPv6MinimumSize), HopLimit: 1, TransportProtocol: header.ICMPv6ProtocolNumber})
	tooBig[header.IPv6MinimumSize], tooBig[header.IPv6MinimumSize+6] = 2, 5
	header.IPv6(tooBig[header.IPv6MinimumSize+header.ICMPv6PacketTooBigMinimumSize:]).Encode(&header.IPv6Fields{PayloadLength: 1400, HopLimit: 1, TransportProtocol: header.IPv6FragmentHeader})
	f.Add(tooBig)
	s := newStack(newLabels(), new(steering), new(pathMTUs))
	f.Cleanup(s.Destroy)
	f.Fuzz(func(t *testing.T, packet []byte) {
		var p pathMTUs
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
