package network

import (
	"net/netip"
	"runtime"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

func TestOnlyTheLastHopOfOthersPacketsIsTaken(t *testing.T) {
	n := Loopback()
	p := new(port)
	p.settle(n, LoopbackIndex)
	for _, c := range []struct {
		to        string
		ttl, want uint8
	}{
		{"10.0.0.1", 1, 0}, {"10.0.0.1", 2, 2}, {"10.0.0.1", 0, 0}, {"127.0.0.1", 1, 1}, {"224.0.0.1", 1, 1},
	} {
		h := header.IPv4(make([]byte, header.IPv4MinimumSize))
		h.Encode(&header.IPv4Fields{TotalLength: header.IPv4MinimumSize, TTL: c.ttl, DstAddr: toStack(netip.MustParseAddr(c.to))})
		h.SetChecksum(^h.CalculateChecksum())
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(h)})
		p.expire(pkt)
		raw, _ := pkt.Data().PullUp(header.IPv4MinimumSize)
		if got := header.IPv4(raw); got.TTL() != c.want || !got.IsChecksumValid() {
			t.Errorf("to %s with %d hops: %d are left, want %d; its checksum is right: %v", c.to, c.ttl, got.TTL(), c.want, got.IsChecksumValid())
		}
		pkt.DecRef()
	}
	// What is no packet is left alone.
	for _, b := range [][]byte{{}, {0x45}, make([]byte, 20), {0x4f, 0, 0, 20, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 1}} {
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b)})
		p.expire(pkt)
		pkt.DecRef()
	}
	runtime.KeepAlive(n)
}
